"""The state of the outbox in one process: whether mails are sent, and the signal of a new one."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class OutboxState:
    """`is_enabled` says whether mails are sent at all; without, no message is written.

    `requires_verification`: nobody logs in with an unconfirmed email.
    `keeps_content`: sent messages stay readable for a day, in the development mailbox.
    """

    is_enabled: bool = False
    requires_verification: bool = False
    keeps_content: bool = False
    _posted: asyncio.Event = field(default_factory=asyncio.Event)

    def notify(self) -> None:
        """Wakes the task that sends mails. The message is committed a moment later."""
        self._posted.set()

    async def wait(self, seconds: float) -> bool:
        """Returns True as soon as a message was written, and False after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._posted.wait()
            self._posted.clear()
            return True
        return False
