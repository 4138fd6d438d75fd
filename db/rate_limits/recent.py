"""The state of the rate limits in one process: the mode, the limits that a setting has changed, and
the refusals of the last second.
"""

from collections.abc import Iterable
from typing import Final, Literal

from db.rate_limits.limits import RateLimit

Mode = Literal["enforce", "observe", "off"]

REPEAT_SECONDS: Final = 1.0  # A refusal is repeated without a query for this time.
# The refusals per second that are answered at once. Further ones are delayed, so that the clients
# repeat their requests less often.
MAX_IMMEDIATE_REFUSALS: Final = 20
MAX_CACHED_REFUSALS: Final = 10_000  # This limits the memory of the refusals.
MAX_CACHED_MARKS: Final = 10_000  # A mark takes about 150 bytes.


class LimiterState:
    """The mode of the rate limits, the changed limits, and the recent refusals.

    `enforce` refuses, `observe` only records, and `off` does neither. The cache saves the database
    work during a flood. Other processes do not need it, because it only repeats an answer of the
    database.
    """

    def __init__(self, mode: Mode = "enforce", changed: Iterable[RateLimit] = ()) -> None:
        self.mode = mode
        self._changed = {limit.name: limit for limit in changed}
        # By key: the end of the cached refusal, and the time of the next token.
        self._refusals: dict[str, tuple[float, float]] = {}
        self._uncounted: dict[str, int] = {}
        self._seen: dict[str, float] = {}  # By key: the time when the mark expires.

    def effective(self, limit: RateLimit) -> RateLimit:
        """Returns the limit as the settings have it, scaled by the same factor."""
        changed = self._changed.get(limit.name)
        return limit if changed is None else changed.scaled(limit.factor)

    def next_token_at(self, key: str, now: float) -> float | None:
        """Returns when the next token of a bucket is available if the bucket was found empty in the
        last second, else None.

        Counts the repeated request. After that second, one caller gets None and queries the
        database; the others still get the cached time.
        """
        until, next_token_at = self._refusals.get(key, (0.0, 0.0))
        if now >= next_token_at or until > now + REPEAT_SECONDS:
            return None
        if now >= until:
            self._refusals[key] = (now + REPEAT_SECONDS, next_token_at)
            return None
        self._uncounted[key] = self._uncounted.get(key, 0) + 1
        return next_token_at

    def is_flooded(self, key: str) -> bool:
        """Returns whether the requests for this bucket within the second are so many that answering
        their refusals at once would slow down all other requests.
        """
        return self._uncounted.get(key, 0) > MAX_IMMEDIATE_REFUSALS

    def cache_refusal(self, key: str, now: float, next_token_at: float) -> None:
        """Caches for one second that the database reported the bucket as empty.

        At MAX_CACHED_REFUSALS entries the oldest one is dropped.
        """
        if len(self._refusals) >= MAX_CACHED_REFUSALS:
            oldest = next(iter(self._refusals))
            self._refusals.pop(oldest)
            self._uncounted.pop(oldest, None)
        self._refusals[key] = (min(next_token_at, now + REPEAT_SECONDS), next_token_at)

    def is_seen(self, key: str, now: float) -> bool:
        """Returns whether the database reported the mark to this process, and the mark has not
        expired.
        """
        return self._seen.get(key, 0.0) > now

    def cache_mark(self, key: str, until: float) -> None:
        """Caches a mark until its bucket is full again, so that no query is necessary until
        then.
        """
        if len(self._seen) >= MAX_CACHED_MARKS:
            self._seen.pop(next(iter(self._seen)))
        self._seen[key] = until

    def remove(self, key: str) -> None:
        """Removes the bucket, and every bucket whose key begins with this one."""
        for each in [each for each in self._refusals if each.startswith(key)]:
            self._refusals.pop(each)
            self._uncounted.pop(each, None)

    def pop_uncounted(self, key: str) -> int:
        """Returns the number of refusals that the database does not count yet, and resets it to
        0.
        """
        return self._uncounted.pop(key, 0)
