"""Contains what every way to send a mail has in common, and the development mailbox's way."""

from typing import TYPE_CHECKING, Protocol

from web.delivery.channel import Attempt

if TYPE_CHECKING:
    from email.message import EmailMessage


class Transport(Protocol):
    """Sends mails. `close` is called when no more mails follow."""

    async def send(self, mail: "EmailMessage", recipient: str) -> Attempt: ...

    async def close_if_idle(self) -> None: ...

    async def close(self) -> None: ...


class MailboxTransport:
    """Sends nothing. The outbox keeps the message, and the development mailbox displays it."""

    async def send(self, mail: "EmailMessage", recipient: str) -> Attempt:
        return Attempt("sent")

    async def close_if_idle(self) -> None: ...

    async def close(self) -> None: ...
