"""Contains the calls of `after` hooks by the task that delivers their messages."""

from db.access.outbox import Message
from db.hooks import decode_event
from db.viewer import Mailer


async def call_hook(mailer: Mailer, message: Message) -> bool:
    """Calls the hook of a message, and returns False if the product has no hook of this name.

    Raises the exceptions of the hook.
    """
    event = decode_event(message.facts)
    hook = mailer.store.product.hooks.find_after(event.name, message.recipient)
    if hook is None:
        return False
    await hook(mailer.store, event)
    return True
