"""The transaction in which an administrator or the operator changes something that belongs to no
user: a role or an organization.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from db.accounts import lock_admin_changes
from db.audit import log as audit_log
from db.audit.events import Event
from db.audit.log import OPERATOR, viewer_actor
from db.errors import Forbidden
from db.rate_limits import limiter
from db.rate_limits.limits import DENIED
from db.sessions.lifecycle import require_right
from db.viewer import Admin, Operator

Detail = dict[str, str | int]


@asynccontextmanager
async def change_settings(caller: Admin | Operator, event: Event) -> AsyncIterator[Detail]:
    """Opens the transaction, and writes the audit entry at its end if the block has filled in the
    detail.

    Raises NotLoggedIn and Forbidden; the latter writes an audit entry of its own.
    """
    store = caller.store
    detail = Detail()
    actor = viewer_actor(caller) if isinstance(caller, Admin) else OPERATOR
    try:
        async with store.transaction():
            await lock_admin_changes(store)
            if isinstance(caller, Admin):
                await require_right(caller)
            yield detail
            if detail:
                await audit_log.record(store, event, actor, detail, is_budgeted=False)
    except Forbidden:
        await limiter.record_within_limit(store, actor, "admin", DENIED, str(actor.user_id))
        raise
