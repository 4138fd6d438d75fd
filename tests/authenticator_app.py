"""An authenticator app for tests: derives codes from its key and the test's clock."""

from dataclasses import dataclass, field

import httpx
import pyotp

from db.crypto.secret import Secret
from db.factors import recovery_codes, totp
from db.factors.changes import SET_HAS_FACTOR
from db.factors.totp import STEP_SECONDS
from db.sessions.lifecycle import end_all_sessions
from tests.browser_client import Browser
from tests.conftest import Clock, TestApp

KEY = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # base32 of 20 bytes


@dataclass
class AuthenticatorApp:
    """An app that was set up with a key in base32, and the recovery codes of the same account."""

    clock: Clock
    key: str = KEY
    recovery_codes: list[str] = field(default_factory=list)

    def code(self, steps: int = 0) -> str:
        """Returns the code of now, or of a number of steps of 30 seconds later."""
        step = int(self.clock.moment.timestamp()) // STEP_SECONDS + steps
        return pyotp.TOTP(self.key).generate_otp(step)

    def wrong_code(self) -> str:
        """Returns six digits that are no code of any step near now."""
        near = {self.code(steps) for steps in range(-3, 4)}
        return next(code for code in map("{:06}".format, range(10)) if code not in near)

    async def log_in(self, user: Browser, **fields: str) -> httpx.Response:
        """Logs in with password and code, and returns the last response.

        Moves the clock first, because each code works once.
        """
        self.clock.move(seconds=STEP_SECONDS)
        assert (await user.log_in()).headers["location"] == "/login/factor"
        return await user.post("/login/factor", {"code": self.code(), **fields})


async def set_up_app(app: TestApp, user: Browser) -> AuthenticatorApp:
    """Adds an authenticator app and recovery codes to the account without HTTP, and ends its
    sessions. Moves the clock, so that log-ins come after that.
    """
    ((user_id,),) = await app.rows(f"SELECT id FROM users WHERE email = '{user.email}'")
    codes = recovery_codes.draw_codes()
    secret = Secret(pyotp.TOTP(KEY).byte_secret())
    async with app.store.transaction():
        await totp.set_app(app.store, user_id, secret, 0)
        hashes = [recovery_codes.hash_code(code) for code in codes]
        await recovery_codes.replace_codes(app.store, user_id, hashes)
        await app.store.count(SET_HAS_FACTOR(user_id=user_id, new_value=True))
        await end_all_sessions(app.store, user_id)
    app.clock.move(seconds=1)
    return AuthenticatorApp(app.clock, recovery_codes=[code.reveal() for code in codes])
