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

from db.crypto.secret import Secret
from db.errors import Busy

T = TypeVar("T")

LONGEST_WAIT: Final = 2.0  # in the queue; a request that would wait longer is rejected at once
NICENESS: Final = 10  # of the hashing threads, so that a flood of log-ins does not slow pages down
FIRST_GUESS: Final = 0.025  # the assumed duration of a hash until one was measured
# Further hashes of the account wait in the common queue.
MOST_WAITING: Final = 2
RECENT: Final = 15  # the median of these hashes estimates the next one


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
        longest_wait: float = LONGEST_WAIT,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._hasher = hasher or PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=1
        )
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._threads, "argon2", initializer=_step_back)
        self._longest_wait = longest_wait
        self._members: deque[asyncio.Future[None]] = deque()
        self._waiting: Counter[str] = Counter()  # by account, in the queue of logged-in users
        self._door: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._took = deque([FIRST_GUESS], RECENT)
        self._dummy = Secret(_dummy_hash(memory_kib, passes))
        self.hashes = 0
        # Called with the seconds of each hash, without its time in the queue.
        self.observe: Callable[[float], None] = lambda seconds: None

    async def hash(self, password: Secret[str], *, member: str | None = None) -> Secret[str]:
        """Returns the hash to store, in PHC string format."""
        return Secret(await self._run(lambda: self._hasher.hash(password.reveal()), member))

    async def verify(
        self, stored: Secret[str] | None, password: Secret[str], *, member: str | None = None
    ) -> bool:
        """Returns whether the password matches the stored hash.

        With None, does the same work on a dummy hash and returns False.
        """
        fits = await self._run(lambda: self._fits(stored or self._dummy, password), member)
        return fits and stored is not None

    def is_outdated(self, stored: Secret[str]) -> bool:
        """Returns whether the hash has other parameters than a new one would have."""
        return self._hasher.check_needs_rehash(stored.reveal())

    def require_room(self, *, member: str | None = None) -> None:
        """Raises Unavailable if a request would wait too long.

        Call it before the rate limits, so that such a request does not count as an attempt.
        """
        ahead = (
            len(self._members) + (0 if self._has_place(member) else len(self._door)) + self._running
        )
        wait = (ahead - self._threads + 1) / self._threads * median(self._took)
        if wait > self._longest_wait:
            raise Busy(retry_after=ceil(wait))

    @property
    def queued(self) -> int:
        """Returns how many hashes wait for a thread."""
        return len(self._members) + len(self._door)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fits(self, stored: Secret[str], password: Secret[str]) -> bool:
        try:
            return self._hasher.verify(stored.reveal(), password.reveal())
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T], member: str | None) -> T:
        await self._take_turn(member)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._measure, work)
        finally:
            self._pass_on()

    async def _take_turn(self, member: str | None) -> None:
        """Waits until a thread is free.

        Raises Unavailable at once if the wait would be too long.
        """
        self.require_room(member=member)
        if self._running < self._threads:
            self._running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        if member is None or not self._has_place(member):
            self._door.append(turn)
            await self._wait_for(turn)
            return
        self._members.append(turn)
        self._waiting[member] += 1
        try:
            await self._wait_for(turn)
        finally:
            self._waiting -= Counter([member])  # The subtraction removes zero counts.

    def _has_place(self, member: str | None) -> bool:
        """Returns whether the account has a free slot in the queue of logged-in users."""
        return member is not None and self._waiting[member] < MOST_WAITING

    async def _wait_for(self, turn: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(self._longest_wait):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise Busy(retry_after=ceil(self._longest_wait)) from None
            raise

    def _pass_on(self) -> None:
        """Gives the free thread to the next request that still waits."""
        for queue in (self._members, self._door):
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
        started, worked = time.perf_counter(), time.thread_time()
        try:
            return work()
        finally:
            self.hashes += 1
            self._took.append(time.thread_time() - worked)
            self.observe(time.perf_counter() - started)


def _dummy_hash(memory_kib: int, passes: int) -> str:
    """Returns random bytes in PHC string format.

    Verifying it costs the same as a real hash and never succeeds.
    """
    salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${digest}"


def _step_back() -> None:
    """Lowers the priority of this thread if the system can (on Linux, priorities belong to
    threads).
    """
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
