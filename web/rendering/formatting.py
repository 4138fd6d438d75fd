"""Contains the formats of times and numbers in English.

`web/rendering/local_formats.py` has those of the other languages. `logged-in.js` then formats the
times in the same way, but in the user's own time zone.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from db.messages import Message

LONG_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
MONTHS = [month[:3] for month in LONG_MONTHS]
# A flag, or a character with what joins it: marks, skin tones, tags and emoji after U+200D.
GRAPHEME: Final = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}"
    "|.(?:\u200d[\u2190-\U0001faff]|[\u0300-\u036f\u064b-\u065f\u0670\ufe0f\u20e3]"
    "|[\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f])*",
    re.DOTALL,
)
NON_JOINER: Final = "\u200c"
# Embeddings, overrides and isolates, and their ends (Unicode Standard Annex 9, section 2).
DIRECTION: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")


def iso(moment: datetime) -> str:
    """Returns a time in UTC with seconds (RFC 3339), for `<time datetime>`."""
    return moment.astimezone(UTC).isoformat()[:19] + "Z"


def when(moment: datetime, now: datetime) -> str:
    """Returns a date and a time of day.

    Examples: `today at 09:12 UTC`, `yesterday at 18:20 UTC`, `9 Nov, 18:40 UTC`, and in another
    year `9 Nov 2025, 18:40 UTC`.
    """
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    clock = f"{moment.hour:02}:{moment.minute:02} UTC"
    if moment.date() == now.date():
        return f"today at {clock}"
    if moment.date() == now.date() - timedelta(days=1):
        return f"yesterday at {clock}"
    return f"{_day(moment, now)}, {clock}"


def clock(moment: datetime) -> str:
    """Returns a time of day, such as `09:12 UTC`."""
    return f"{moment.astimezone(UTC):%H:%M} UTC"


def ago(moment: datetime, now: datetime) -> str:
    """Returns the time since: `just now`, `5 minutes ago`, `2 hours ago`, `yesterday`, `12 Nov`."""
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    minutes = int((now - moment).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} {plural(minutes, 'minute', 'minutes')} ago"
    if minutes < 12 * 60 or moment.date() == now.date():
        return f"{minutes // 60} {plural(minutes // 60, 'hour', 'hours')} ago"
    if moment.date() == now.date() - timedelta(days=1):
        return "yesterday"
    return _day(moment, now)


def long_date(day: date) -> str:
    """Returns a date such as `4 March 2026`."""
    if isinstance(day, datetime):
        day = day.astimezone(UTC).date()
    return f"{day.day} {LONG_MONTHS[day.month - 1]} {day.year}"


def short_date(moment: datetime, now: datetime) -> str:
    """Returns a day in UTC, such as `9 Nov`, or `9 Nov 2025` in another year."""
    return _day(moment.astimezone(UTC), now.astimezone(UTC))


def number(value: int) -> str:
    return f"{value:,}"


def plural(count: int, one: str, many: str) -> str:
    """Returns the word without the number: `{{ n|number }} {{ n|plural("device", "devices") }}`."""
    return one if count == 1 else many


def wait(seconds: int) -> Message:
    """Returns a duration, rounded up: `1 second`, `40 seconds`, `2 minutes` or `1 hour`."""
    if seconds < 60:
        return UNITS["second"](seconds)
    minutes, hours = -(-seconds // 60), -(-seconds // 3600)
    return UNITS["minute"](minutes) if minutes < 60 else UNITS["hour"](hours)


def duration(length: timedelta) -> Message:
    """Returns a duration in the largest unit that leaves no rest: `7 days` or `12 hours`."""
    units = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}
    seconds = int(length.total_seconds())
    unit = next(unit for unit, size in units.items() if not seconds % size)
    return UNITS[unit](seconds // units[unit])


def period(length: timedelta) -> Message:
    """Returns a duration to follow `another`: `week`, `day` or `12 hours`."""
    return PERIODS.get(length) or duration(length)


def size(count: int) -> Message:
    """Returns a number of bytes: `64 KB`, `1.5 MB` or `20,000 bytes`."""
    for message, divisor in ((MEGABYTES, 1024 * 1024), (KILOBYTES, 1024)):
        if count >= divisor and not count * 10 % divisor:
            return message.format(number=f"{count / divisor:g}")
    return Message.plural("{count} byte", "{count} bytes", count)


@lru_cache(1024)
def initials(name: str) -> str:
    """Returns the first letters of the first and the last word of a name, such as `AL`.

    A word without a letter, a digit or a symbol does not count. Letters of a cursive script, such
    as Arabic, are separated so that they do not join.
    """
    letters = [letter for letter in map(_first_letter, name.split()) if letter]
    if len(letters) < 2:
        return "".join(letters)
    is_cursive = unicodedata.bidirectional(letters[0][0]) == "AL"
    return f"{letters[0]}{NON_JOINER if is_cursive else ''}{letters[-1]}"


def isolate(text: str) -> str:
    """Returns a user's text for an attribute, which has no `<bdi>`: between FSI and PDI.

    It then cannot reorder the rest of the sentence, and logged-in.js recognizes it in a question.
    """
    return f"\u2068{DIRECTION.sub('', text)}\u2069"


def _first_letter(word: str) -> str:
    """Returns the first letter, digit or symbol with its marks, as a capital letter if it has one.

    Returns an empty string for a word of punctuation and invisible characters.
    """
    for start, character in enumerate(word):
        if unicodedata.category(character)[0] in "LNS":
            grapheme = GRAPHEME.match(word, start)
            return grapheme[0].title() if grapheme else ""
    return ""


def _day(moment: datetime, now: datetime) -> str:
    year = "" if moment.year == now.year else f" {moment.year}"
    return f"{moment.day} {MONTHS[moment.month - 1]}{year}"


MEGABYTES: Final = Message("{number} MB")
KILOBYTES: Final = Message("{number} KB")
PERIODS: Final = {
    timedelta(days=7): Message("week"),
    timedelta(days=1): Message("day"),
    timedelta(hours=1): Message("hour"),
    timedelta(minutes=1): Message("minute"),
}
UNITS: Final = {
    "second": lambda count: Message.plural("{count} second", "{count} seconds", count),
    "minute": lambda count: Message.plural("{count} minute", "{count} minutes", count),
    "hour": lambda count: Message.plural("{count} hour", "{count} hours", count),
    "day": lambda count: Message.plural("{count} day", "{count} days", count),
}
# The filters that format without a catalog.
FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "iso": iso,
    "when": when,
    "clock": clock,
    "ago": ago,
    "date": long_date,
    "day": short_date,
    "initials": initials,
    "isolate": isolate,
    "number": number,
    "plural": plural,
}
