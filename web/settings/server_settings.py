"""Contains the settings that only the server process reads: drain time and metrics token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from db.crypto.secret import Secret
from web.settings.environment import Environment, InvalidSetting

MAX_DRAIN_SECONDS: Final = 300
MIN_TOKEN_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of the server process.

    With `metrics_token`, clients on other machines may read the metrics too.
    """

    drain_seconds: int = 0
    metrics_token: Secret[str] | None = field(default=None, repr=False)
    notices: tuple[str, ...] = ()


def read_server_settings(environ: Mapping[str, str]) -> ServerSettings:
    """Reads DRAIN_SECONDS and METRICS_TOKEN from the environment. Raises InvalidSetting."""
    env = Environment(environ)
    token = env.secret("METRICS_TOKEN")
    if token and (len(token.reveal()) < MIN_TOKEN_CHARS or not token.reveal().isascii()):
        problem = (
            f"must be at least {MIN_TOKEN_CHARS} characters, all ASCII: make one "
            "with `latchkey secret`"
        )
        raise InvalidSetting("METRICS_TOKEN", problem)
    return ServerSettings(
        env.number("DRAIN_SECONDS", 0, 0, MAX_DRAIN_SECONDS), token, tuple(env.notices)
    )
