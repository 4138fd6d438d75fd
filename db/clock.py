"""The monotonic wrapper around the wall clock."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def monotonic_clock(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    """Returns a clock that never goes back.

    When `clock` is set back, the returned clock continues from its latest value, and keeps that
    offset until `clock` has caught up. Without the offset, an expired session would become valid
    again. A clock that only stopped would prolong every wait by the same time. If
    `clock` was far ahead, restart the program after the correction.
    """
    latest = datetime.min.replace(tzinfo=UTC)
    ahead = timedelta()

    def now() -> datetime:
        nonlocal latest, ahead
        reading = clock()
        ahead = timedelta() if reading >= latest else max(ahead, latest - reading)
        latest = reading + ahead
        return latest

    return now
