"""The stateless strategy: the cookie is the session, and the user's row says from when on cookies
count.
"""

from datetime import datetime, timedelta

from sqlalchemy import bindparam, or_, select

from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.sessions.claims import moment
from db.store import Store, pick
from db.tables import Instant, users
from db.viewer import Claims, Device, LiveSession, LiveUser, Role, Viewer

LIVE = Statement(
    pick(LiveUser, users).where(
        users.c.id == bindparam("user_id"),
        users.c.disabled_at.is_(None),
        or_(
            users.c.sessions_ended_at.is_(None),
            users.c.sessions_ended_at < bindparam("issued_at", type_=Instant),
        ),
    )
)
LATEST = Statement(
    select(users.c.last_login_at, users.c.sessions_ended_at).where(
        users.c.id == bindparam("user_id")
    )
)


async def start(
    store: Store, user_id: str, role: Role, device: Device, lifetime: timedelta
) -> tuple[str, Claims]:
    """No row, so no id; claims whose `iat` is later than the account's last "end all", be it by a
    microsecond.

    Otherwise it is the moment of the log-in that the user's row has: so the next "end all" is no
    earlier than it, whichever host's clock it goes by.
    """
    logged_in_at, ended_at = (await store.all(LATEST(user_id=user_id)))[0]
    after = ended_at and ended_at + timedelta(microseconds=1)
    issued_at = max(moment for moment in (logged_in_at, after) if moment)
    expires_at = int((issued_at + lifetime).timestamp())
    return "", Claims(Secret(store.token(32)), user_id, role, issued_at.timestamp(), expires_at)


async def find(
    store: Store, claims: Claims, preload: object = None
) -> tuple[LiveSession, None] | None:
    """The claims and the user's row, if the row lets them count.

    An `iat` of whole seconds comes from the database strategy, where the session may have been
    ended: it is none here.
    """
    if not isinstance(claims.issued_at, float):
        return None
    issued_at = moment(claims.issued_at)
    user = await store.one(LIVE(user_id=claims.user_id, issued_at=issued_at))
    if user is None:
        return None
    expires_at = moment(claims.expires_at)
    return LiveSession(
        "", issued_at, issued_at, expires_at, user.id, user.name, user.role, user.slug, user.team
    ), None


async def hold(viewer: Viewer) -> Role | None:
    """Returns the user's role, or None if cookies of that moment no longer count.

    The user's row is locked already.
    """
    user = await viewer.store.one(LIVE(user_id=viewer.id, issued_at=viewer.logged_in_at))
    return user and user.role


async def renew(store: Store, live: LiveSession, renewed: datetime) -> datetime:
    """Nothing to write: the next cookie says it."""
    return renewed


async def end(store: Store, claims: Claims) -> str | None:
    """Nothing to delete: the browser forgets the cookie, and a copy works until it expires.

    Empty where it was live.
    """
    return "" if await find(store, claims) else None
