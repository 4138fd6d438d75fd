"""Runs the hooks of a product inside the transaction of the change, and writes a message into the
outbox for each `after` hook and for the webhook.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from db.errors import Unavailable
from db.hooks import HookEvent, hook_name
from db.mail.outbox import post_event
from db.store import Store

logger = logging.getLogger("latchkey")

# Less than a request may take. It also limits the hooks of background tasks and commands.
HOOKS_SECONDS: Final = 5.0


def has_listeners(store: Store, event: str) -> bool:
    """Returns whether the event has a hook or is sent to the webhook."""
    hooks = store.product.hooks
    return event in hooks.on or event in hooks.after or store.outbox.sends_webhook(event)


async def run_hooks(store: Store, event: HookEvent, *, seconds: float = HOOKS_SECONDS) -> None:
    """Calls the `on` hooks of the event in their order, then posts its messages.

    Must run inside the transaction of the change. Raises Refused and any other exception of a hook,
    and Unavailable if the hooks take longer than `seconds`.
    """
    hooks = store.product.hooks
    try:
        async with asyncio.timeout(seconds) as limit:
            for hook in hooks.on.get(event.name, ()):
                await hook(store, event)
    except TimeoutError:
        if not limit.expired():
            raise
        logger.error("the hooks of the event %s did not end in time", event.name)
        raise Unavailable from None
    for hook in hooks.after.get(event.name, ()):
        await post_event(store, "hook", hook_name(hook), event.encode())
    if store.outbox.sends_webhook(event.name):
        # The receiver is another service, which needs no personal data.
        await post_event(
            store,
            "webhook",
            event.name,
            replace(event, session_id="", ip_address="", browser="").encode(),
        )
