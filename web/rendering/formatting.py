"""Times and numbers in words, as the templates say them; `app.js` says the same in the reader's own
time zone.
"""

from datetime import UTC, date, datetime, timedelta

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


def iso(moment: datetime) -> str:
    """RFC 3339, in UTC, to the second: for `<time datetime>`."""
    return moment.astimezone(UTC).isoformat()[:19] + "Z"


def when(moment: datetime, now: datetime) -> str:
    """A moment: `today at 09:12 UTC`, `yesterday at 18:20 UTC`, `9 Nov, 18:40 UTC`, `9 Nov 2025,
    18:40 UTC`.
    """
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    clock = f"{moment.hour:02}:{moment.minute:02} UTC"
    if moment.date() == now.date():
        return f"today at {clock}"
    if moment.date() == now.date() - timedelta(days=1):
        return f"yesterday at {clock}"
    return f"{_day(moment, now)}, {clock}"


def ago(moment: datetime, now: datetime) -> str:
    """How long since: `just now`, `5 minutes ago`, `2 hours ago`, `yesterday`, `12 Nov`."""
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
    """`4 March 2026`."""
    if isinstance(day, datetime):
        day = day.astimezone(UTC).date()
    return f"{day.day} {LONG_MONTHS[day.month - 1]} {day.year}"


def short_date(moment: datetime, now: datetime) -> str:
    """A day in UTC: `9 Nov`, or `9 Nov 2025` in another year."""
    return _day(moment.astimezone(UTC), now.astimezone(UTC))


def number(value: int) -> str:
    return f"{value:,}"


def plural(count: int, one: str, many: str) -> str:
    """The word alone: `{{ n|number }} {{ n|plural("device", "devices") }}`."""
    return one if count == 1 else many


def wait(seconds: int) -> str:
    """How long to wait, rounded up: `1 second`, `40 seconds`, `2 minutes`, `1 hour`."""
    if seconds < 60:
        return f"{seconds} {plural(seconds, 'second', 'seconds')}"
    minutes, hours = -(-seconds // 60), -(-seconds // 3600)
    if minutes < 60:
        return f"{minutes} {plural(minutes, 'minute', 'minutes')}"
    return f"{hours} {plural(hours, 'hour', 'hours')}"


def _day(moment: datetime, now: datetime) -> str:
    year = "" if moment.year == now.year else f" {moment.year}"
    return f"{moment.day} {MONTHS[moment.month - 1]}{year}"


FILTERS = {
    "iso": iso,
    "when": when,
    "ago": ago,
    "date": long_date,
    "day": short_date,
    "number": number,
    "plural": plural,
}
