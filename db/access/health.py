"""The health check: whether the database responds, and whether a log-in could be written to it."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, cast

from sqlalchemy import delete, select, update

from db.engine.statement import Statement
from db.errors import Busy
from db.store import Store
from db.tables import sessions, trail_head, users

# A flood of requests then takes the locks at most once a second.
SUCCESS_COUNTS_FOR: Final = timedelta(seconds=1)


class _RollBack(Exception):
    """Rolls the transaction back after a successful check."""


# A statement without a table would not access SQLite's file.
ANYBODY = Statement(select(users.c.id).limit(1))
LOG_IN = (  # takes a log-in's locks in the same order, and changes no row
    Statement(update(users).where(users.c.id == "").values(last_login_at=users.c.last_login_at)),
    Statement(delete(sessions).where(sessions.c.id == "")),
    Statement(select(trail_head.c.number).with_for_update()),
)


async def ask(store: Store) -> None:
    """Checks that the database responds and that a log-in could be written. Raises Unavailable."""
    await store.value(ANYBODY())
    if cast(Any, store.database)._backend.is_broken:
        raise Busy
    check = store.write_check
    async with check.lock:
        now = store.now()
        if check.succeeded_at is None or now - check.succeeded_at >= SUCCESS_COUNTS_FOR:
            await _require_writable(store)
            check.succeeded_at = now


async def _require_writable(store: Store) -> None:
    """Takes the locks that a log-in takes, then rolls back, which avoids a flush to disk.

    Raises Unavailable.
    """
    with suppress(_RollBack):
        async with store.transaction():
            for statement in LOG_IN:
                await store.count(statement())
            raise _RollBack
