"""One SQLite connection on its thread, and the way there and back."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import aiosqlite

R = TypeVar("R")
Job = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]

SLOW_JOB_SECONDS = 0.005  # seconds after which a job counts as slow


class Worker:
    """One connection and its queue of jobs.

    `translate` maps what a job raises to the error that its caller gets.

    Any thread may append to a deque and pop from it.
    """

    def __init__(
        self, connection: aiosqlite.Connection, translate: Callable[[BaseException], BaseException]
    ) -> None:
        self._connection, self._translate = connection, translate
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._started_at: float | None = None  # when the job that is under way was
        self._pending: list[Job] = []
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()

    def load(self, now: float) -> tuple[bool, int]:
        """Whether it is stuck, and how many jobs it has."""
        started_at = self._started_at
        return started_at is not None and now - started_at > SLOW_JOB_SECONDS, self._waiting

    def do(self, work: Callable[..., R], *arguments: Any) -> asyncio.Future[R]:
        future = self._loop.create_future()
        self._waiting += 1
        self._pending.append((future, work, arguments))
        if len(self._pending) == 1:
            self._loop.call_soon(self._submit)
        return future

    def _submit(self) -> None:
        """A thread is woken once for all that was asked since, and not for each: half of a hop's
        cost is the waking.
        """
        if self._pending:
            self._connection._tx.put_nowait((None, partial(self._perform, self._pending)))
            self._pending = []

    def _perform(self, jobs: list[Job]) -> None:
        """In the connection's thread."""
        connection = self._connection._conn
        for future, work, arguments in jobs:
            self._started_at = monotonic()
            result, error = None, None
            try:
                if not future.cancelled():
                    result = work(connection, *arguments)
            except BaseException as raised:
                error = self._translate(raised)
            self._started_at = None
            self._done.append((future, result, error))
            if len(self._done) == 1:  # or the loop has been told, and has not come yet
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._done:
            future, result, error = self._done.popleft()
            self._waiting -= 1
            if future.done():  # its task was cancelled
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    async def close(self) -> None:
        self._submit()
        await self._connection.close()
