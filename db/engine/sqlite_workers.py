"""SQLite connections, each on a thread of its own, and whom to ask."""

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

PROGRESS_STEPS = 10_000  # of SQLite's virtual machine: about a tenth of a millisecond

# Not wrong, but not to be had now: a lock, a disk, a file. https://www.sqlite.org/rescode.html
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
    """What the thread holds. Every method is one hop, and leaves no statement unfinished behind."""

    until = math.inf
    busy_milliseconds = 0  # milliseconds

    def fetch(self, sql: str, arguments: Sequence[Any], until: float, within: bool) -> Result:
        """`until`: when to give up, on the monotonic clock.

        `within`: only in the transaction that is open.
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
        """The job, which waits for other processes no longer than this."""
        milliseconds = int(seconds * 1000)
        if milliseconds != self.busy_milliseconds:
            self.busy_milliseconds = milliseconds
            self.run(f"PRAGMA busy_timeout={milliseconds:d}")
        return job(self, *arguments)

    def begin(self) -> None:
        """Whatever an interrupted program may have left open is none of the caller's."""
        self.rollback()
        self.run("BEGIN IMMEDIATE")

    def undo_inner(self) -> None:
        """SQLite may have rolled everything back of its own accord."""
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
        # SQLite has one writer at a time
        handle.create_function("pg_advisory_xact_lock", 1, lambda number: None)
        handle.set_progress_handler(handle.is_past_deadline, PROGRESS_STEPS)
    except BaseException:
        handle.close()
        raise
    return handle


class Workers:
    """aiosqlite's connections, each a thread that does its jobs in the order of asking.

    One is asked that is not stuck in a slow job, and has the fewest waiting, so that a slow read
    holds up few others. One worker alone is a queue. A job is one hop to the thread and back; what
    is asked for in one turn of the loop goes together.
    """

    def __init__(self, connect: Callable[[], Handle], size: int) -> None:
        self._connect = connect
        self._size = size
        self._workers: list[Worker] = []

    async def open(self) -> None:
        """What is open when one fails is for `close`."""
        for _ in range(self._size):
            connection = aiosqlite.Connection(self._connect, iter_chunk_size=64)
            # a program that forgets to disconnect ends nevertheless
            connection._thread.daemon = True
            try:
                self._workers.append(Worker(await connection, translate_error))
            except BaseException as error:
                # it is stopping, and has a last word for this loop
                await asyncio.to_thread(connection._thread.join)
                translation = translate_error(error)
                raise translation from translation.__cause__

    def do(
        self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments
    ) -> asyncio.Future[R]:
        """The job's result.

        Where the asking task is cancelled before the job's turn, it is left out.
        """
        now = monotonic()
        worker = min(self._workers, key=lambda worker: worker.load(now))
        return worker.do(job, *arguments)

    async def close(self) -> None:
        """Once the jobs that were asked for are done."""
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
