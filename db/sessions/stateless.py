"""The stateless strategy: the cookie is the session, and the user's row has the time from which on
cookies are valid.
"""

from dataclasses import astuple, replace
from datetime import datetime, timedelta

from sqlalchemy import bindparam, or_, select

from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.sessions.claims import to_datetime
from db.sessions.provider_login import ProviderLogin
from db.store import Store, pick
from db.tables import Instant, users
from db.viewer import Claims, ClientInfo, LiveSession, LiveUser, Role, Viewer

LIVE_USER = Statement(
    pick(LiveUser, users, verified=users.c.verified_at.is_not(None)).where(
        users.c.id == bindparam("user_id"),
        users.c.disabled_at.is_(None),
        or_(
            users.c.sessions_ended_at.is_(None),
            users.c.sessions_ended_at < bindparam("issued_at", type_=Instant),
        ),
    )
)
LAST_LOGIN_AND_END = Statement(
    select(users.c.last_login_at, users.c.sessions_ended_at).where(
        users.c.id == bindparam("user_id")
    )
)


async def start(
    store: Store,
    user_id: str,
    role: Role,
    client: ClientInfo,
    lifetime: timedelta,
    *,
    is_remembered: bool,
    provider_login: ProviderLogin | None,
) -> tuple[str, Claims]:
    """Returns an empty id, since there is no row, and the claims of a new session.

    `iat` is the log-in time in the user's row, so that the next end of all sessions is not before
    it, on any host's clock. It is at least one microsecond after the last end of all sessions.
    `is_remembered` is false, since the settings do not offer the choice with this strategy.
    `provider_login` has no effect, since there is no row that it could mark.
    """
    logged_in_at, ended_at = (await store.all(LAST_LOGIN_AND_END(user_id=user_id)))[0]
    after = ended_at and ended_at + timedelta(microseconds=1)
    issued_at = max(instant for instant in (logged_in_at, after) if instant)
    expires_at = int((issued_at + lifetime).timestamp())
    return "", Claims(Secret(store.token(32)), user_id, role, issued_at.timestamp(), expires_at)


async def find(
    store: Store, claims: Claims, preload: object = None
) -> tuple[LiveSession, None] | None:
    """Returns the session of the claims and None, or None if the user's row does not accept them.

    Rejects an integer `iat`: the database strategy issued that cookie, and may have ended its
    session.
    """
    if not isinstance(claims.issued_at, float):
        return None
    issued_at = to_datetime(claims.issued_at)
    user = await store.one(LIVE_USER(user_id=claims.user_id, issued_at=issued_at))
    if user is None:
        return None
    expires_at = to_datetime(claims.expires_at)
    times = issued_at, issued_at, expires_at
    *columns, has_factor = astuple(user)
    live = LiveSession("", *times, *columns)
    return replace(live, has_factor=has_factor), None


async def lock_session(viewer: Viewer) -> Role | None:
    """Returns the user's role, or None if the viewer's session has ended.

    The caller has locked the user's row.
    """
    user = await viewer.store.one(LIVE_USER(user_id=viewer.id, issued_at=viewer.logged_in_at))
    return user and user.role


async def renew(store: Store, live: LiveSession, renewed: datetime) -> datetime:
    """Returns the new expiry; nothing is written, since the cookie carries the expiry."""
    return renewed


async def end(store: Store, claims: Claims) -> str | None:
    """Deletes nothing: the browser deletes the cookie, and a copy stays valid until it expires.

    Returns an empty id if the session was live, else None.
    """
    return "" if await find(store, claims) else None
