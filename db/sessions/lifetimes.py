"""The lifetimes of sessions, which settings may change."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The lifetime of a session: `idle` runs from the last renewal.

    `maximum` runs from the log-in, and renewals do not extend it.
    """

    idle: timedelta
    maximum: timedelta

    @property
    def half_life(self) -> timedelta:
        """Returns the remaining time below which a request renews the session."""
        return self.idle / 2


@dataclass(frozen=True, slots=True)
class SessionLifetimes:
    """The lifetime of sessions, and that of sessions whose user chose to stay logged in.

    Without `remembered`, users cannot choose.
    """

    default: Lifetime = Lifetime(timedelta(days=7), timedelta(days=30))
    remembered: Lifetime | None = None

    @property
    def can_remember(self) -> bool:
        """Returns whether users may choose to stay logged in."""
        return self.remembered is not None

    def of(self, *, is_remembered: bool) -> Lifetime:
        """Returns the lifetime of a session. A former choice does not count without a setting."""
        return self.remembered if is_remembered and self.remembered else self.default
