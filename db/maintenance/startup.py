"""Opens the store at startup, checks its schema, and runs the maintenance tasks."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from sqlalchemy import func, select

from db.audit.chain import find_head_problem
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import Unavailable
from db.factors.rekey import count_other_passkeys, count_unreadable_apps
from db.maintenance.pruning import run_pruning
from db.maintenance.revisions import WrongSchema
from db.maintenance.schema import explain_unavailable, require_schema
from db.organizations.rekey import count_unreadable_client_secrets
from db.store import Store
from db.tables import users

logger = logging.getLogger("latchkey")

COUNT_UNCONFIRMED_USERS = Statement(
    select(func.count())
    .select_from(users)
    .where(users.c.verified_at.is_(None), users.c.last_login_at.is_not(None))
)
RETRY_SECONDS: Final = 1.0  # This is the time between two attempts to open the database.


async def open_database(store: Store) -> str:
    """Connects to the database if its schema is the one of this program.

    Returns the problem, or an empty string.
    """
    database = Secret(str(store.database.url))
    try:
        await require_schema(database, store.product)
        await store.database.connect()
    except WrongSchema as problem:
        return str(problem)
    except Unavailable as error:
        return error.reason or explain_unavailable(error.__cause__, database)
    return ""


async def run_maintenance(store: Store, problem: str = "") -> None:
    """Opens the database if there was a problem, then prunes until canceled."""
    if problem:
        await retry_opening(store, problem)
    await log_head_problem(store)
    await warn_of_unconfirmed_users(store)
    await warn_of_unusable_factors(store)
    await run_pruning(store)


async def log_head_problem(store: Store) -> None:
    """Logs an error if the audit log was written with other keys.

    The service continues, because after a theft of the secret the operator sets only the new one,
    and all users must log in again.
    """
    with suppress(Unavailable):
        if problem := await find_head_problem(store):
            logger.error("%s; new entries are written with the current one", problem)


async def warn_of_unconfirmed_users(store: Store) -> None:
    """Logs how many users from before EMAIL_VERIFICATION=required cannot log in anymore."""
    if not store.outbox.requires_verification:
        return
    with suppress(Unavailable):
        if count := await store.value(COUNT_UNCONFIRMED_USERS()):
            logger.warning(
                "%d users who have logged in before have not confirmed their email, and cannot log "
                "in until they do",
                count,
            )


async def warn_of_unusable_factors(store: Store) -> None:
    """Logs how many secrets of authenticator apps and organizations no key decrypts, and how many
    passkeys belong to another domain.
    """
    with suppress(Unavailable):
        if count := await count_unreadable_apps(store):
            logger.warning(
                "no key of SESSION_SECRET decrypts the secrets of %d authenticator apps: add the "
                "former secret, and run `latchkey factors rekey`",
                count,
            )
        if count := await count_unreadable_client_secrets(store):
            logger.warning(
                "no key of SESSION_SECRET decrypts the client secrets of %d organizations: add the "
                "former secret, and run `latchkey factors rekey`",
                count,
            )
        if count := await count_other_passkeys(store):
            logger.warning(
                "%d passkeys were created for another domain than %s and do not work: check "
                "PASSKEY_RP_ID and BASE_URL",
                count,
                store.factors.rp_id or "this IP address",
            )


async def retry_opening(store: Store, problem: str) -> None:
    """Tries to open the database until it succeeds. Logs each new problem, and the success."""
    logged = ""
    while problem:
        if problem != logged:
            logger.error(
                "%s; pages that need the database answer 503 until it can be used", problem
            )
        logged = problem
        await asyncio.sleep(RETRY_SECONDS)
        problem = await open_database(store)
    logger.warning("the database is available, and its schema is current")
