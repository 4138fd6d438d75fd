"""Contains the functions that read and write durations such as 30s, 15m, 12h and 7d."""

import re
from datetime import timedelta
from typing import Final

from web.settings.environment import Environment, InvalidSetting

UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}


def read_duration(
    env: Environment, name: str, default: str, minimum: str, maximum: str
) -> timedelta:
    """Returns the duration in a variable. Raises InvalidSetting."""
    text = env.text(name, default)
    duration = parse_duration(text)
    least, most = parse_duration(minimum), parse_duration(maximum)
    if duration is None or least is None or most is None or not least <= duration <= most:
        raise InvalidSetting(
            name, f"must be a duration from {minimum} to {maximum}, such as 12h, not {text[:40]!r}"
        )
    return duration


def parse_duration(text: str) -> timedelta | None:
    """Returns the duration of a whole number with a unit, or None for any other text."""
    found = re.fullmatch(r"([0-9]{1,9})([dhms])", text)
    return int(found[1]) * UNITS[found[2]] if found else None


def format_duration(duration: timedelta) -> str:
    """Returns the duration with the largest unit that leaves no rest."""
    unit = next(unit for unit, length in UNITS.items() if not duration % length)
    return f"{duration // UNITS[unit]}{unit}"
