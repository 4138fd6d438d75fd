"""The session cookie: its claims, written when a session starts or moves on, and read when it comes
back.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from db.crypto.secret import Secret
from db.store import Store
from db.viewer import ROLES, Claims


@dataclass(frozen=True, slots=True)
class NewCookie:
    """What the browser is given: a cookie's value, which is nowhere stored, and its
    age in seconds.
    """

    value: Secret[str]
    max_age: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """The session's cookie; and, where somebody has proven who they are, the one by which their
    browser is known.

    `id` is the row's, of a session that has one and is new.
    """

    session: NewCookie
    device: NewCookie | None = None
    id: str = ""


def peek(store: Store, cookie: str | None) -> Claims | None:
    """What the cookie claims, if it is ours and has not expired.

    No query: good for menus and redirects only.
    """
    claims = store.keys.open(cookie) if cookie else None
    if claims is None:
        return None
    sid, user_id, role, issued_at = (claims.get(name) for name in ("sid", "sub", "role", "iat"))
    if not (
        isinstance(sid, str)
        and isinstance(user_id, str)
        and role in ROLES
        and issued_at is not None
    ):
        return None
    return Claims(Secret(sid), user_id, role, issued_at, claims["exp"])


def write(store: Store, claims: Claims) -> NewSession:
    """The cookie that says so.

    It holds these five and nothing else (the guide: no personal data, row B9).
    """
    cookie = store.keys.seal(
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


def moment(seconds: float) -> datetime:
    """A NumericDate as a moment, exact to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC)
