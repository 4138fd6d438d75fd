"""The offer of a passkey, which users see after a log-in with a password until they decline it."""

from sqlalchemy import bindparam, update

from db.access.security import SecurityState
from db.audit.log import viewer_actor
from db.engine.statement import Statement
from db.rate_limits import limiter
from db.rate_limits.limits import PROFILE_CHANGE
from db.sessions.lifecycle import require_right
from db.tables import Instant, users
from db.viewer import Viewer, needs_factor

DECLINE = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.passkey_declined_at.is_(None))
    .values(passkey_declined_at=bindparam("now", type_=Instant))
)


def is_offer_due(viewer: Viewer, state: SecurityState) -> bool:
    """Returns whether the viewer may be offered a passkey, without a query.

    An account with a passkey gets no offer, and one that declined it never gets it again. A request
    about the account that is on the page already comes first.
    """
    is_possible = viewer.store.factors.rp_id and not state.passkey_count
    is_interrupted = needs_factor(viewer) or state.delete_at
    return bool(is_possible and not state.passkey_declined_at and not is_interrupted)


async def decline(viewer: Viewer) -> None:
    """Stores that the viewer does not want a passkey. The first time counts.

    Raises RateLimited, and NotLoggedIn if the session has ended since the request was verified.
    """
    store = viewer.store
    await limiter.take_tokens(store, viewer_actor(viewer), (PROFILE_CHANGE, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        await store.count(DECLINE(user_id=viewer.id, now=store.now()))
