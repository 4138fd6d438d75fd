"""Contains the formats of times and numbers in languages other than English, from CLDR data.

Babel is imported at the first use of such a language.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from db.messages import Message, parts_of, translate
from web.languages import Language
from web.rendering.formatting import FILTERS, duration, period, size

TODAY: Final = Message("today at {time}")
YESTERDAY_AT: Final = Message("yesterday at {time}")
OTHER_DAY: Final = Message("{day}, {time}")
JUST_NOW: Final = Message("just now")
YESTERDAY: Final = Message("yesterday")
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


def format_moment(moment: datetime, language: Language) -> str:
    """Returns the full date and time in UTC, such as `4. März 2026, 09:12 UTC`."""
    from babel.dates import format_date

    moment = moment.astimezone(UTC)
    day = format_date(moment, "long", language.code)
    time = f"{moment.hour:02}:{moment.minute:02} UTC"
    return OTHER_DAY.format(day=day, time=time).in_language_of(language)


def make_filters(language: Language) -> dict[str, Callable[..., Any]]:
    """Returns the filters for times and numbers in a language."""
    filters: Mapping[str, Callable[..., Any]] = (
        FILTERS if language.code == "en" else _make_local_filters(language)
    )
    return {
        **filters,
        "duration": lambda length: translate(duration(length), language),
        "period": lambda length: translate(period(length), language),
        "size": lambda count: translate(size(count), language),
        "tr": lambda text: translate(text, language),
        "parts": lambda text: parts_of(text, language),
    }


def _make_local_filters(language: Language) -> dict[str, Callable[..., Any]]:
    """Returns the filters whose results are as those of `web.rendering.formatting`.

    Times of day have 24 hours in every language.
    """
    from babel import Locale
    from babel.dates import format_date, format_skeleton, format_timedelta

    locale = Locale.parse(language.code)

    def when(moment: datetime, now: datetime) -> str:
        moment, now = moment.astimezone(UTC), now.astimezone(UTC)
        time = f"{moment.hour:02}:{moment.minute:02} UTC"
        if moment.date() == now.date():
            return TODAY.format(time=time).in_language_of(language)
        if moment.date() == now.date() - DAY:
            return YESTERDAY_AT.format(time=time).in_language_of(language)
        return OTHER_DAY.format(day=short_date(moment, now), time=time).in_language_of(language)

    def ago(moment: datetime, now: datetime) -> str:
        moment, now = moment.astimezone(UTC), now.astimezone(UTC)
        age = now - moment
        if age < MINUTE:
            return JUST_NOW.in_language_of(language)
        if age < 12 * HOUR or moment.date() == now.date():
            unit = HOUR if age >= HOUR else MINUTE
            return format_timedelta(
                -unit * (age // unit), threshold=1, add_direction=True, locale=locale
            )
        if moment.date() == now.date() - DAY:
            return YESTERDAY.in_language_of(language)
        return short_date(moment, now)

    def long_date(day: date) -> str:
        if isinstance(day, datetime):
            day = day.astimezone(UTC).date()
        return format_date(day, "long", locale)

    def short_date(moment: datetime, now: datetime) -> str:
        moment, now = moment.astimezone(UTC), now.astimezone(UTC)
        skeleton = "MMMd" if moment.year == now.year else "yMMMd"
        return format_skeleton(skeleton, moment, locale=locale)

    return {
        **FILTERS,
        "when": when,
        "ago": ago,
        "date": long_date,
        "day": short_date,
        "month": lambda day: format_date(day, "LLL", locale),
        "number": language.format_number,
    }
