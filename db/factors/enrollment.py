"""What a page shows before it counts: the secret of an authenticator app, and recovery codes.

Both are drawn for the page and kept in an encrypted token of its form. They are stored by the form,
so a page that is reloaded draws others, and no response to a form has to contain secrets.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any

from db.crypto.secret import Secret
from db.factors import recovery_codes
from db.factors.totp import SECRET_BYTES
from db.sessions.sudo import Sudo
from db.used_tokens import use_token
from db.viewer import Viewer


@dataclass(frozen=True, slots=True)
class NewEnrollment:
    """An enrollment for a page. `codes` is empty unless the page shows recovery codes.

    `token` is the value of the hidden field `enrolment`.
    """

    token: Secret[str] = field(repr=False)
    app_secret: Secret[bytes] = field(repr=False)
    codes: Sequence[Secret[str]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Enrollment:
    """The enrollment of a submitted form. `codes` is empty if its page showed no codes.

    The codes are needed again for the page that a refused form returns.
    """

    app_secret: Secret[bytes] = field(repr=False)
    codes: Sequence[Secret[str]] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)

    @property
    def code_hashes(self) -> list[str]:
        """The hashes of the codes, as the database stores them."""
        return [recovery_codes.hash_code(code) for code in self.codes]


def draw_enrollment(sudo: Sudo[Viewer], *, with_codes: bool) -> NewEnrollment:
    """Returns a new enrollment for the viewer's session."""
    app_secret = token_bytes(SECRET_BYTES)
    codes = recovery_codes.draw_codes() if with_codes else []
    token = sudo.viewer.store.encrypted_tokens.encrypt(
        "enrollment",
        {
            "sub": sudo.viewer.id,
            "sid_hash": sudo.sid_hash,
            "app": b64encode(app_secret).decode(),
            "codes": [code.reveal() for code in codes],
        },
    )
    return NewEnrollment(token, Secret(app_secret), codes)


def read_enrollment(sudo: Sudo[Viewer], token: str) -> Enrollment | None:
    """Returns the enrollment; None unless it was drawn for this session and has not expired."""
    claims = sudo.viewer.store.encrypted_tokens.decrypt("enrollment", token)
    if claims is None or (claims["sub"], claims["sid_hash"]) != (sudo.viewer.id, sudo.sid_hash):
        return None
    codes = [Secret(code) for code in claims["codes"]]
    return Enrollment(Secret(b64decode(claims["app"])), codes, claims)


async def use_enrollment(sudo: Sudo[Viewer], enrollment: Enrollment) -> bool:
    """Marks the enrollment as used, and returns False if it already was.

    Otherwise a form that is sent again would make used recovery codes valid. Must run in the
    transaction that stores it.
    """
    return await use_token(sudo.viewer.store, enrollment.claims)
