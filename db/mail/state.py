"""Contains the state of the outbox in one process, with the signal of a new message."""

import asyncio
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class OutboxState:
    """`is_enabled` says whether mails are sent. If it is False, no mail is written.

    `requires_verification` says whether users must confirm their email before they can log in.
    `keeps_content` says whether sent messages stay readable for a day in the development mailbox.
    `webhook_events` are the events that are sent to the webhook; `*` stands for all.
    """

    is_enabled: bool = False
    requires_verification: bool = False
    keeps_content: bool = False
    webhook_events: Container[str] = ()
    _posted: asyncio.Event = field(default_factory=asyncio.Event)

    def sends_webhook(self, event: str) -> bool:
        return event in self.webhook_events or "*" in self.webhook_events

    def notify(self) -> None:
        """Wakes the tasks that send messages. The message is committed a moment later."""
        self._posted.set()

    async def wait(self, seconds: float) -> bool:
        """Returns True as soon as a message was written, and False after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._posted.wait()
            self._posted.clear()
            return True
        return False
