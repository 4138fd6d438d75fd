"""Whether the database answers."""

from typing import Any, cast

from sqlalchemy import select

from db.engine.statement import Statement
from db.refusals import Busy
from db.store import Store
from db.tables import users

ANYBODY = Statement(select(users.c.id).limit(1))  # a statement without a table would not touch SQLite's file


async def ask(store: Store) -> None:
    """Raises Busy where it does not, or cannot be written to."""
    await store.value(ANYBODY())
    if cast(Any, store.database)._backend.is_broken:
        raise Busy
