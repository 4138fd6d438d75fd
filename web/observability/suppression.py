"""Contains the state that keeps repeated log lines from filling the log."""

import time
from dataclasses import dataclass, field
from typing import Final

UNAVAILABLE_LOG_SECONDS: Final = 60.0
# A traceback is about 4 kB.
MAX_LOGGED_FAILURES: Final = 20
FAILURE_WINDOW_SECONDS: Final = 60.0
MAX_LOGGED_ORIGINS: Final = 10


@dataclass
class LogSuppression:
    """Decides whether an event is logged, by what this process has logged before."""

    _unavailable_at: float = float("-inf")
    _failures_at: list[float] = field(default_factory=list)
    _failures_left_out: int = 0
    _proxy_warned: bool = False
    _origins: set[str] = field(default_factory=set)

    def allow_unavailable(self) -> bool:
        """Returns True at most once in UNAVAILABLE_LOG_SECONDS, because it concerns all users."""
        now = time.monotonic()
        if now - self._unavailable_at < UNAVAILABLE_LOG_SECONDS:
            return False
        self._unavailable_at = now
        return True

    def allow_proxy_warning(self) -> bool:
        """Returns True once."""
        allowed, self._proxy_warned = not self._proxy_warned, True
        return allowed

    def allow_origin_warning(self, origin: str) -> bool:
        """Returns True once per origin, for the first MAX_LOGGED_ORIGINS origins."""
        if origin in self._origins or len(self._origins) >= MAX_LOGGED_ORIGINS:
            return False
        self._origins.add(origin)
        return True

    def allow_failure(self) -> bool:
        """Returns True at most MAX_LOGGED_FAILURES times in FAILURE_WINDOW_SECONDS."""
        now = time.monotonic()
        self._failures_at = [at for at in self._failures_at if now - at < FAILURE_WINDOW_SECONDS]
        if len(self._failures_at) >= MAX_LOGGED_FAILURES:
            self._failures_left_out += 1
            return False
        self._failures_at.append(now)
        return True

    def pop_failures_left_out(self) -> int:
        """Returns the number of failures not logged since the last call."""
        left_out, self._failures_left_out = self._failures_left_out, 0
        return left_out
