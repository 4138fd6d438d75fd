"""Contains the functions that read the rate limits: a variable LIMIT_… for each of them."""

from dataclasses import replace
from datetime import timedelta
from difflib import get_close_matches
from typing import Final

from db.rate_limits.limits import ALL_LIMITS, RateLimit
from web.settings.durations import format_duration, parse_duration
from web.settings.environment import Environment, InvalidSetting

PREFIX: Final = "LIMIT_"
MAX_SECONDS: Final = 30 * 86_400.0


def read_changed_limits(env: Environment) -> tuple[RateLimit, ...]:
    """Returns the limits that a variable changes. Raises InvalidSetting.

    An unknown variable is refused: with a typing error, the limit would stay as it is unnoticed.
    """
    limits = {variable_of(limit): limit for limit in ALL_LIMITS}
    changed = []
    for name in env.names(PREFIX):
        if name not in limits:
            raise InvalidSetting(name, f"is not a rate limit{_suggestion(name, list(limits))}")
        limit = _read_limit(name, env.text(name, ""), limits[name])
        if limit != limits[name]:
            changed.append(limit)
    return tuple(changed)


def variable_of(limit: RateLimit) -> str:
    """Returns the name of the variable that sets the limit."""
    return PREFIX + limit.name.upper().replace("-", "_")


def value_of(limit: RateLimit) -> str:
    """Returns the limit as its variable has it, such as `20/1h`."""
    return f"{limit.burst}/{format_duration(timedelta(seconds=limit.seconds))}"


def _read_limit(name: str, text: str, default: RateLimit) -> RateLimit:
    """Returns the limit of COUNT or COUNT/PERIOD. Raises InvalidSetting.

    A limit with back-off keeps its back-off, so its bucket must fit into it.
    """
    count, slash, period = text.partition("/")
    seconds = default.seconds
    if slash:
        duration = parse_duration(period)
        seconds = duration.total_seconds() if duration else 0.0
    longest = default.retention_seconds if default.backoff_after else MAX_SECONDS
    most = default.max_burst()
    if (
        not (count.isascii() and count.isdecimal() and 1 <= len(count) <= 7)
        or not 1 <= int(count) <= most
        or not 1 <= seconds <= longest
    ):
        period = format_duration(timedelta(seconds=longest))
        raise InvalidSetting(
            name,
            f"must be COUNT or COUNT/PERIOD with a count from 1 to {most} and a period up to "
            f"{period}, such as {value_of(default)}, not {text[:40]!r}",
        )
    return replace(default, burst=int(count), seconds=seconds)


def _suggestion(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f": did you mean {close[0]}?" if close else ": `latchkey limits` prints their names"
