"""The transaction in which an administrator or the operator changes something: a user, a role or an
organization.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import func, select

from db.audit import log as audit_log
from db.audit.events import Event
from db.audit.log import OPERATOR, viewer_actor
from db.engine.statement import Statement
from db.errors import Forbidden
from db.rate_limits import limiter
from db.rate_limits.limits import DENIED
from db.sessions.lifecycle import require_right
from db.store import Store
from db.viewer import Admin, Operator

ADMIN_CHANGES_LOCK: Final = 7_411_001  # This is the key of the PostgreSQL advisory lock.
Detail = dict[str, str | int]

# PostgreSQL holds it until the transaction ends. SQLite needs no lock, since it has one writer.
LOCK_ADMIN_CHANGES = Statement(select(func.pg_advisory_xact_lock(ADMIN_CHANGES_LOCK)))


async def lock_admin_changes(store: Store) -> None:
    """Serializes the changes that could remove the last administrator. Must run inside a
    transaction, before any row is locked.
    """
    await store.value(LOCK_ADMIN_CHANGES())


@asynccontextmanager
async def open_change(
    caller: Admin | Operator, event: Event, *, user_id: str = ""
) -> AsyncIterator[Detail]:
    """Opens the transaction of a change, and writes the audit entry at its end.

    The block fills in the entry's detail; an empty detail means that nothing has changed, and no
    entry is written. `user_id` is the user that the change concerns, empty if it concerns none. An
    advisory lock serializes all changes. Raises NotLoggedIn and Forbidden; the latter writes an
    audit entry of its own.
    """
    store = caller.store
    detail = Detail()
    actor = viewer_actor(caller) if isinstance(caller, Admin) else OPERATOR
    try:
        async with store.transaction():
            await lock_admin_changes(store)
            if isinstance(caller, Admin):
                await require_right(caller, user_id)
            yield detail
            if detail:
                await audit_log.record(
                    store,
                    event,
                    actor,
                    detail,
                    target_id=user_id or None,
                    is_budgeted=bool(user_id),
                )
    except Forbidden:
        await limiter.record_within_limit(store, actor, "admin", DENIED, str(actor.user_id))
        raise
