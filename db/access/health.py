"""The health check: whether the database responds, and whether a log-in could be written to it."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, cast

from sqlalchemy import delete, select, update

from db.engine.statement import Statement
from db.errors import Unavailable
from db.store import Store
from db.tables import audit_head, sessions, users

# A flood of requests then takes the locks at most once a second.
WRITE_CHECK_INTERVAL: Final = timedelta(seconds=1)


class _RollBack(Exception):
    """Rolls the transaction back after a successful check."""


# A statement without a table would not access SQLite's file.
SELECT_ANY_USER = Statement(select(users.c.id).limit(1))
LOGIN_LOCKS = (  # These statements take the locks of a log-in in the same order and change no row.
    Statement(update(users).where(users.c.id == "").values(last_login_at=users.c.last_login_at)),
    Statement(delete(sessions).where(sessions.c.id == "")),
    Statement(select(audit_head.c.number).with_for_update()),
)


async def check_database(store: Store) -> None:
    """Checks that the database responds and that a log-in could be written. Raises Unavailable."""
    await store.value(SELECT_ANY_USER())
    if cast(Any, store.database)._backend.is_broken:
        raise Unavailable
    check = store.write_check
    async with check.lock:
        now = store.now()
        if check.succeeded_at is None or now - check.succeeded_at >= WRITE_CHECK_INTERVAL:
            await _require_writable(store)
            check.succeeded_at = now


async def _require_writable(store: Store) -> None:
    """Takes the locks that a log-in takes, then rolls back, which avoids a flush to disk.

    Raises Unavailable.
    """
    with suppress(_RollBack):
        async with store.transaction():
            for statement in LOGIN_LOCKS:
                await store.count(statement())
            raise _RollBack
