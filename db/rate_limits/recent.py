"""What a process keeps in mind of the limits: whether they count here, and who was refused a moment
ago.
"""

from typing import Final, Literal

Mode = Literal["enforce", "observe", "off"]

SHORTLY: Final = 1.0  # seconds for which a refusal is repeated without asking the database
# refusals of a second that are answered at once; the others wait for theirs, and so come seldom
FLOOD: Final = 20
MOST_RESTING: Final = 10_000  # of those, kept in mind at once
MOST_SEEN: Final = 10_000  # keys; at about 150 bytes each


class Throttle:
    """Whether limits refuse (`enforce`), only tell (`observe`), or neither; and who was refused in
    the last second.

    That memory spares the database a flood. It is no state that another process would miss: it only
    repeats an answer.
    """

    def __init__(self, mode: Mode = "enforce") -> None:
        self.mode = mode
        # by key: until when it is kept in mind, and when it opens
        self._opens: dict[str, tuple[float, float]] = {}
        self._uncounted: dict[str, int] = {}
        self._seen: dict[str, float] = {}  # by key: until when

    def opens_at(self, key: str, now: float) -> float | None:
        """When a bucket opens that was found empty in the last second; counts that it was asked for
        again.

        After that second one caller is to look again; the others are told the same meanwhile.
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
        """Whether so many ask within the second that their refusals alone would slow everybody else
        down.
        """
        return self._uncounted.get(key, 0) > FLOOD

    def remember(self, key: str, now: float, opens: float) -> None:
        """The database has just said so."""
        if len(self._opens) >= MOST_RESTING:
            oldest = next(iter(self._opens))
            self._opens.pop(oldest)
            self._uncounted.pop(oldest, None)
        self._opens[key] = (min(opens, now + SHORTLY), opens)

    def is_seen(self, key: str, now: float) -> bool:
        """Whether the database said, in this process, that the key counts as seen."""
        return self._seen.get(key, 0.0) > now

    def remember_seen(self, key: str, until: float) -> None:
        """A bucket that marks what was seen is taken once; until it is full again, nobody has to
        ask the database.
        """
        if len(self._seen) >= MOST_SEEN:
            self._seen.pop(next(iter(self._seen)))
        self._seen[key] = until

    def forget(self, key: str) -> None:
        """Forgets the bucket, and every one whose key begins with this one."""
        for each in [each for each in self._opens if each.startswith(key)]:
            self._opens.pop(each)
            self._uncounted.pop(each, None)

    def counted(self, key: str) -> int:
        """How many refusals nobody had counted yet, who are counted now."""
        return self._uncounted.pop(key, 0)
