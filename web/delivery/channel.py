"""Contains what every way to deliver a message has in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from db.access.outbox import AnyType, Message

Outcome = Literal["sent", "later", "dead", "down"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of an attempt to deliver one message, and the words of the other side if it
    failed.

    `later` and `dead` concern this message, temporarily and for good. `down` concerns every message
    of the channel: the other side cannot be reached or accepts nothing from this program.
    `retry_after` is the least number of seconds until the next attempt.
    """

    outcome: Outcome
    error: str = ""
    retry_after: float = 0.0


class Channel(Protocol):
    """Delivers messages of some types.

    `subject` names them in the log. `close_if_idle` is called when no message is due, and `close`
    when none follows.
    """

    @property
    def subject(self) -> str: ...

    @property
    def types(self) -> Sequence[AnyType]: ...

    async def deliver(self, message: Message) -> Attempt: ...

    async def close_if_idle(self) -> None: ...

    async def close(self) -> None: ...
