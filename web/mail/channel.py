"""Contains the channel of mails: renders a message and sends it by a transport."""

import logging
from dataclasses import dataclass

from db.access.outbox import Message
from db.mail.outbox import MAIL_TYPES, MessageType
from web.delivery.channel import Attempt
from web.mail.rendering import MailRenderer
from web.mail.transport import Transport

logger = logging.getLogger("latchkey")


@dataclass(frozen=True, slots=True)
class MailChannel:
    """Sends mails."""

    transport: Transport
    renderer: MailRenderer
    subject: str = "mail"
    types: tuple[MessageType, ...] = MAIL_TYPES

    async def deliver(self, message: Message) -> Attempt:
        try:
            mail = self.renderer.build(message)
        except ValueError as error:  # UnicodeError is a ValueError.
            logger.error("a mail of the type %s cannot be built: %s", message.message_type, error)
            return Attempt("dead", f"cannot be built: {error}")
        return await self.transport.send(mail, message.recipient)

    async def close_if_idle(self) -> None:
        await self.transport.close_if_idle()

    async def close(self) -> None:
        await self.transport.close()
