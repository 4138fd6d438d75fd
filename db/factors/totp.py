"""The codes of authenticator apps (TOTP, RFC 6238): SHA-1, six digits, a step of 30 seconds.

A code is accepted once, and none of an older step after it (RFC 6238, section 5.2).
"""

import base64
import hmac
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, ScalarSelect, bindparam, select, update
from sqlalchemy import delete as delete_rows

from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.store import Store, pick
from db.tables import Instant, totp, users

SECRET_BYTES: Final = 20  # RFC 4226, section 4: 160 bits are recommended.
STEP_SECONDS: Final = 30
DIGITS: Final = 6
MAX_TYPED_CHARS: Final = 64
# The clocks of the phone and the server may differ by one step.
TOLERATED_STEPS: Final = (1, 0, -1)


@dataclass(frozen=True, slots=True)
class StoredApp:
    """The app of an account as the database has it. `kid` is that of the encrypted secret's key."""

    secret: str
    kid: str
    last_step: int


APP = Statement(pick(StoredApp, totp).where(totp.c.user_id == bindparam("user_id")))
USE_STEP = Statement(
    update(totp)
    .where(totp.c.user_id == bindparam("owner_id"), totp.c.last_step < bindparam("step"))
    .values(
        last_step=bindparam("step"),
        last_used_at=bindparam("now", type_=Instant),
        # Encrypted again, because the key may be a former one.
        secret=bindparam("new_secret"),
        kid=bindparam("new_kid"),
    )
    .returning(totp.c.user_id)
)
_new_app = insert(totp).values(
    user_id=bindparam("user_id"),
    secret=bindparam("secret"),
    kid=bindparam("kid"),
    last_step=bindparam("last_step"),
    created_at=bindparam("now", type_=Instant),
    last_used_at=None,
)
SET_APP = Statement(
    _new_app.on_conflict_do_update(
        index_elements=["user_id"],
        set_={
            name: _new_app.excluded[name]
            for name in ("secret", "kid", "last_step", "created_at", "last_used_at")
        },
    )
)
DELETE_APP = Statement(
    delete_rows(totp).where(totp.c.user_id == bindparam("user_id")).returning(totp.c.user_id)
)


def stored_app(secret: str | None, kid: str, last_step: int) -> StoredApp | None:
    """Returns the app of the three columns that `app_column` selects; None if there is none."""
    return None if secret is None else StoredApp(secret, kid, last_step)


def app_column(column: Column[Any]) -> ScalarSelect[Any]:
    """Selects a column of the app of the user in the same statement, which saves a second one."""
    own_app = totp.c.user_id == users.c.id
    return select(column).where(own_app).correlate(users).scalar_subquery()


async def use_code(
    store: Store, user_id: str, code: Secret[str], app: StoredApp | None = None
) -> bool:
    """Uses a code of the account's app, and returns False if it is wrong or was used already.

    Reads the app unless the caller has. Only one of many concurrent requests succeeds. Must run in
    the transaction of what the code allows.
    """
    app = app or await store.one(APP(user_id=user_id))
    if app is None:
        return False
    secret = store.factor_secrets.decrypt(user_id, app.secret, app.kid)
    if secret is None:
        return False
    step = find_step(secret, code, store.now(), after=app.last_step)
    if step is None:
        return False
    is_current = app.kid == store.factor_secrets.kid
    used = await store.value(
        USE_STEP(
            owner_id=user_id,
            step=step,
            now=store.now(),
            new_secret=app.secret if is_current else store.factor_secrets.encrypt(user_id, secret),
            new_kid=store.factor_secrets.kid,
        )
    )
    return used is not None


async def set_app(store: Store, user_id: str, secret: Secret[bytes], last_step: int) -> None:
    """Stores the secret of a new app, which replaces an older one.

    `last_step` is that of the code that proved it. Must run inside the transaction of the change.
    """
    await store.count(
        SET_APP(
            user_id=user_id,
            secret=store.factor_secrets.encrypt(user_id, secret),
            kid=store.factor_secrets.kid,
            last_step=last_step,
            now=store.now(),
        )
    )


async def delete_app(store: Store, user_id: str) -> bool:
    """Deletes the app, and returns False if there is none."""
    return await store.value(DELETE_APP(user_id=user_id)) is not None


def find_step(secret: Secret[bytes], code: Secret[str], now: datetime, *, after: int) -> int | None:
    """Returns the first tolerated step later than `after` whose code this is; None if there is
    none.
    """
    typed = _digits(code)
    if typed is None:
        return None
    current = int(now.timestamp()) // STEP_SECONDS
    for difference in TOLERATED_STEPS:
        step = current + difference
        if step > after and hmac.compare_digest(_code_of(secret, step), typed):
            return step
    return None


def provisioning_uri(secret: Secret[bytes], email: str, site_name: str) -> Secret[str]:
    """Returns the `otpauth:` URI that authenticator apps read from a QR code."""
    import pyotp

    # An issuer with a colon would be cut there (Key URI Format, "Label").
    issuer = site_name.replace(":", " ")
    return Secret(
        pyotp.TOTP(encode_secret(secret).reveal()).provisioning_uri(name=email, issuer_name=issuer)
    )


def encode_secret(secret: Secret[bytes]) -> Secret[str]:
    """Returns the secret as base32, as users type it."""
    return Secret(base64.b32encode(secret.reveal()).decode())


def _code_of(secret: Secret[bytes], step: int) -> str:
    import pyotp

    return pyotp.TOTP(encode_secret(secret).reveal()).generate_otp(step)


def _digits(code: Secret[str]) -> str | None:
    """Returns the typed code as six ASCII digits, without blanks; None if it is no code.

    Digits of other scripts count, such as Arabic ones.
    """
    text = code.reveal()
    if len(text) > MAX_TYPED_CHARS:
        return None
    digits = [unicodedata.digit(character, None) for character in "".join(text.split())]
    if len(digits) != DIGITS or None in digits:
        return None
    return "".join(map(str, digits))
