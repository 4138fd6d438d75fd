"""The session cookie: encodes the claims of a session and decodes the claims of a request."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from db.crypto.secret import Secret
from db.role_names import ROLE_NAME
from db.store import Store
from db.viewer import Claims


@dataclass(frozen=True, slots=True)
class NewCookie:
    """A cookie for the browser: its value, which the server does not store, and its age in
    seconds.
    """

    value: Secret[str]
    max_age: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """The session cookie and, after a verified password, the device cookie.

    `id` is the row's id if the session is new and has a row. After a log-in, `language` is the
    language that the user has chosen, or empty. `sudo` is the cookie of a confirmed identity, None
    if there is none.
    """

    session: NewCookie
    device_cookie: NewCookie | None = None
    id: str = ""
    language: str = ""
    sudo: NewCookie | None = None


def decode_claims(store: Store, cookie: str | None) -> Claims | None:
    """Returns the claims of the cookie if it was encoded with one of the keys and has not expired.

    Runs no query, so the claims suffice only for menus and redirects.
    """
    claims = store.keys.decode(cookie) if cookie else None
    if claims is None:
        return None
    sid, user_id, role, issued_at = (claims.get(name) for name in ("sid", "sub", "role", "iat"))
    if not (
        isinstance(sid, str)
        and isinstance(user_id, str)
        and isinstance(role, str)
        and ROLE_NAME.fullmatch(role)
        and issued_at is not None
    ):
        return None
    return Claims(Secret(sid), user_id, role, issued_at, claims["exp"])


def encode_claims(store: Store, claims: Claims) -> NewSession:
    """Encodes the claims as a session cookie.

    It holds these five claims and no personal data (docs/guide.md, row B9).
    """
    cookie = store.keys.encode(
        {
            "sid": claims.sid.reveal(),
            "sub": claims.user_id,
            "role": claims.role,
            "iat": claims.issued_at,
            "exp": claims.expires_at,
        }
    )
    return NewSession(
        NewCookie(cookie, max(0, int(claims.expires_at - int(store.now().timestamp()))))
    )


def hash_sid(sid: Secret[str]) -> str:
    """Returns the hash of a sid, which rows and other tokens may contain.

    The sid has 256 bits of entropy, so an unsalted SHA-256 is enough (ASVS 6.5.2).
    """
    return hashlib.sha256(sid.reveal().encode()).hexdigest()


def to_datetime(seconds: float) -> datetime:
    """Converts a NumericDate to a datetime in UTC, exact to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC)
