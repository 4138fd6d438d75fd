"""Settings of a program that serves: drain time and metrics token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from db.crypto.secret import Secret
from web.settings.environment import BadSetting, Environment

LONGEST_DRAIN: Final = 300  # seconds
SHORTEST_TOKEN: Final = 32  # characters


@dataclass(frozen=True, slots=True)
class Operation:
    """What only a program that serves is told: how it ends, and who besides this machine may read
    its numbers.
    """

    drain_seconds: int = 0
    metrics_token: Secret[str] | None = field(default=None, repr=False)
    notices: tuple[str, ...] = ()


def read_operation(environ: Mapping[str, str]) -> Operation:
    """DRAIN_SECONDS and METRICS_TOKEN from the environment. Raises BadSetting."""
    env = Environment(environ)
    token = env.secret("METRICS_TOKEN")
    if token and (len(token.reveal()) < SHORTEST_TOKEN or not token.reveal().isascii()):
        problem = (
            f"must be at least {SHORTEST_TOKEN} characters, all ASCII: make one "
            "with `latchkey secret`"
        )
        raise BadSetting("METRICS_TOKEN", problem)
    return Operation(env.number("DRAIN_SECONDS", 0, 0, LONGEST_DRAIN), token, tuple(env.notices))
