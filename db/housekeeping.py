"""Keeping house: opening the store, knowing whether its schema is ours, applying migrations, pruning what is over."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from databases import Database
from sqlalchemy import bindparam, column, delete, select, table

from db.engine.statement import Statement
from db.keys import KeyRing
from db.passwords import Passwords
from db.refusals import Busy
from db.secret import Secret
from db.store import Store, utc_now
from db.tables import SCHEMA, Instant, sessions

logger = logging.getLogger("latchkey")

PRUNE_EVERY: Final = 600  # seconds
BATCH: Final = 500  # rows a transaction, so that no sign-up waits for the broom

VERSION = Statement(select(column("version_num")).select_from(table("alembic_version")))
EXPIRED = Statement(
    delete(sessions).where(
        sessions.c.id.in_(
            select(sessions.c.id)
            .where(sessions.c.expires_at <= bindparam("now", type_=Instant))
            .limit(BATCH)
            .scalar_subquery()
        )
    )
)


class WrongSchema(Exception):
    """The database is not at the revision that this code was written for; the message says what to do."""


def make_store(
    database: Secret[str],
    secrets: Sequence[Secret[bytes]],
    *,
    strategy: Literal["database", "stateless"] = "database",
    encrypted: bool = False,
    passwords: Passwords | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Store:
    """A store on the database of this URL, not yet connected. `now` is the clock of everything in it."""
    keys = KeyRing(secrets, lambda: now().timestamp(), encrypted=encrypted)
    return Store(Database(database.reveal()), keys, passwords or Passwords(), strategy, now)


async def require_schema(store: Store) -> None:
    """Raises WrongSchema unless the tables are there, at our revision."""
    try:
        version = await store.value(VERSION())
    except Busy:
        raise
    except Exception as error:
        raise WrongSchema("the database has no tables yet: run `latchkey migrate` first") from error
    if version is None or version < SCHEMA:
        raise WrongSchema("the database is older than this program: run `latchkey migrate` first")
    if version > SCHEMA:
        raise WrongSchema(f"the database is newer than this program (revision {version}, ours is {SCHEMA})")


def migrate(database: Secret[str]) -> None:
    """Bring the database to our revision. Harmless where it is there already."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = database
    command.upgrade(config, SCHEMA)


async def prune(store: Store) -> int:
    """Delete what has expired, in small batches; how many rows."""
    total = 0
    while pruned := await store.count(EXPIRED(now=store.now())):
        total += pruned
        await asyncio.sleep(0.05)
    return total


async def keep_pruning(store: Store) -> None:
    """For ever, until cancelled."""
    while True:
        try:
            await prune(store)
        except Busy:
            logger.warning("the database does not answer: pruning is put off")
        await asyncio.sleep(PRUNE_EVERY)
