"""Password hashing in separate threads, behind queues that are bounded by waiting time."""

import asyncio
import contextlib
import os
import threading
import time
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from statistics import median
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from db.crypto import foreign_hashes
from db.crypto.secret import Secret
from db.errors import Unavailable

T = TypeVar("T")

MAX_WAIT_SECONDS: Final = 2.0  # A request that would wait longer in the queue is rejected at once.
# Hashing threads have this niceness, so that a flood of log-ins does not slow pages down.
NICENESS: Final = 10
INITIAL_HASH_SECONDS: Final = 0.025  # This duration of a hash is assumed until one was measured.
# Further hashes of the account wait in the common queue.
MAX_QUEUED_PER_USER: Final = 2
LOCKED_HASH: Final = "!"  # Stored instead of a hash; matches no password.
SAMPLE_COUNT: Final = 15  # The median of the last hashes estimates the next one.


class Passwords:
    """argon2id with the parameters of OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one
    lane.

    At most `threads` hashes run at once. Logged-in users who confirm their password have a queue
    that is served first, so that a flood of log-ins never blocks them. `user_id` selects that
    queue, in which each account has MAX_QUEUED_PER_USER slots. Raises Unavailable if a request
    would wait longer than `max_wait` seconds.
    """

    def __init__(
        self,
        *,
        memory_kib: int = 19_456,
        passes: int = 2,
        threads: int | None = None,
        max_wait: float = MAX_WAIT_SECONDS,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._hasher = hasher or PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=1
        )
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._threads, "argon2", initializer=_lower_priority)
        self._max_wait = max_wait
        self._user_queue: deque[asyncio.Future[None]] = deque()
        # The counts of the queue of logged-in users, by account.
        self._queued_by_user: Counter[str] = Counter()
        self._common_queue: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._hash_seconds = deque([INITIAL_HASH_SECONDS], SAMPLE_COUNT)
        self._dummy = Secret(_dummy_hash(memory_kib, passes))
        self.hashes = 0
        # Called with the seconds of each hash, without its time in the queue.
        self.observe: Callable[[float], None] = lambda seconds: None

    async def hash(self, password: Secret[str], *, user_id: str | None = None) -> Secret[str]:
        """Returns the hash to store, in PHC string format."""
        return Secret(await self._run(lambda: self._hasher.hash(password.reveal()), user_id))

    async def verify(
        self, stored: Secret[str] | None, password: Secret[str], *, user_id: str | None = None
    ) -> bool:
        """Returns whether the password matches the stored hash.

        With None or LOCKED_HASH, does the same work on a dummy hash and returns False. The hash of
        an imported account may take another time, until a log-in has replaced it.
        """
        usable = stored if stored and stored.reveal() != LOCKED_HASH else None
        is_correct = await self._run(lambda: self._verify(usable or self._dummy, password), user_id)
        return is_correct and usable is not None

    def is_outdated(self, stored: Secret[str]) -> bool:
        """Returns whether the hash has another algorithm or other parameters than a new one would
        have.
        """
        return foreign_hashes.is_foreign(stored) or self._hasher.check_needs_rehash(stored.reveal())

    def require_capacity(self, *, user_id: str | None = None) -> None:
        """Raises Unavailable if a request would wait too long.

        Call it before the rate limits, so that such a request does not count as an attempt.
        """
        ahead = (
            len(self._user_queue)
            + (0 if self._has_user_slot(user_id) else len(self._common_queue))
            + self._running
        )
        wait = (ahead - self._threads + 1) / self._threads * median(self._hash_seconds)
        if wait > self._max_wait:
            raise Unavailable(retry_after=ceil(wait))

    @property
    def queued(self) -> int:
        """Returns how many hashes wait for a thread."""
        return len(self._user_queue) + len(self._common_queue)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: Secret[str], password: Secret[str]) -> bool:
        if foreign_hashes.is_foreign(stored):
            return foreign_hashes.matches(stored, password)
        try:
            return self._hasher.verify(stored.reveal(), password.reveal())
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T], user_id: str | None) -> T:
        await self._wait_for_thread(user_id)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._measure, work)
        finally:
            self._release_thread()

    async def _wait_for_thread(self, user_id: str | None) -> None:
        """Waits until a thread is free.

        Raises Unavailable at once if the wait would be too long.
        """
        self.require_capacity(user_id=user_id)
        if self._running < self._threads:
            self._running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        if user_id is None or not self._has_user_slot(user_id):
            self._common_queue.append(turn)
            await self._wait_for(turn)
            return
        self._user_queue.append(turn)
        self._queued_by_user[user_id] += 1
        try:
            await self._wait_for(turn)
        finally:
            self._queued_by_user -= Counter([user_id])  # The subtraction removes zero counts.

    def _has_user_slot(self, user_id: str | None) -> bool:
        """Returns whether the account has a free slot in the queue of logged-in users."""
        return user_id is not None and self._queued_by_user[user_id] < MAX_QUEUED_PER_USER

    async def _wait_for(self, turn: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(self._max_wait):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled():
                self._release_thread()
            if isinstance(error, TimeoutError):
                raise Unavailable(retry_after=ceil(self._max_wait)) from None
            raise

    def _release_thread(self) -> None:
        """Gives the free thread to the next request that still waits."""
        for queue in (self._user_queue, self._common_queue):
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._running -= 1

    def _measure(self, work: Callable[[], T]) -> T:
        """Runs the work and records its processor time for the estimate of waiting times.

        Wall-clock time would include delays from answering rejected requests. Rejections during a
        flood would then raise the estimate, which would cause more rejections and retries without
        end.
        """
        started = time.perf_counter()
        worked = time.thread_time()
        try:
            return work()
        finally:
            self.hashes += 1
            self._hash_seconds.append(time.thread_time() - worked)
            self.observe(time.perf_counter() - started)


def _dummy_hash(memory_kib: int, passes: int) -> str:
    """Returns random bytes in PHC string format.

    Verifying it costs the same as a real hash and never succeeds.
    """
    salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${digest}"


def _lower_priority() -> None:
    """Lowers the priority of this thread if the system can (on Linux, priorities belong to
    threads).
    """
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
