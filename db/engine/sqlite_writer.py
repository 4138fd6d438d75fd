"""The one connection that writes, and the lock in front of it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

from db.engine.sqlite_workers import Handle, Workers
from db.refusals import Busy

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")


class Writer:
    """Whoever waits for it longer than `wait` seconds is refused: Busy. Turns come in the order of asking."""

    def __init__(self, workers: Workers, wait: float) -> None:
        self._workers = workers
        self._lock = asyncio.Lock()
        self._wait = wait
        self._cleaning: set[asyncio.Task[None]] = set()

    async def once(self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments) -> R:
        """One job, in no transaction."""
        await self._take()
        return await self.finish(job, *arguments)

    async def begin(self) -> None:
        """Opens a transaction, which `finish` is to end. A failure leaves nothing held."""
        await self._take()
        try:
            await self.do(Handle.begin)
        except BaseException:
            self._release_when_clean()
            raise

    async def do(self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments) -> R:
        """One job more in the transaction that the caller has begun."""
        return await self._workers.do(job, *arguments)

    async def finish(self, job: Callable[[Handle, Unpack[Arguments]], R], *arguments: *Arguments) -> R:
        """The last job. However it ends, the lock is released and no transaction is left open."""
        try:
            result = await self.do(job, *arguments)
        except BaseException:
            self._release_when_clean()
            raise
        self._lock.release()
        return result

    async def _take(self) -> None:
        try:
            async with asyncio.timeout(self._wait):
                await self._lock.acquire()
        except TimeoutError as error:
            raise Busy() from error

    def _release_when_clean(self) -> None:
        """After what is under way, and a ROLLBACK if a transaction is open. A cancelled task does not stay for it."""
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
