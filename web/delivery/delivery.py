"""Contains the loop that delivers the messages of one channel."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from db.access import outbox
from db.access.outbox import Message
from db.errors import Unavailable
from db.viewer import Mailer
from web.delivery.channel import Attempt, Channel

logger = logging.getLogger("latchkey")

MARK_ATTEMPTS: Final = 5  # A sent message that cannot be marked as sent is sent again.
MARK_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class DeliveryTimes:
    """The times of the delivery in seconds.

    `poll` is the time between two queries of the outbox without a signal. After a signal, the
    loops query several times for about `look`, at first after `look_pause`, because the signal
    precedes the commit. While the other side is down, the loop waits `first_backoff`, doubled
    each time, up to `longest_backoff`. `log_again` is the time between two log entries about that.
    A message that is being delivered at the stop has `grace` to finish.
    """

    poll: float = 5.0
    look: float = 2.0
    look_pause: float = 0.02
    first_backoff: float = 5.0
    longest_backoff: float = 60.0
    log_again: float = 600.0
    grace: float = 8.0


@dataclass(slots=True)
class Delivery:
    """Delivers the messages of one channel in a task, until it is stopped.

    `wait` returns True as soon as a message was posted, and False after the given seconds.
    `observe` receives the type, the outcome and the seconds of each attempt. `resolve` does other
    work in a second task, and returns whether there was any.
    """

    mailer: Mailer
    channel: Channel
    wait: Callable[[float], Awaitable[bool]]
    observe: Callable[[str, str, float], None]
    times: DeliveryTimes = field(default_factory=DeliveryTimes)
    resolve: Callable[[Mailer], Awaitable[bool]] | None = None
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] | None = None  # by default, ends at the stop
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _backoff: float = 0.0
    _down_logged_at: float = float("-inf")
    _unavailable: bool = False

    def start(self) -> None:
        work = [self.send_next] if self.resolve is None else [self._resolve_next, self.send_next]
        self._tasks = [asyncio.create_task(self._run(do_one)) for do_one in work]

    async def stop(self) -> None:
        """Claims no further message, and gives the one that is under way `grace` seconds."""
        self._stop.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.times.grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.channel.close()

    async def _run(self, do_one: Callable[[], Awaitable[bool]]) -> None:
        """Calls `do_one` until it finds nothing to do, then waits for the next message."""
        pause = self.times.look
        while not self._stop.is_set():
            if await self._try(do_one):
                continue
            if pause < self.times.look:
                await self._sleep(pause)
                pause *= 2
            elif await self._wait_for_message():
                pause = self.times.look_pause

    async def _try(self, do_one: Callable[[], Awaitable[bool]]) -> bool:
        """Returns whether something was done. An error is logged, and the loop goes on."""
        try:
            is_done = await do_one()
        except Unavailable:
            if not self._unavailable:
                logger.warning(
                    "the database does not answer: the delivery of %s is postponed",
                    self.channel.subject,
                )
            self._unavailable = True
            return False
        except Exception:
            logger.exception(
                "the delivery of %s failed, and will be tried again", self.channel.subject
            )
            await self._sleep(self.times.longest_backoff)
            return False
        self._unavailable = False
        return is_done

    async def _resolve_next(self) -> bool:
        return self.resolve is not None and await self.resolve(self.mailer)

    async def send_next(self) -> bool:
        """Delivers the next due message, and returns whether there was one."""
        message = await outbox.claim(
            self.mailer, self.channel.types, on_expired=self._count_expired
        )
        if message is None:
            await self.channel.close_if_idle()
            return False
        started = self.now()
        attempt = await self.channel.deliver(message)
        if attempt.outcome != "down":  # The other side is down, which is not about one message.
            self.observe(message.message_type, attempt.outcome, self.now() - started)
        await self._record(message, attempt)
        return True

    async def _record(self, message: Message, attempt: Attempt) -> None:
        """Writes the outcome into the outbox, and waits if the other side is down."""
        if attempt.outcome == "down":
            self._backoff = min(
                max(self._backoff * 2, self.times.first_backoff), self.times.longest_backoff
            )
            self._log_down(attempt.error)
            await outbox.release(self.mailer, message, self._backoff)
            await self._sleep(self._backoff)
            return
        self._log_up()
        if attempt.outcome == "sent":
            await self._mark_sent(message)
        elif attempt.outcome == "later":
            await outbox.retry_later(
                self.mailer, message, attempt.error, retry_after=attempt.retry_after
            )
        else:
            await outbox.mark_dead(self.mailer, message, attempt.error)

    async def _mark_sent(self, message: Message) -> None:
        """Tries several times, because a message that is not marked is sent again."""
        for is_last in (*[False] * (MARK_ATTEMPTS - 1), True):
            try:
                await outbox.mark_sent(self.mailer, message)
                return
            except Unavailable:
                if is_last:
                    raise
                await asyncio.sleep(MARK_PAUSE_SECONDS)

    def _log_down(self, error: str) -> None:
        """Logs that the other side is down, at first and then every `log_again` seconds."""
        if self.now() - self._down_logged_at >= self.times.log_again:
            logger.error(
                "%s cannot be sent, and will be tried again: %s", self.channel.subject, error
            )
            self._down_logged_at = self.now()

    def _log_up(self) -> None:
        if self._backoff:
            logger.warning("%s can be sent again", self.channel.subject)
        self._backoff, self._down_logged_at = 0.0, float("-inf")

    def _count_expired(self, message: Message) -> None:
        self.observe(message.message_type, "expired", 0.0)

    async def _wait_for_message(self) -> bool:
        """Returns True after a signal, and False after `poll` seconds or at the stop."""
        signal = asyncio.ensure_future(self.wait(self.times.poll))
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            done, _ = await asyncio.wait({signal, stop}, return_when=asyncio.FIRST_COMPLETED)
            return signal in done and signal.result()
        finally:
            for task in (signal, stop):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _sleep(self, seconds: float) -> None:
        """Waits, and ends at the stop."""
        if self.sleep is not None:
            await self.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
