"""The memory of one process about rate limits: the mode, and the refusals of the last second."""

from typing import Final, Literal

Mode = Literal["enforce", "observe", "off"]

SHORTLY: Final = 1.0  # seconds for which a refusal is repeated without a query
# The refusals per second that are answered at once. Further ones are delayed, so that the clients
# repeat their requests less often.
FLOOD: Final = 20
MOST_RESTING: Final = 10_000  # refusals remembered at the same time
MOST_SEEN: Final = 10_000  # marks, at about 150 bytes each


class Throttle:
    """The mode of the rate limits and the recent refusals.

    `enforce` refuses, `observe` only records, and `off` does neither. The memory saves the database
    work during a flood. Other processes do not need it, because it only repeats an answer of the
    database.
    """

    def __init__(self, mode: Mode = "enforce") -> None:
        self.mode = mode
        # By key: until when the refusal is remembered, and when the next token is available.
        self._opens: dict[str, tuple[float, float]] = {}
        self._uncounted: dict[str, int] = {}
        self._seen: dict[str, float] = {}  # by key: the time when the mark expires

    def opens_at(self, key: str, now: float) -> float | None:
        """Returns when the next token of a bucket is available if the bucket was found empty in the
        last second, else None.

        Counts the repeated request. After that second, one caller gets None and queries the
        database; the others still get the remembered time.
        """
        until, opens = self._opens.get(key, (0.0, 0.0))
        if now >= opens or until > now + SHORTLY:
            return None
        if now >= until:
            self._opens[key] = (now + SHORTLY, opens)
            return None
        self._uncounted[key] = self._uncounted.get(key, 0) + 1
        return opens

    def is_flooded(self, key: str) -> bool:
        """Returns whether the requests for this bucket within the second are so many that answering
        their refusals at once would slow down all other requests.
        """
        return self._uncounted.get(key, 0) > FLOOD

    def remember(self, key: str, now: float, opens: float) -> None:
        """Remembers that the database has just reported the bucket empty, for one second.

        At MAX_REMEMBERED_REFUSALS entries the oldest one is dropped.
        """
        if len(self._opens) >= MOST_RESTING:
            oldest = next(iter(self._opens))
            self._opens.pop(oldest)
            self._uncounted.pop(oldest, None)
        self._opens[key] = (min(opens, now + SHORTLY), opens)

    def is_seen(self, key: str, now: float) -> bool:
        """Returns whether the database reported the mark to this process, and the mark has not
        expired.
        """
        return self._seen.get(key, 0.0) > now

    def remember_seen(self, key: str, until: float) -> None:
        """Remembers a mark until its bucket is full again, so that no query is necessary until
        then.
        """
        if len(self._seen) >= MOST_SEEN:
            self._seen.pop(next(iter(self._seen)))
        self._seen[key] = until

    def forget(self, key: str) -> None:
        """Forgets the bucket, and every bucket whose key begins with this one."""
        for each in [each for each in self._opens if each.startswith(key)]:
            self._opens.pop(each)
            self._uncounted.pop(each, None)

    def counted(self, key: str) -> int:
        """Returns the number of refusals that the database does not count yet, and resets it to
        0.
        """
        return self._uncounted.pop(key, 0)
