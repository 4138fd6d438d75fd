"""The list of the viewer's own sessions, and their revocation."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, delete

from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.device_names import describe_device
from db.engine.statement import Statement
from db.errors import NotFound
from db.messages import Message
from db.rate_limits import limiter
from db.rate_limits.limits import SESSION_REVOKES
from db.sessions.claims import NewCookie
from db.sessions.device_cookie import renew_device_cookie
from db.sessions.lifecycle import end_all_sessions, require_right
from db.store import pick
from db.tables import is_live, sessions
from db.viewer import Viewer


@dataclass(frozen=True, slots=True)
class Device:
    """One session. `ip_address` is the one that the log-in came from; times are in UTC."""

    id: str
    browser: str
    system: str
    device_type: str
    ip_address: str
    created_at: datetime
    last_seen_at: datetime
    current: bool

    @property
    def name(self) -> Message:
        return describe_device(self.browser, self.system)


class _Revoked(NamedTuple):
    id: str
    browser: str
    system: str


DEVICES = Statement(
    pick(Device, sessions, current=sessions.c.id == bindparam("session_id"))
    .where(
        sessions.c.user_id == bindparam("user_id"),
        is_live(),
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
    await _take_tokens(viewer)
    async with viewer.store.transaction():
        await require_right(viewer)
        revoked: _Revoked | None = await viewer.store.one(REVOKE(id=device_id, user_id=viewer.id))
        if revoked is None:
            raise NotFound
        if revoked.id == viewer.session_id:
            await audit_log.record(viewer.store, "logout", viewer_actor(viewer))
        else:
            detail = {
                "session": revoked.id,
                "device": str(describe_device(revoked.browser, revoked.system)),
            }
            await audit_log.record(viewer.store, "session.end", viewer_actor(viewer), detail)
    return revoked.id


async def revoke_others(viewer: Viewer) -> int:
    """Ends every session except the current one and returns how many there were.

    Raises RateLimited and NotLoggedIn.
    """
    await _take_tokens(viewer)
    async with viewer.store.transaction():
        await require_right(viewer)
        ended = await viewer.store.count(
            REVOKE_OTHERS(user_id=viewer.id, session_id=viewer.session_id)
        )
        if ended:
            await audit_log.record(
                viewer.store, "session.end-others", viewer_actor(viewer), {"ended": ended}
            )
    return ended


async def revoke_all(viewer: Viewer) -> NewCookie:
    """Ends every session including the current one, and returns a new device cookie.

    Device cookies of all other browsers become invalid for this account. Raises RateLimited and
    NotLoggedIn.
    """
    await _take_tokens(viewer)
    async with viewer.store.transaction():
        await require_right(viewer)
        ended = await end_all_sessions(viewer.store, viewer.id)
        await audit_log.record(
            viewer.store, "session.end-all", viewer_actor(viewer), {"ended": ended}
        )
    return renew_device_cookie(viewer.store, viewer.client.device_cookie, viewer.id)


async def _take_tokens(viewer: Viewer) -> None:
    """Raises RateLimited.

    Each session has its own bucket, so that an attacker with a stolen session cannot use up the
    attempts of the user who wants to end it.
    """
    session = viewer.token_id or viewer.session_id
    subject = session or f"{viewer.id} {viewer.logged_in_at.isoformat()}"
    await limiter.take_tokens(viewer.store, viewer_actor(viewer), (SESSION_REVOKES, subject))
