"""Contains SQLite connections, each on its own thread, and the choice of one for each job."""

import asyncio
import math
import sqlite3
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple, TypeVar, TypeVarTuple, Unpack

import aiosqlite

from db.engine.sqlite_thread import Worker
from db.engine.statement import Conflict
from db.errors import Unavailable

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")

PROGRESS_STEPS = 10_000  # SQLite's virtual machine executes this many instructions in about 0.1 ms.

# These errors of locks, disks and files are temporary. https://www.sqlite.org/rescode.html
UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


class Result(NamedTuple):
    rows: list[tuple[Any, ...]]
    description: Sequence[tuple[Any, ...]] | None
    rowcount: int
    lastrowid: int | None

    def keys(self) -> list[str]:
        return [column[0] for column in self.description or ()]


class Handle(sqlite3.Connection):
    """The connection in its thread.

    Each method takes one round trip to the thread and leaves no unfinished statement.
    """

    until = math.inf
    busy_milliseconds = 0

    def fetch(self, sql: str, arguments: Sequence[Any], until: float, within: bool) -> Result:
        """Executes a statement and fetches all of its rows.

        `until` is the deadline on the monotonic clock. Raises Unavailable if it has passed. With
        `within`, raises OperationalError if no transaction is open. Without it, raises
        ProgrammingError if the statement has begun one.
        """
        if within and not self.in_transaction:
            raise sqlite3.OperationalError("SQLite has rolled the transaction back")
        if monotonic() > until:
            raise Unavailable
        self.until = until
        try:
            cursor = self.execute(sql, arguments)
            result = Result(
                cursor.fetchall(), cursor.description, cursor.rowcount, cursor.lastrowid
            )
        finally:
            self.until = math.inf
        if self.in_transaction and not within:
            self.rollback()
            raise sqlite3.ProgrammingError(
                "a transaction is begun by database.transaction(), not by a statement"
            )
        return result

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.execute(statement)

    def with_busy_timeout(self, seconds: float, job: Callable[..., R], *arguments: Any) -> R:
        """Runs the job, which waits for other processes for at most `seconds`."""
        milliseconds = int(seconds * 1000)
        if milliseconds != self.busy_milliseconds:
            self.busy_milliseconds = milliseconds
            self.run(f"PRAGMA busy_timeout={milliseconds:d}")
        return job(self, *arguments)

    def begin(self) -> None:
        """Begins a transaction after rolling back one that an interrupted task has left open."""
        self.rollback()
        self.run("BEGIN IMMEDIATE")

    def undo_inner(self) -> None:
        """Rolls back the innermost savepoint, unless SQLite has rolled back the transaction."""
        if self.in_transaction:
            self.run("ROLLBACK TO inner", "RELEASE inner")

    def is_past_deadline(self) -> bool:
        return monotonic() > self.until


def open_handle(path: str, busy_timeout: int, query_only: bool) -> Handle:
    handle = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Handle)
    try:
        handle.run(
            f"PRAGMA busy_timeout={busy_timeout:d}",
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "PRAGMA foreign_keys=ON",
            f"PRAGMA query_only={query_only:d}",
        )
        # SQLite has one writer at a time, so an advisory lock has nothing to do.
        handle.create_function("pg_advisory_xact_lock", 1, lambda number: None)
        handle.set_progress_handler(handle.is_past_deadline, PROGRESS_STEPS)
    except BaseException:
        handle.close()
        raise
    return handle


class Workers:
    """aiosqlite's connections, each with a thread that runs its jobs in order.

    A job goes to a connection without a slow job and with the fewest unfinished jobs, so that a
    slow read delays few others. A single connection is a queue. A job takes one round trip to the
    thread. Jobs of the same iteration of the event loop are passed together.
    """

    def __init__(self, connect: Callable[[], Handle], size: int) -> None:
        self._connect = connect
        self._size = size
        self._workers: list[Worker] = []

    async def open(self) -> None:
        """Opens the connections. If one fails, the caller must `close` those that are open."""
        for _ in range(self._size):
            connection = aiosqlite.Connection(self._connect, iter_chunk_size=64)
            # A daemon thread lets a program exit that does not disconnect.
            connection._thread.daemon = True
            try:
                self._workers.append(Worker(await connection, translate_error))
            except BaseException as error:
                # The stopping thread still sends its last result to this event loop.
                await asyncio.to_thread(connection._thread.join)
                translation = translate_error(error)
                raise translation from translation.__cause__

    def do(
        self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments
    ) -> asyncio.Future[R]:
        """Returns a future of the job's result.

        The job does not run if the future is canceled before its turn.
        """
        now = monotonic()
        worker = min(self._workers, key=lambda worker: worker.load(now))
        return worker.do(job, *arguments)

    async def close(self) -> None:
        """Closes the connections after all of their jobs."""
        while self._workers:
            await self._workers.pop().close()


def translate_error(error: BaseException) -> BaseException:
    """Returns Conflict for a violated constraint, Unavailable for a database that is unavailable,
    or else the error itself.
    """
    translation: BaseException
    if isinstance(error, sqlite3.IntegrityError):
        translation = Conflict(str(error))
    elif (
        isinstance(error, sqlite3.OperationalError)
        and getattr(error, "sqlite_errorcode", 0) & 0xFF in UNAVAILABLE
    ):
        translation = Unavailable()
    else:
        return error
    translation.__cause__ = error
    return translation
