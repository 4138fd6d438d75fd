"""The database strategy: each session is a row, which its user can see and delete."""

import hashlib
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, cast

from sqlalchemy import Select, bindparam, delete, or_, select, update

from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.errors import Busy
from db.store import Store
from db.tables import Instant, sessions, users
from db.viewer import Claims, Device, LiveSession, Role, Viewer

SEEN_EVERY: Final = timedelta(minutes=5)  # the least interval between two updates of last_seen_at
# A log-in beyond this deletes the session that was last seen the longest ago, which bounds the
# table.
MOST: Final = 50

START = Statement(
    insert(sessions).values(
        id=bindparam("id"),
        user_id=bindparam("user_id"),
        token_hash=bindparam("token_hash"),
        created_at=bindparam("now", type_=Instant),
        last_seen_at=bindparam("now", type_=Instant),
        expires_at=bindparam("expires_at", type_=Instant),
        browser=bindparam("browser"),
        system=bindparam("system"),
        kind=bindparam("kind"),
        user_agent=bindparam("user_agent"),
        address=bindparam("address"),
    )
)
MAKE_ROOM = Statement(
    delete(sessions).where(
        sessions.c.id.in_(
            select(sessions.c.id)
            .where(sessions.c.user_id == bindparam("user_id"))
            .order_by(sessions.c.last_seen_at.desc(), sessions.c.created_at.desc())
            .offset(MOST)
            .scalar_subquery()
        )
    )
)
LIVE = Statement(
    select(
        sessions.c.id.label("session_id"),
        sessions.c.created_at.label("logged_in_at"),
        sessions.c.last_seen_at,
        sessions.c.expires_at,
        users.c.id.label("user_id"),
        users.c.name,
        users.c.role,
        users.c.slug,
        users.c.team,
    )
    .join_from(sessions, users)
    .where(
        sessions.c.token_hash == bindparam("token_hash"),
        sessions.c.user_id == bindparam("user_id"),
        sessions.c.expires_at > bindparam("now", type_=Instant),
        users.c.disabled_at.is_(None),
    )
    .execution_options(into=LiveSession)
)
HOLD = Statement(
    select(users.c.role)
    .join_from(sessions, users)
    .where(
        sessions.c.id == bindparam("session_id"),
        sessions.c.user_id == bindparam("user_id"),
        sessions.c.expires_at > bindparam("now", type_=Instant),
        users.c.disabled_at.is_(None),
    )
    # KEY SHARE excludes DELETE, but not the UPDATE of a renewal.
    .with_for_update(read=True, key_share=True, of=sessions)
)
TOUCH = Statement(
    update(sessions)
    .where(
        sessions.c.id == bindparam("session_id"),
        or_(
            sessions.c.last_seen_at <= bindparam("stale", type_=Instant),
            sessions.c.expires_at < bindparam("renewed", type_=Instant),
        ),
    )
    .values(
        last_seen_at=bindparam("now", type_=Instant), expires_at=bindparam("renewed", type_=Instant)
    )
)
END = Statement(
    delete(sessions)
    .where(
        sessions.c.token_hash == bindparam("token_hash"), sessions.c.user_id == bindparam("user_id")
    )
    .returning(sessions.c.id, sessions.c.expires_at)
)


async def start(
    store: Store, user_id: str, role: Role, device: Device, lifetime: timedelta
) -> tuple[str, Claims]:
    """Inserts a session and returns its id and its claims. `iat` and `exp` are whole seconds."""
    sid, session_id, now = (
        Secret(store.token(32)),
        store.token(16),
        store.now().replace(microsecond=0),
    )
    row = START(
        id=session_id,
        user_id=user_id,
        token_hash=_digest(sid),
        now=now,
        expires_at=now + lifetime,
        browser=device.browser,
        system=device.system,
        kind=device.kind,
        user_agent=device.user_agent,
        address=device.address,
    )
    await store.count(row)
    await store.count(MAKE_ROOM(user_id=user_id))
    return session_id, Claims(
        sid, user_id, role, int(now.timestamp()), int((now + lifetime).timestamp())
    )


async def find(
    store: Store, claims: Claims, preload: Select[Any] | None = None
) -> tuple[LiveSession, object] | None:
    """Returns the session and its user, read by one JOIN; None if either is missing, expired or
    disabled.

    `preload` is a `pick` of more columns of `users`, which the same statement reads; the second
    value is that DTO.
    """
    values = {"token_hash": _digest(claims.sid), "user_id": claims.user_id, "now": store.now()}
    if preload is not None:
        return await store.one(_live_with(preload)(**values))
    live = await store.one(LIVE(**values))
    return None if live is None else (live, None)


@cache
def _live_with(preload: Select[Any]) -> Statement[tuple[LiveSession, object]]:
    """Returns LIVE_SESSION with the preload's columns added.

    Each preload is a constant of its module, so that the cache stays small.
    """
    live, preload_into = cast("Select[Any]", LIVE.clause), preload.get_execution_options()["into"]
    session_columns = len(live.selected_columns)

    def split(*values: Any) -> tuple[LiveSession, object]:
        return LiveSession(*values[:session_columns]), preload_into(*values[session_columns:])

    return Statement(live.add_columns(*preload._raw_columns).execution_options(into=split))


async def hold(viewer: Viewer) -> Role | None:
    """Returns the user's role, or None if the session has ended.

    Locks the session's row against DELETE.
    """
    held = HOLD(session_id=viewer.session_id, user_id=viewer.id, now=viewer.store.now())
    return cast("Role | None", await viewer.store.value(held))


async def renew(store: Store, live: LiveSession, renewed: datetime) -> datetime:
    """Updates the last-seen time and the expiry in one conditional UPDATE if either is due.

    Returns the expiry that now applies.
    """
    now = store.now()
    stale = now - SEEN_EVERY
    if live.last_seen_at > stale and renewed == live.expires_at:
        return live.expires_at
    try:
        await store.count(TOUCH(session_id=live.session_id, stale=stale, renewed=renewed, now=now))
    except Busy:  # A database that rejects writes can still verify sessions.
        return live.expires_at
    return renewed


async def end(store: Store, claims: Claims) -> str | None:
    """Deletes the row, so that no copy of the cookie is valid.

    Returns its id if the session was live, else None.
    """
    for session_id, expires_at in await store.all(
        END(token_hash=_digest(claims.sid), user_id=claims.user_id)
    ):
        return str(session_id) if expires_at > store.now() else None
    return None


def _digest(sid: Secret[str]) -> str:
    """Returns the hash of the sid that the row stores.

    The sid has 256 bits of entropy, so an unsalted SHA-256 is enough (ASVS 6.5.2).
    """
    return hashlib.sha256(sid.reveal().encode()).hexdigest()
