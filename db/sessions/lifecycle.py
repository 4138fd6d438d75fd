"""Sessions: started, seen, refreshed and ended.

What a cookie claims is optimistic; the database has the last word.

One strategy keeps a row for each session, the other none (the guide's two kinds); both have the
same four functions.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, or_, select, update

from db.audit import log as audit
from db.audit.log import By
from db.engine.statement import Statement
from db.errors import Forbidden, NotLoggedIn
from db.sessions import stateless
from db.sessions import stored as session_rows
from db.sessions.claims import NewSession, write
from db.sessions.device_cookie import remember
from db.store import Store
from db.tables import Instant, sessions, users
from db.viewer import NOWHERE, Admin, Claims, Device, LiveSession, Role, Viewer, issue

LIFETIME: Final = timedelta(days=7)  # since the last renewal
HALF_LIFE: Final = LIFETIME / 2  # a session is renewed when less than this is left
LONGEST: Final = timedelta(days=30)  # since log-in, whatever happens
STRATEGIES: Final[Mapping[str, ModuleType]] = {"database": session_rows, "stateless": stateless}

LOCK_USERS = Statement(
    select(users.c.id)
    .where(or_(users.c.id == bindparam("viewer_id"), users.c.id == bindparam("user_id")))
    .order_by(users.c.id)
    .with_for_update()
)
LATEST = Statement(
    select(users.c.sessions_ended_at, users.c.last_login_at)
    .where(users.c.id == bindparam("user_id"))
    .with_for_update()
)
MARK_END = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(sessions_ended_at=bindparam("moment", type_=Instant))
)
END_ROW = Statement(
    delete(sessions).where(
        sessions.c.id == bindparam("session_id"), sessions.c.user_id == bindparam("user_id")
    )
)
END_ROWS = Statement(delete(sessions).where(sessions.c.user_id == bindparam("user_id")))


async def start_session(store: Store, user_id: str, role: Role, device: Device) -> NewSession:
    """A new session and its cookies.

    To be called inside the transaction of the log-in or sign-up.
    """
    session_id, claims = await _strategy(store).start(store, user_id, role, device, LIFETIME)
    return replace(
        write(store, claims), device=remember(store, device.cookie, user_id), id=session_id
    )


async def verify_session(
    store: Store,
    claims: Claims | None,
    *,
    device: Device = NOWHERE,
    may_write: bool = True,
    preload: Select[Any] | None = None,
) -> Viewer:
    """The viewer, as the database knows them now, by one statement.

    Raises NotLoggedIn where it does not.

    `device` is where the request comes from. Notes that the session was seen, and renews it when
    half its life is over, unless `may_write` is false. `preload` names more columns of `users` for
    the same statement to read.
    """
    if claims is None:
        raise NotLoggedIn
    found: tuple[LiveSession, object] | None = await _strategy(store).find(store, claims, preload)
    if found is None:
        raise NotLoggedIn(ended=True)
    live, preloaded = found
    if (
        may_write
        and (ends := await _strategy(store).renew(store, live, _renewed(live, store.now())))
        != live.expires_at
    ):
        live = replace(live, expires_at=ends)
    return issue(store, live, device, preloaded)


async def require_right(viewer: Viewer, user_id: str = "") -> None:
    """Verifies the viewer again: the first statement of each transaction in which a viewer changes
    something.

    The request was verified before the transaction, and the viewer may have been logged out,
    disabled or demoted since. Locks the rows of the viewer and of the user `user_id`, so that
    neither changes until the transaction ends. Every transaction locks users before sessions,
    sessions before the head of the audit log, and users in the order of their ids, so that no two
    wait for each other. Raises NotLoggedIn; and Forbidden for an Admin whose role has changed.
    """
    await viewer.store.all(LOCK_USERS(viewer_id=viewer.id, user_id=user_id or viewer.id))
    role: Role | None = await _strategy(viewer.store).hold(viewer)
    if role is None:
        raise NotLoggedIn(ended=True)
    if isinstance(viewer, Admin) and role != "admin":
        raise Forbidden


def refresh(viewer: Viewer, claims: Claims) -> NewSession | None:
    """A new token for the same session, where the database has moved on from what the cookie says;
    None where not.

    The guide's `updateSession` sets the old token again, whose own `exp` stays (trap T3).
    """
    if claims.role == viewer.role and claims.expires_at == viewer.expires_at.timestamp():
        return None
    return write(
        viewer.store,
        replace(claims, role=viewer.role, expires_at=int(viewer.expires_at.timestamp())),
    )


async def end_session(store: Store, claims: Claims | None, device: Device = NOWHERE) -> None:
    """End the session of this cookie, as far as the strategy can.

    `device` is where the request comes from.

    Without rows a cookie can log out as often as one likes: the budget of audit entries bounds what
    is written.
    """
    if claims is None:
        return
    async with store.transaction():
        session_id = await _strategy(store).end(store, claims)
        if session_id is not None:
            by = By("member", claims.user_id, session_id, device.address, device.name)
            await audit.record(store, "logout", by)


async def end_session_of(viewer: Viewer) -> None:
    """Ends the viewer's session; where sessions have no rows, every session of the account.

    To be called inside a transaction.
    """
    if viewer.session_id:
        await viewer.store.count(END_ROW(session_id=viewer.session_id, user_id=viewer.id))
    else:
        await end_all_sessions(viewer.store, viewer.id)


async def end_all_sessions(store: Store, user_id: str) -> int:
    """End every session of an account, of either strategy; how many rows there were.

    To be called inside a transaction.

    The moment that is kept is no earlier than any `iat` given so far, so that it is right even
    within one second.
    """
    for ended_at, logged_in_at in await store.all(LATEST(user_id=user_id)):
        after = ended_at and ended_at + timedelta(microseconds=1)
        latest = max(moment for moment in (store.now(), after, logged_in_at) if moment)
        await store.count(MARK_END(user_id=user_id, moment=latest))
    return await store.count(END_ROWS(user_id=user_id))


def _renewed(live: LiveSession, now: datetime) -> datetime:
    """When the session ends if it is seen now."""
    if live.expires_at - now >= HALF_LIFE:
        return live.expires_at
    return max(
        live.expires_at, min(now.replace(microsecond=0) + LIFETIME, live.logged_in_at + LONGEST)
    )


def _strategy(store: Store) -> Any:
    return STRATEGIES[store.strategy]
