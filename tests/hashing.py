"""Contains a password hasher that a test can block.

Concurrency tests with it do not depend on the speed of hashing.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from threading import Event
from typing import Any, TypeVar

from argon2 import PasswordHasher

T = TypeVar("T")
TIMEOUT_SECONDS = 30


class HeldHasher(PasswordHasher):
    """Hashes and verifies with minimal parameters, except while `held` blocks it."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self._held: dict[str, Event] = {}
        self._reached = Event()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self._wait("hash")
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:
        self._wait("verify")
        return super().verify(hash, password)

    @asynccontextmanager
    async def held(
        self, method: str, work: Coroutine[Any, Any, T]
    ) -> AsyncIterator[asyncio.Task[T]]:
        """Starts `work` and blocks its call of `method` ("hash" or "verify") during the body."""
        released = self._held[method] = Event()
        self._reached.clear()
        task = asyncio.create_task(work)
        try:
            reached = await asyncio.to_thread(self._reached.wait, TIMEOUT_SECONDS)
            assert reached, f"{method} was not called"
            yield task
            assert not task.done()
        finally:
            del self._held[method]
            released.set()

    def _wait(self, method: str) -> None:
        if released := self._held.get(method):
            self._reached.set()
            assert released.wait(TIMEOUT_SECONDS), f"{method} was never released"
