"""SQLite connections, each on a thread of its own, that take jobs from one queue."""

import asyncio
import math
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, NamedTuple, TypeVar, TypeVarTuple, Unpack

from db.engine.statement import Conflict
from db.refusals import Busy

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")

Queue = SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None]

STEPS_BETWEEN_LOOKS = 10_000  # of SQLite's virtual machine: about a tenth of a millisecond

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

    def fetch(self, sql: str, arguments: Sequence[Any], until: float, within: bool) -> Result:
        """`until`: when to give up, on the monotonic clock. `within`: only in the transaction that is open."""
        if within and not self.in_transaction:
            raise sqlite3.OperationalError("SQLite has rolled the transaction back")
        if monotonic() > until:
            raise Busy
        self.until = until
        try:
            cursor = self.execute(sql, arguments)
            result = Result(cursor.fetchall(), cursor.description, cursor.rowcount, cursor.lastrowid)
        finally:
            self.until = math.inf
        if self.in_transaction and not within:
            self.rollback()
            raise sqlite3.ProgrammingError("a transaction is begun by database.transaction(), not by a statement")
        return result

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.execute(statement)

    def begin(self) -> None:
        """Whatever an interrupted program may have left open is none of the caller's."""
        self.rollback()
        self.run("BEGIN IMMEDIATE")

    def undo_inner(self) -> None:
        """SQLite may have rolled everything back of its own accord."""
        if self.in_transaction:
            self.run("ROLLBACK TO inner", "RELEASE inner")

    def late(self) -> bool:
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
        handle.set_progress_handler(handle.late, STEPS_BETWEEN_LOOKS)
    except BaseException:
        handle.close()
        raise
    return handle


class Workers:
    """As many threads as connections: a slow job holds up its own thread, and no job is bound to wait for that one.

    One worker alone does its jobs in the order of asking. A job that is cancelled before its turn is left out.
    """

    def __init__(self, connect: Callable[[], Handle], size: int) -> None:
        self._connect = connect
        self._size = size
        self._jobs: Queue = SimpleQueue()
        self._threads: list[Thread] = []

    async def open(self) -> None:
        """What is open when one fails is for `close`."""
        for _ in range(self._size):
            self._start(await refusing(asyncio.to_thread(self._connect)))

    def _start(self, handle: Handle) -> None:
        """A daemon, so that a program that forgets to disconnect ends nevertheless."""
        thread = Thread(target=serve, args=(handle, self._jobs), daemon=True)
        thread.start()
        self._threads.append(thread)

    async def do(self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments) -> R:
        """The whole job in one hop to a thread and back."""
        future = asyncio.get_running_loop().create_future()
        self._jobs.put((future, job, arguments))
        return await refusing(future)

    async def close(self) -> None:
        """Once the jobs that were asked for are done."""
        for _ in self._threads:
            self._jobs.put(None)
        while self._threads:
            await asyncio.to_thread(self._threads.pop().join)


def serve(handle: Handle, jobs: Queue) -> None:
    with closing(handle):
        while item := jobs.get():
            perform(handle, *item)


def perform(handle: Handle, future: asyncio.Future[Any], job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    settle: Callable[[Any], None] = future.set_result
    try:
        outcome = job(handle, *arguments)
    except BaseException as error:
        settle, outcome = future.set_exception, error
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        future.get_loop().call_soon_threadsafe(answer, future, settle, outcome)


def answer(future: asyncio.Future[Any], settle: Callable[[Any], None], outcome: Any) -> None:
    if not future.done():
        settle(outcome)


async def refusing(hop: Awaitable[R]) -> R:
    """The hop's result; its refusal, as Busy or Conflict; or SQLite's own error, which is a mistake of ours."""
    try:
        return await hop
    except sqlite3.IntegrityError as error:
        raise Conflict(str(error)) from error
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in UNAVAILABLE:
            raise Busy() from error
        raise
