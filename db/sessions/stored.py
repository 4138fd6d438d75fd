"""The database strategy: each session is a row, which its user can see and delete."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, cast

from sqlalchemy import Select, bindparam, delete, or_, select, update

from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.errors import Unavailable
from db.sessions.claims import hash_sid
from db.sessions.provider_login import ProviderLogin
from db.store import Store
from db.tables import Instant, is_live, sessions, users
from db.viewer import Claims, ClientInfo, LiveSession, Role, Viewer

# This is the least interval between two updates of last_seen_at.
LAST_SEEN_INTERVAL: Final = timedelta(minutes=5)
# A log-in beyond this deletes the session that was last seen the longest ago, which bounds the
# table.
MAX_SESSIONS_PER_USER: Final = 50

INSERT_SESSION = Statement(
    insert(sessions).values(
        id=bindparam("id"),
        user_id=bindparam("user_id"),
        token_hash=bindparam("token_hash"),
        created_at=bindparam("now", type_=Instant),
        last_seen_at=bindparam("now", type_=Instant),
        expires_at=bindparam("expires_at", type_=Instant),
        browser=bindparam("browser"),
        system=bindparam("system"),
        device_type=bindparam("device_type"),
        user_agent=bindparam("user_agent"),
        ip_address=bindparam("ip_address"),
        is_remembered=bindparam("is_remembered"),
        provider_subject_hash=bindparam("provider_subject_hash"),
        provider_sid_hash=bindparam("provider_sid_hash"),
    )
)
DELETE_OLDEST = Statement(
    delete(sessions).where(
        sessions.c.id.in_(
            select(sessions.c.id)
            .where(sessions.c.user_id == bindparam("user_id"))
            .order_by(sessions.c.last_seen_at.desc(), sessions.c.created_at.desc())
            .offset(MAX_SESSIONS_PER_USER)
            .scalar_subquery()
        )
    )
)
LIVE_SESSION = Statement(
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
        users.c.verified_at.is_not(None).label("verified"),
        sessions.c.is_remembered,
        users.c.has_factor,
        sessions.c.provider_subject_hash,
        sessions.c.provider_sid_hash,
    )
    .join_from(sessions, users)
    .where(
        sessions.c.token_hash == bindparam("token_hash"),
        sessions.c.user_id == bindparam("user_id"),
        is_live(),
        users.c.disabled_at.is_(None),
    )
    .execution_options(into=LiveSession)
)
LOCK_SESSION = Statement(
    select(users.c.role)
    .join_from(sessions, users)
    .where(
        sessions.c.id == bindparam("session_id"),
        sessions.c.user_id == bindparam("user_id"),
        is_live(),
        users.c.disabled_at.is_(None),
    )
    # KEY SHARE excludes DELETE, but not the UPDATE of a renewal.
    .with_for_update(read=True, key_share=True, of=sessions)
)
RENEW_SESSION = Statement(
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
DELETE_SESSION = Statement(
    delete(sessions)
    .where(
        sessions.c.token_hash == bindparam("token_hash"), sessions.c.user_id == bindparam("user_id")
    )
    .returning(sessions.c.id, sessions.c.expires_at)
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
    """Inserts a session and returns its id and its claims. `iat` and `exp` are whole seconds."""
    sid = Secret(store.token(32))
    session_id = store.token(16)
    now = store.now().replace(microsecond=0)
    row = INSERT_SESSION(
        id=session_id,
        user_id=user_id,
        token_hash=hash_sid(sid),
        now=now,
        expires_at=now + lifetime,
        browser=client.browser,
        system=client.system,
        device_type=client.device_type,
        user_agent=client.user_agent,
        ip_address=client.ip_address,
        is_remembered=is_remembered,
        provider_subject_hash=provider_login and provider_login.subject_hash,
        provider_sid_hash=(provider_login and provider_login.sid_hash) or None,
    )
    await store.count(row)
    await store.count(DELETE_OLDEST(user_id=user_id))
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
    values = {"token_hash": hash_sid(claims.sid), "user_id": claims.user_id, "now": store.now()}
    if preload is not None:
        return await store.one(_live_session_with(preload)(**values))
    live = await store.one(LIVE_SESSION(**values))
    return None if live is None else (live, None)


@cache
def _live_session_with(preload: Select[Any]) -> Statement[tuple[LiveSession, object]]:
    """Returns LIVE_SESSION with the preload's columns added.

    Each preload is a constant of its module, so that the cache stays small.
    """
    live = cast("Select[Any]", LIVE_SESSION.clause)
    preload_into = preload.get_execution_options()["into"]
    session_columns = len(live.selected_columns)

    def split(*values: Any) -> tuple[LiveSession, object]:
        return LiveSession(*values[:session_columns]), preload_into(*values[session_columns:])

    return Statement(live.add_columns(*preload._raw_columns).execution_options(into=split))


async def lock_session(viewer: Viewer) -> Role | None:
    """Returns the user's role, or None if the session has ended.

    Locks the session's row against DELETE.
    """
    lock = LOCK_SESSION(session_id=viewer.session_id, user_id=viewer.id, now=viewer.store.now())
    return cast("Role | None", await viewer.store.value(lock))


async def renew(store: Store, live: LiveSession, renewed: datetime) -> datetime:
    """Updates the last-seen time and the expiry in one conditional UPDATE if either is due.

    Returns the expiry that now applies.
    """
    now = store.now()
    stale = now - LAST_SEEN_INTERVAL
    if live.last_seen_at > stale and renewed == live.expires_at:
        return live.expires_at
    try:
        await store.count(
            RENEW_SESSION(session_id=live.session_id, stale=stale, renewed=renewed, now=now)
        )
    except Unavailable:  # A database that rejects writes can still verify sessions.
        return live.expires_at
    return renewed


async def end(store: Store, claims: Claims) -> str | None:
    """Deletes the row, so that no copy of the cookie is valid.

    Returns its id if the session was live, else None.
    """
    for session_id, expires_at in await store.all(
        DELETE_SESSION(token_hash=hash_sid(claims.sid), user_id=claims.user_id)
    ):
        return str(session_id) if expires_at > store.now() else None
    return None
