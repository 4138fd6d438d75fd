"""Opens the store at startup, checks its schema, and runs the maintenance tasks."""

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

ASK_AGAIN: Final = 1.0  # seconds between two attempts to open the database


async def open_database(store: Store) -> str:
    """Connects to the database if its schema is the one of this program.

    Returns the problem, or an empty string.
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
    """Opens the database if there was a problem, then prunes until canceled."""
    if problem:
        await keep_opening(store, problem)
    await report_head(store)
    await keep_pruning(store)


async def report_head(store: Store) -> None:
    """Logs an error if the audit log was written with other keys.

    The service continues, because after a theft of the secret the operator sets only the new one,
    and all users must log in again.
    """
    with suppress(Busy):
        if problem := await find_head_problem(store):
            logger.error("%s; new entries are written with the current one", problem)


async def keep_opening(store: Store, problem: str) -> None:
    """Tries to open the database until it succeeds. Logs each new problem, and the success."""
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
