"""Contains the channel of `after` hooks, which calls functions of the product."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from db.access import hooks
from db.access.outbox import Message
from db.mail.outbox import EventType
from db.viewer import Mailer
from web.delivery.channel import Attempt
from web.observability.logs import describe_error

logger = logging.getLogger("latchkey")

HOOK_SECONDS: Final = 120.0  # A claim of the outbox lasts more than twice as long.


@dataclass(frozen=True, slots=True)
class HookChannel:
    """Calls hooks, one at a time, each for at most `seconds`."""

    mailer: Mailer
    seconds: float = HOOK_SECONDS
    subject: str = "hooks"
    types: tuple[EventType, ...] = ("hook",)

    async def deliver(self, message: Message) -> Attempt:
        try:
            async with asyncio.timeout(self.seconds):
                is_found = await hooks.call_hook(self.mailer, message)
        except TimeoutError:
            logger.error("the hook %s did not end in time", message.recipient)
            return Attempt("later", f"did not end within {self.seconds:g} seconds")
        except Exception as error:
            logger.exception("the hook %s failed, and will be called again", message.recipient)
            return Attempt("later", describe_error(error))
        # In an upgrade, only the processes of the new version may have the hook.
        return Attempt("sent") if is_found else Attempt("later", "there is no hook of this name")

    async def close_if_idle(self) -> None: ...

    async def close(self) -> None: ...
