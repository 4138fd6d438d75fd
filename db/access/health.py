"""Whether the database answers."""

from sqlalchemy import literal, select

from db.engine.statement import Statement
from db.store import Store

PING = Statement(select(literal(1)))


async def ask(store: Store) -> None:
    """Raises Busy where it does not."""
    await store.value(PING())
