"""Verifies the current password of a viewer before a sensitive change.

After many wrong passwords the session ends. Otherwise an attacker with a stolen session cookie
could guess until the session expires.
"""

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import bindparam

from db.audit import log as audit_log
from db.audit.events import Event
from db.audit.log import viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import NotLoggedIn
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import PASSWORD_GUESS, USER_HASHES
from db.sessions.lifecycle import end_viewer_session, require_right
from db.store import pick
from db.tables import users
from db.viewer import Viewer, require_session

MAX_WRONG_PASSWORDS: Final = 20  # consecutive wrong passwords that end the session


@dataclass(frozen=True, slots=True)
class _PasswordHash:
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


PASSWORD_HASH = Statement(pick(_PasswordHash, users).where(users.c.id == bindparam("user_id")))


async def verify_current_password(
    viewer: Viewer, current: Secret[str], change: limiter.Charge, event: Event
) -> Secret[str] | None:
    """Returns the stored hash if `current` is the viewer's password, else None.

    Takes a token of `change`, the limit of the change itself. `event` names the change in the audit
    entry of a wrong password. Raises RateLimited, Unavailable, Forbidden for a viewer with an
    access token, and NotLoggedIn if the session has ended in the meantime, or ends now after
    MAX_WRONG_PASSWORDS consecutive wrong passwords.
    """
    require_session(viewer)
    store, guess = viewer.store, (PASSWORD_GUESS, _session_key(viewer))
    store.passwords.require_capacity(user_id=viewer.id)
    hashes = per_client(USER_HASHES, viewer.client.ip_address)
    await limiter.take_tokens(store, viewer_actor(viewer), change, *hashes, guess)
    async with limiter.refund_if_overloaded(store, change, guess):
        stored: _PasswordHash | None = await store.one(PASSWORD_HASH(user_id=viewer.id))
        if stored is not None and await store.passwords.verify(
            stored.password_hash, current, user_id=viewer.id
        ):
            await limiter.refund(store, guess, succeeded=True)
            return stored.password_hash
    await _record_wrong_password(viewer, guess, event)
    return None


async def _record_wrong_password(viewer: Viewer, guess: limiter.Charge, event: Event) -> None:
    """Writes an audit entry for a wrong password.

    After MAX_WRONG_PASSWORDS consecutive wrong passwords it also ends the session and raises
    NotLoggedIn.
    """
    store, actor = viewer.store, viewer_actor(viewer)
    async with store.transaction():
        await require_right(viewer)
        wrong_count = await limiter.count_consecutive_attempts(store, *guess)
        if wrong_count >= MAX_WRONG_PASSWORDS:
            await end_viewer_session(viewer)
        await audit_log.record(store, event, actor, outcome="refused")
        if wrong_count >= MAX_WRONG_PASSWORDS:
            await audit_log.record(store, "session.end-guessing", actor, {"times": wrong_count})
    if wrong_count >= MAX_WRONG_PASSWORDS:
        raise NotLoggedIn(ended=True, guessed=True)


def _session_key(viewer: Viewer) -> str:
    """Returns a bucket subject that identifies the session; a stateless session is identified by
    its log-in time.
    """
    return f"{viewer.id} {viewer.session_id or viewer.logged_in_at.isoformat()}"
