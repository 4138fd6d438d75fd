"""Hooks: functions of a product that run when an audited event happens.

A hook is `async def f(store, event)`, where `event` is a HookEvent.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

HookTime = Literal["on", "after"]
Hook = Callable[..., Awaitable[None]]
F = TypeVar("F", bound=Hook)
MARK: Final = "latchkey_hooks"  # the attribute of a function that a decorator below has marked


@dataclass(frozen=True, slots=True)
class HookEvent:
    """An audited event that was not refused.

    `id` identifies the event in each attempt of an `after` hook or a webhook. `actor_type` is
    `user`, `anonymous`, `operator` or `system`; `actor_id` is the acting user and `target_id` the
    account that the event concerns.
    """

    id: str
    name: str
    at: datetime
    actor_type: str
    actor_id: str | None
    target_id: str | None
    session_id: str
    ip_address: str
    browser: str
    detail: Mapping[str, str | int]

    def encode(self) -> str:
        """Returns the event as JSON."""
        return json.dumps(asdict(self) | {"at": self.at.isoformat()})


def decode_event(values: Mapping[str, Any]) -> HookEvent:
    """Returns the event from the JSON object that `HookEvent.encode` made."""
    return HookEvent(**{**values, "at": datetime.fromisoformat(values["at"])})


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of a product, by the name of the event.

    Those of `on` run inside the transaction of the change, those of `after` once it is committed.
    """

    on: Mapping[str, tuple[Hook, ...]] = field(default_factory=dict)
    after: Mapping[str, tuple[Hook, ...]] = field(default_factory=dict)

    @property
    def events(self) -> frozenset[str]:
        """Returns the names of all events that have a hook."""
        return frozenset((*self.on, *self.after))

    def find_after(self, event: str, name: str) -> Hook | None:
        """Returns the `after` hook of the event with this name, or None."""
        found = (hook for hook in self.after.get(event, ()) if hook_name(hook) == name)
        return next(found, None)


def hook_name(hook: Hook) -> str:
    """Returns the qualified name of a hook, such as `product.hooks.send_welcome`."""
    return f"{hook.__module__}.{hook.__qualname__}"


def on(event: str) -> Callable[[F], F]:
    """Marks a function that runs inside the transaction of each change with this event.

    It may raise `db.errors.Refused`, which rolls the change back.
    """
    return _marker("on", event)


def after(event: str) -> Callable[[F], F]:
    """Marks a function that runs after the commit of each change with this event.

    It runs again if it fails, or if the process ends while it runs.
    """
    return _marker("after", event)


def collect_hooks(namespace: Mapping[str, Any]) -> Hooks:
    """Returns the marked functions of a module's namespace, in the order of their definition."""
    found: dict[HookTime, dict[str, tuple[Hook, ...]]] = {"on": {}, "after": {}}
    for value in namespace.values():
        for time, event in getattr(value, MARK, ()):
            found[time][event] = (*found[time].get(event, ()), value)
    return Hooks(found["on"], found["after"])


def _marker(time: HookTime, event: str) -> Callable[[F], F]:
    def mark(function: F) -> F:
        setattr(function, MARK, (*getattr(function, MARK, ()), (time, event)))
        return function

    return mark
