"""Contains what every way to send a mail has in common, and the development mailbox's way."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from email.message import EmailMessage

Outcome = Literal["sent", "later", "dead", "down"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of an attempt to send one mail, and the server's words if it failed.

    `later` and `dead` concern this mail, temporarily and for good. `down` concerns every mail: the
    server cannot be reached or does not accept mail from this program.
    """

    outcome: Outcome
    error: str = ""


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
