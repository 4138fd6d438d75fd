"""Keeping house: opening the store, knowing whether its schema is ours, applying migrations."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from db.audit.chain import find_head_problem
from db.crypto.secret import Secret
from db.errors import Busy
from db.maintenance.pruning import keep_pruning
from db.maintenance.schema import WrongSchema, explain, require_schema
from db.store import Store

logger = logging.getLogger("latchkey")

ASK_AGAIN: Final = 1.0  # seconds until a database that is away is asked again


async def open_database(store: Store) -> str:
    """Connect, if the database answers and its schema is ours; what is in the way, empty where
    nothing is.
    """
    database = Secret(str(store.database.url))
    try:
        await require_schema(database)
        await store.database.connect()
    except WrongSchema as problem:
        return str(problem)
    except Busy as busy:
        return busy.reason or explain(busy.__cause__, database)
    return ""


async def keep_house(store: Store, problem: str = "") -> None:
    """For ever, until cancelled: open the database if there was a problem, then prune."""
    if problem:
        await keep_opening(store, problem)
    await report_head(store)
    await keep_pruning(store)


async def report_head(store: Store) -> None:
    """Logs an error if the audit log was written under other keys.

    The service goes on nevertheless: after a theft of the secret the new one is set alone, and
    users have to log in.
    """
    with suppress(Busy):
        if problem := await find_head_problem(store):
            logger.error("%s; new entries are written with the current one", problem)


async def keep_opening(store: Store, problem: str) -> None:
    """Until it is open. The log tells what is in the way, and when it is not any more."""
    told = ""
    while problem:
        if problem != told:
            logger.error(
                "%s; pages that need the database answer 503 until it can be used", problem
            )
        told = problem
        await asyncio.sleep(ASK_AGAIN)
        problem = await open_database(store)
    logger.warning("the database is available, and its schema is current")
