"""Keeping house: opening the store, knowing whether its schema is ours, applying migrations."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

from databases import Database
from databases.core import Connection
from sqlalchemy import bindparam, func, select

from db.audit.chain import find_head_problem
from db.clock import never_back
from db.crypto.breached_passwords import Breaches
from db.crypto.key_ring import KeyRing
from db.crypto.macs import Digests, derive
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import Busy
from db.maintenance.database_files import create_private, path_of
from db.maintenance.pruning import keep_pruning
from db.maintenance.schema import WrongSchema, explain, require_schema, require_usable_file
from db.rate_limits.recent import Mode, Throttle
from db.store import Store, utc_now
from db.tables import SCHEMA, Instant, sessions

logger = logging.getLogger("latchkey")

ASK_AGAIN: Final = 1.0  # seconds until a database that is away is asked again

LIVE_SESSIONS = Statement(
    select(func.count()).select_from(sessions).where(sessions.c.expires_at > bindparam("now", type_=Instant))
)


class Door(Database):
    """Shut until `open_database` has seen that the schema behind it is ours: whoever asks before is told Busy."""

    def connection(self) -> Connection:
        if not self.is_connected:
            raise Busy
        return super().connection()

    async def fetch_one(self, query: Any, values: dict[str, Any] | None = None) -> Any:
        """Past the locks of a Connection, which a third of a statement's time goes into: outside a transaction our back
        ends hold nothing between two statements that they could protect."""
        if values is None and self.is_connected and self._connection is None:
            return await self._backend.connection().fetch_one(query)
        return await super().fetch_one(query, values)


def make_store(
    database: Secret[str],
    secrets: Sequence[Secret[bytes]],
    *,
    strategy: Literal["database", "stateless"] = "database",
    encrypted: bool = False,
    limits: Mode = "enforce",
    passwords: Passwords | None = None,
    breaches: str = "",
    now: Callable[[], datetime] = utc_now,
) -> Store:
    """A store on the database of this URL, not yet connected. `now` is the clock of everything in it, `breaches` the
    address of the service that knows breached passwords, if one is to be asked.
    """
    now = never_back(now)
    device_secrets = [derive(secret, "device cookie") for secret in secrets]
    return Store(
        database=Door(database.reveal()),
        keys=KeyRing(secrets, lambda: now().timestamp(), encrypted=encrypted),
        device_keys=KeyRing(device_secrets, lambda: now().timestamp(), encrypted=encrypted),
        audit_keys=Digests(secrets, "audit trail"),
        bucket_keys=Digests(secrets, "buckets"),
        passwords=passwords or Passwords(),
        breaches=Breaches(breaches),
        throttle=Throttle(limits),
        strategy=strategy,
        now=now,
    )


async def open_database(store: Store) -> str:
    """Connect, if the database answers and its schema is ours; what is in the way, empty where nothing is."""
    database = Secret(str(store.database.url))
    try:
        await require_schema(database)
        await store.database.connect()
    except WrongSchema as problem:
        return str(problem)
    except Busy as busy:
        return busy.reason or explain(busy.__cause__, database)
    return ""


def migrate(database: Secret[str]) -> None:
    """Brings the database to our revision. Harmless where it is there already. Raises Busy, WrongSchema.

    SQLite would create a missing file with the umask's mode, and as root with root's ownership.
    """
    from alembic import command
    from alembic.config import Config

    if path := path_of(database):
        require_usable_file(path)
        with suppress(FileExistsError):
            create_private(path)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.attributes["url"] = database
    command.upgrade(config, SCHEMA)


def migrate_if_needed(database: Secret[str]) -> None:
    """As `migrate`, but where the schema is ours already without Alembic, which takes a second to load."""
    try:
        asyncio.run(require_schema(database))
    except WrongSchema:
        migrate(database)


async def keep_house(store: Store, problem: str = "") -> None:
    """For ever, until cancelled: open the database if there was a problem, then prune."""
    if problem:
        await keep_opening(store, problem)
    await report_head(store)
    await keep_pruning(store)


async def report_head(store: Store) -> None:
    """Logs an error if the audit log was written under other keys.

    The service goes on nevertheless: after a theft of the secret the new one is set alone, and users have to log in.
    """
    with suppress(Busy):
        if problem := await find_head_problem(store):
            logger.error("%s; new entries are written under the present one", problem)


async def keep_opening(store: Store, problem: str) -> None:
    """Until it is open. The log tells what is in the way, and when it is not any more."""
    told = ""
    while problem:
        if problem != told:
            logger.error("%s; every page that needs the database says 503 meanwhile", problem)
        told = problem
        await asyncio.sleep(ASK_AGAIN)
        problem = await open_database(store)
    logger.warning("the database answers, and its schema is this program's")


async def count_live_sessions(store: Store) -> int:
    """By one index, which takes a millisecond for every 20,000: ask no more often than is worth it. Raises Busy."""
    return int(await store.value(LIVE_SESSIONS(now=store.now())))


def read_numbers(store: Store) -> Mapping[str, int]:
    """What this process has done since it started, and how many wait for their turn to hash."""
    backend = cast(Any, store.database._backend)
    return {
        "statements": backend.statements,
        "writes": backend.writes,
        "hashes": store.passwords.hashes,
        "queued": store.passwords.queued,
    }
