"""Contains the commands `latchkey secret` and `latchkey limits`."""

import argparse
import secrets
from collections.abc import Iterator, Mapping
from typing import Final

from db.rate_limits.descriptions import DESCRIPTIONS
from db.rate_limits.limits import ALL_LIMITS
from web.cli.commands import Argument, Command
from web.settings.environment import Environment
from web.settings.limit_settings import read_changed_limits, value_of, variable_of
from web.settings.webhook_settings import make_webhook_secret


def run_secret(options: argparse.Namespace) -> None:
    print(make_webhook_secret() if options.webhook else secrets.token_urlsafe(32))


def run_limits(options: argparse.Namespace) -> None:
    for line in _list_limits(options.environ):
        print(line)


def _list_limits(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each rate limit. One that a variable changes begins with an asterisk."""
    changed = {limit.name: limit for limit in read_changed_limits(Environment(environ))}
    for limit in ALL_LIMITS:
        present = changed.get(limit.name, limit)
        mark = "*" if limit.name in changed else " "
        setting = f"{variable_of(limit)}={value_of(present)}"
        yield (
            f"{mark} {limit.name:<20}  {setting:<36}  default {value_of(limit):<8}  "
            f"{DESCRIPTIONS[limit.name]}"
        )


COMMANDS: Final = (
    Command(
        "secret",
        "print a new SESSION_SECRET",
        run_secret,
        (Argument("--webhook", action="store_true", help="print a WEBHOOK_SECRET instead"),),
    ),
    Command(
        "limits", "print every rate limit: its variable, its value and the default", run_limits
    ),
)
