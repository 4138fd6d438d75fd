"""Contains the command `latchkey limits`."""

from collections.abc import Iterator, Mapping

from db.rate_limits.descriptions import DESCRIPTIONS
from db.rate_limits.limits import ALL_LIMITS
from web.settings.environment import Environment
from web.settings.limit_settings import read_changed_limits, value_of, variable_of


def list_limits(environ: Mapping[str, str]) -> Iterator[str]:
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
