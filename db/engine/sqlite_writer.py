"""The one connection that writes, and the lock in front of it."""

import asyncio
import math
import sqlite3
from collections.abc import Callable
from time import monotonic
from typing import TypeVar, TypeVarTuple, Unpack

from db.engine.sqlite_workers import Handle, Workers
from db.errors import Unavailable

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")

BROKEN = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}
BROKEN_SECONDS = 10.0  # seconds


class Writer:
    """Raises Unavailable after waiting more than `wait` seconds for it.

    Turns come in the order of asking.

    `busy_seconds`: the seconds for which SQLite itself waits for other processes, of the same
    `wait`.
    """

    def __init__(self, workers: Workers, wait: float, busy_seconds: float) -> None:
        self._workers = workers
        self._lock = asyncio.Lock()
        self._wait, self._busy_seconds = wait, busy_seconds
        self._broken_at = -math.inf
        self._cleaning: set[asyncio.Task[None]] = set()

    async def once(
        self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments
    ) -> R:
        """One job, in no transaction."""
        busy_seconds = await self._acquire()
        return await self.finish(Handle.with_busy_timeout, busy_seconds, job, *arguments)  # type: ignore[arg-type]

    async def begin(self) -> None:
        """Opens a transaction, which `finish` is to end. A failure leaves nothing held."""
        busy_seconds = await self._acquire()
        try:
            await self.do(Handle.with_busy_timeout, busy_seconds, Handle.begin)
        except BaseException:
            self._release_when_clean()
            raise

    async def do(self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments) -> R:
        """One job more in the transaction that the caller has begun."""
        try:
            return await self._workers.do(job, *arguments)
        except Unavailable as error:
            if (
                isinstance(error.__cause__, sqlite3.Error)
                and error.__cause__.sqlite_errorcode & 0xFF in BROKEN
            ):
                self._broken_at = monotonic()
            raise

    async def finish(
        self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments
    ) -> R:
        """The last job. However it ends, the lock is released and no transaction is left open."""
        try:
            result = await self.do(job, *arguments)
        except BaseException:
            self._release_when_clean()
            raise
        self._lock.release()
        self._broken_at = -math.inf
        return result

    @property
    def is_broken(self) -> bool:
        """Whether the disk has refused the last write, a moment ago: after that it deserves another
        try.
        """
        return monotonic() - self._broken_at < BROKEN_SECONDS

    async def _acquire(self) -> float:
        """The writer is the caller's; how long they may still wait for other
        processes, in seconds.
        """
        started = monotonic()
        try:
            async with asyncio.timeout(self._wait):
                await self._lock.acquire()
        except TimeoutError as error:
            raise Unavailable() from error
        left = self._wait - (monotonic() - started)
        return max(0.05, min(self._busy_seconds, left if left < 0.9 * self._wait else self._wait))

    def _release_when_clean(self) -> None:
        """After what is under way, and a ROLLBACK if a transaction is open.

        A cancelled task does not stay for it.
        """
        task = asyncio.create_task(self._clean())
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _clean(self) -> None:
        try:
            await self.do(Handle.rollback)
        finally:
            self._lock.release()

    async def open(self) -> None:
        await self._workers.open()

    async def close(self) -> None:
        await asyncio.gather(*self._cleaning, return_exceptions=True)
        await self._workers.close()
