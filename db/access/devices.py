"""The list of the viewer's own sessions, and their revocation."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, delete

from db.audit import log as audit
from db.audit.log import by_viewer
from db.device_names import describe
from db.engine.statement import Statement
from db.errors import NotFound
from db.rate_limits import limiter as throttle
from db.rate_limits.limits import SESSION_REVOKES
from db.sessions.claims import NewCookie
from db.sessions.device_cookie import remember
from db.sessions.lifecycle import end_all_sessions, require_right
from db.store import pick
from db.tables import Instant, sessions
from db.viewer import Viewer


@dataclass(frozen=True, slots=True)
class Device:
    """One session. `ip_address` is the one that the log-in came from; times are in UTC."""

    id: str
    browser: str
    system: str
    kind: str
    address: str
    created_at: datetime
    last_seen_at: datetime
    current: bool

    @property
    def name(self) -> str:
        return describe(self.browser, self.system)


class _Revoked(NamedTuple):
    id: str
    browser: str
    system: str


DEVICES = Statement(
    pick(Device, sessions, current=sessions.c.id == bindparam("session_id"))
    .where(
        sessions.c.user_id == bindparam("user_id"),
        sessions.c.expires_at > bindparam("now", type_=Instant),
    )
    .order_by(
        (sessions.c.id == bindparam("session_id")).desc(),
        sessions.c.last_seen_at.desc(),
        sessions.c.created_at.desc(),
    )
)
REVOKE = Statement(
    delete(sessions)
    .where(sessions.c.id == bindparam("id"), sessions.c.user_id == bindparam("user_id"))
    .returning(sessions.c.id, sessions.c.browser, sessions.c.system)
    .execution_options(into=_Revoked)
)
REVOKE_OTHERS = Statement(
    delete(sessions).where(
        sessions.c.user_id == bindparam("user_id"), sessions.c.id != bindparam("session_id")
    )
)


async def list_devices(viewer: Viewer) -> list[Device]:
    """Returns every live session of the viewer's account: the current one first, then by the time
    it was last seen.
    """
    return await viewer.store.all(
        DEVICES(user_id=viewer.id, session_id=viewer.session_id, now=viewer.store.now())
    )


async def revoke_device(viewer: Viewer, device_id: str) -> str:
    """Ends one session of the viewer and returns its id.

    Raises NotFound if the session does not exist or belongs to another user. Raises RateLimited,
    and NotLoggedIn if the viewer's own session has ended since the request was verified.
    """
    await _admit(viewer)
    async with viewer.store.transaction():
        await require_right(viewer)
        revoked: _Revoked | None = await viewer.store.one(REVOKE(id=device_id, user_id=viewer.id))
        if revoked is None:
            raise NotFound
        if revoked.id == viewer.session_id:
            await audit.record(viewer.store, "logout", by_viewer(viewer))
        else:
            detail = {"session": revoked.id, "device": describe(revoked.browser, revoked.system)}
            await audit.record(viewer.store, "session.end", by_viewer(viewer), detail)
    return revoked.id


async def revoke_others(viewer: Viewer) -> int:
    """Ends every session except the current one and returns how many there were.

    Raises RateLimited and NotLoggedIn.
    """
    await _admit(viewer)
    async with viewer.store.transaction():
        await require_right(viewer)
        ended = await viewer.store.count(
            REVOKE_OTHERS(user_id=viewer.id, session_id=viewer.session_id)
        )
        if ended:
            await audit.record(
                viewer.store, "session.end-others", by_viewer(viewer), {"ended": ended}
            )
    return ended


async def revoke_all(viewer: Viewer) -> NewCookie:
    """Ends every session including the current one, and returns a new device cookie.

    Device cookies of all other browsers become invalid for this account. Raises RateLimited and
    NotLoggedIn.
    """
    await _admit(viewer)
    async with viewer.store.transaction():
        await require_right(viewer)
        ended = await end_all_sessions(viewer.store, viewer.id)
        await audit.record(viewer.store, "session.end-all", by_viewer(viewer), {"ended": ended})
    return remember(viewer.store, viewer.device.cookie, viewer.id)


async def _admit(viewer: Viewer) -> None:
    """Raises RateLimited.

    Each session has its own bucket, so that an attacker with a stolen session cannot use up the
    attempts of the user who wants to end it.
    """
    session = viewer.session_id or f"{viewer.id} {viewer.logged_in_at.isoformat()}"
    await throttle.admit(viewer.store, by_viewer(viewer), (SESSION_REVOKES, session))
