"""Hooks: functions of a product that run when an audited event happens."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

HookTime = Literal["on", "after"]
Hook = Callable[..., Awaitable[None]]
F = TypeVar("F", bound=Hook)
MARK: Final = "latchkey_hooks"  # the attribute of a function that a decorator below has marked


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of a product, by the name of the event.

    Those of `on` run inside the transaction of the change, those of `after` once it is committed.
    """

    on: Mapping[str, tuple[Hook, ...]] = field(default_factory=dict)
    after: Mapping[str, tuple[Hook, ...]] = field(default_factory=dict)


def on(event: str) -> Callable[[F], F]:
    """Marks a function that runs inside the transaction of each change with this event."""
    return _marker("on", event)


def after(event: str) -> Callable[[F], F]:
    """Marks a function that runs after the commit of each change with this event."""
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
