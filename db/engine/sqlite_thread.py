"""Contains the queue that passes jobs to the thread of a SQLite connection and returns results."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import aiosqlite

R = TypeVar("R")
Job = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]

SLOW_JOB_SECONDS = 0.005


class Worker:
    """A connection and its queue of jobs.

    `translate` maps an exception of a job to the exception that the caller gets.

    The results are in a deque, because its append and its pop are thread-safe.
    """

    def __init__(
        self, connection: aiosqlite.Connection, translate: Callable[[BaseException], BaseException]
    ) -> None:
        self._connection = connection
        self._translate = translate
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._started_at: float | None = None  # The start of the running job.
        self._pending: list[Job] = []
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()

    def load(self, now: float) -> tuple[bool, int]:
        """Returns whether the running job is slow, and the number of unfinished jobs."""
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
        """Passes all pending jobs to the thread at once.

        Waking the thread is half of the cost of a round trip, so it is not woken for each job.
        """
        if self._pending:
            self._connection._tx.put_nowait((None, partial(self._perform, self._pending)))
            self._pending = []

    def _perform(self, jobs: list[Job]) -> None:
        """Runs the jobs, in the connection's thread."""
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
            if len(self._done) == 1:  # Otherwise the delivery is already scheduled.
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._done:
            future, result, error = self._done.popleft()
            self._waiting -= 1
            if future.done():  # The task that awaited it was canceled.
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    async def close(self) -> None:
        self._submit()
        await self._connection.close()
