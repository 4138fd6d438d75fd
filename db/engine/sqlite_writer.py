"""Contains the only connection that writes, and its lock."""

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
BROKEN_SECONDS = 10.0


class Writer:
    """The connection that writes. Callers get it in the order of their requests.

    Its methods raise Unavailable if it is not free within `wait` seconds. `busy_seconds` is the
    part of this time for which SQLite itself waits for other processes.
    """

    def __init__(self, workers: Workers, wait: float, busy_seconds: float) -> None:
        self._workers = workers
        self._lock = asyncio.Lock()
        self._wait = wait
        self._busy_seconds = busy_seconds
        self._broken_at = -math.inf
        self._cleaning: set[asyncio.Task[None]] = set()

    async def once(
        self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments
    ) -> R:
        """Runs one job outside a transaction."""
        busy_seconds = await self._acquire()
        return await self.finish(Handle.with_busy_timeout, busy_seconds, job, *arguments)  # type: ignore[arg-type]

    async def begin(self) -> None:
        """Begins a transaction, which `finish` must end. Releases the lock on failure."""
        busy_seconds = await self._acquire()
        try:
            await self.do(Handle.with_busy_timeout, busy_seconds, Handle.begin)
        except BaseException:
            self._release_when_clean()
            raise

    async def do(self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments) -> R:
        """Runs a job in the transaction that the caller has begun."""
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
        """Runs the last job. Releases the lock and leaves no transaction open, even on failure."""
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
        """Returns whether the last write failed because of the disk in the last BROKEN_SECONDS.

        After this time, a write is worth another attempt.
        """
        return monotonic() - self._broken_at < BROKEN_SECONDS

    async def _acquire(self) -> float:
        """Acquires the lock. Returns the seconds that SQLite may still wait for other processes."""
        started = monotonic()
        try:
            async with asyncio.timeout(self._wait):
                await self._lock.acquire()
        except TimeoutError as error:
            raise Unavailable() from error
        left = self._wait - (monotonic() - started)
        return max(0.05, min(self._busy_seconds, left if left < 0.9 * self._wait else self._wait))

    def _release_when_clean(self) -> None:
        """Schedules the release of the lock after the running job and a ROLLBACK.

        A canceled caller does not wait for it.
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
