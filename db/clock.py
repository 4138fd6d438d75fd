"""The clock of the house, which never goes back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def never_back(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    """The same clock.

    Where it falls back, it goes on from the latest moment that it has told, until it is there
    again.

    What has expired stays so: a session that was over would live again. And it does go on, lest
    whoever has to wait for five minutes waits for as long as the clock fell. If it was far ahead,
    restart the program once it is right.
    """
    latest, ahead = datetime.min.replace(tzinfo=UTC), timedelta()

    def now() -> datetime:
        nonlocal latest, ahead
        told = clock()
        ahead = timedelta() if told >= latest else max(ahead, latest - told)
        latest = told + ahead
        return latest

    return now
