"""Contains the state of the outbox in one process, with the signal of a new message."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class OutboxState:
    """`is_enabled` says whether mails are sent. If it is False, no message is written.

    `requires_verification` says whether users must confirm their email before they can log in.
    `keeps_content` says whether sent messages stay readable for a day in the development mailbox.
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
