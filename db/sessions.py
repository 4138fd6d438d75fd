"""Sessions: started, seen, refreshed and ended. What a cookie claims is optimistic; the row is what counts."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import and_, bindparam, delete, or_, select, update

from db.engine.statement import Statement, insert
from db.refusals import Busy, NotLoggedIn
from db.secret import Secret
from db.store import Store
from db.tables import Instant, sessions, users
from db.viewer import ROLES, Claims, Role, Viewer, issue

LIFETIME: Final = timedelta(days=7)  # since the last renewal
HALF_LIFE: Final = LIFETIME / 2  # a session is renewed when less than this is left
LONGEST: Final = timedelta(days=30)  # since log-in, whatever happens
SEEN_EVERY: Final = timedelta(minutes=5)  # last-seen is written no more often
MOST: Final = 50  # sessions of one account; the oldest make room (SECURITY, S103)


@dataclass(frozen=True, slots=True)
class Device:
    """Where a log-in comes from, as its owner will recognise it. `kind` picks the drawing; `address` is an IP."""

    browser: str
    system: str
    kind: str
    user_agent: str
    address: str


@dataclass(frozen=True, slots=True)
class NewSession:
    """What the browser is given: the cookie's value, which is nowhere stored, and its age in seconds."""

    cookie: Secret[str]
    max_age: int


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session's row and its user's, in one: what one JOIN says."""

    session_id: str
    logged_in_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_id: str
    name: str
    role: Role
    slug: str


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
TOUCH = Statement(
    update(sessions)
    .where(
        sessions.c.id == bindparam("session_id"),
        or_(
            sessions.c.last_seen_at <= bindparam("stale", type_=Instant),
            sessions.c.expires_at < bindparam("renewed", type_=Instant),
        ),
    )
    .values(last_seen_at=bindparam("now", type_=Instant), expires_at=bindparam("renewed", type_=Instant))
)
END = Statement(
    delete(sessions).where(
        and_(sessions.c.token_hash == bindparam("token_hash"), sessions.c.user_id == bindparam("user_id"))
    )
)


async def start_session(store: Store, user_id: str, role: Role, device: Device) -> NewSession:
    """A row, and the cookie that opens it. To be called inside the transaction of the log-in or sign-up."""
    sid, now = Secret(store.token(32)), _whole(store.now())
    row = START(
        id=store.token(16),
        user_id=user_id,
        token_hash=_digest(sid),
        now=now,
        expires_at=now + LIFETIME,
        browser=device.browser,
        system=device.system,
        kind=device.kind,
        user_agent=device.user_agent,
        address=device.address,
    )
    await store.count(row)
    await store.count(MAKE_ROOM(user_id=user_id))
    return _sign(store, sid, user_id, role, now, now + LIFETIME)


def peek(store: Store, cookie: str | None) -> Claims | None:
    """What the cookie claims, if we signed it and it has not expired. No query: good for menus and redirects only."""
    claims = store.keys.verify(cookie) if cookie else None
    if claims is None:
        return None
    sid, user_id, role, issued_at = (claims.get(name) for name in ("sid", "sub", "role", "iat"))
    if not (isinstance(sid, str) and isinstance(user_id, str) and role in ROLES and issued_at is not None):
        return None
    return Claims(Secret(sid), user_id, role, issued_at, claims["exp"])


async def verify_session(store: Store, claims: Claims | None, *, may_write: bool = True) -> Viewer:
    """The viewer, as the database knows them now: one JOIN. Raises NotLoggedIn where the row is gone.

    Notes that the session was seen, and renews it when half its life is over, unless `may_write` is false.
    """
    if claims is None:
        raise NotLoggedIn
    now = store.now()
    live = await store.one(LIVE(token_hash=_digest(claims.sid), user_id=claims.user_id, now=now))
    if live is None:
        raise NotLoggedIn(ended=True)
    expires_at = await _touch(store, live, now) if may_write else live.expires_at
    return issue(
        store,
        id=live.user_id,
        name=live.name,
        role=live.role,
        slug=live.slug,
        session_id=live.session_id,
        logged_in_at=live.logged_in_at,
        expires_at=expires_at,
    )


def refresh(viewer: Viewer, claims: Claims) -> NewSession | None:
    """A new token for the same session, where the row has moved on from what the cookie says; None where it has not.

    The guide's `updateSession` sets the old token again, whose own `exp` stays (trap T3).
    """
    if claims.role == viewer.role and claims.expires_at == viewer.expires_at.timestamp():
        return None
    began = datetime.fromtimestamp(claims.issued_at, UTC)
    return _sign(viewer.store, claims.sid, viewer.id, viewer.role, began, viewer.expires_at)


async def end_session(store: Store, claims: Claims | None) -> None:
    """Delete the row that the cookie opens, so that no copy of the cookie works again."""
    if claims is not None:
        await store.count(END(token_hash=_digest(claims.sid), user_id=claims.user_id))


async def _touch(store: Store, live: LiveSession, now: datetime) -> datetime:
    """Write last-seen and the renewal, if either is due, in one conditional UPDATE. The row's expiry from now on."""
    renewed = live.expires_at
    if live.expires_at - now < HALF_LIFE:
        renewed = max(renewed, min(_whole(now) + LIFETIME, live.logged_in_at + LONGEST))
    stale = now - SEEN_EVERY
    if live.last_seen_at > stale and renewed == live.expires_at:
        return live.expires_at
    try:
        await store.count(TOUCH(session_id=live.session_id, stale=stale, renewed=renewed, now=now))
    except Busy:  # a database that cannot be written to still knows who is logged in
        return live.expires_at
    return renewed


def _sign(
    store: Store, sid: Secret[str], user_id: str, role: Role, began: datetime, expires_at: datetime
) -> NewSession:
    issued_at, ends = int(began.timestamp()), int(expires_at.timestamp())
    claims = {"sid": sid.reveal(), "sub": user_id, "role": role, "iat": issued_at, "exp": ends}
    return NewSession(store.keys.sign(claims), max(0, int((expires_at - store.now()).total_seconds())))


def _digest(sid: Secret[str]) -> str:
    """What the row keeps. The sid has 256 bits of its own, so a plain SHA-256 is enough (ASVS 6.5.2)."""
    return hashlib.sha256(sid.reveal().encode()).hexdigest()


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
