"""Every rate limit. Pages have none: limiting plain requests is the task of the reverse proxy."""

from dataclasses import dataclass, replace
from typing import Final

MINUTE: Final = 60.0  # seconds
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A rate limit of `burst` tokens at once, which refill completely within `seconds`.

    With `backoff_after`, that many consecutive attempts start a back-off, which grows with each
    further attempt: see `db.rate_limits.buckets.BACKOFF_SECONDS`. Consecutive attempts are
    remembered for `remembered_seconds` after the last one. A limit with `is_account_limit` concerns
    an account, whose user sees its refusals in the audit log.
    """

    name: str
    burst: int
    seconds: float
    backoff_after: int = 0
    is_account_limit: bool = False
    remembered_seconds: float = DAY

    @property
    def seconds_per_token(self) -> float:
        """Returns the seconds until one token is refilled."""
        return self.seconds / self.burst

    def scaled(self, factor: int) -> "RateLimit":
        """Returns the same limit with a larger bucket, for a network of several clients."""
        if factor == 1:
            return self
        return replace(self, burst=self.burst * factor, backoff_after=self.backoff_after * factor)


# fmt: off
# per client, or per account at known browsers
LOGIN_POSTS     = RateLimit("login-posts",      30, MINUTE)
# per client, over all accounts
LOGIN_FAILURES     = RateLimit("login-fails",      10, MINUTE)
# per client and email
LOGIN_CLIENT_ACCOUNT = RateLimit("login-client-account", 5, 5 * MINUTE, 10, True)
# per email, over all clients, whether or not an account has it
LOGIN_ACCOUNT   = RateLimit("login-account",   100, 5 * HOUR, 0, True)
# per known browser and account
LOGIN_DEVICE    = RateLimit("login-device",      5, 5 * MINUTE, 10, True)
# over all clients: writes an audit entry, refuses nothing
LOGIN_ALL       = RateLimit("login-all",      1000, 5 * MINUTE)
# per network: decides whether entries about unknown emails are kept, refuses nothing
LOGIN_UNKNOWN   = RateLimit("login-unknown",   500, DAY)
SIGNUP_MINUTE   = RateLimit("signup-minute",     5, MINUTE)                  # per client
SIGNUP_HOUR     = RateLimit("signup-hour",      20, HOUR)                    # per client
# per client and email: a repeated look-up within the hour takes no further token
EMAIL_SEEN      = RateLimit("email-seen",        1, HOUR)
# per client, for different emails
EMAIL_MINUTE    = RateLimit("email-minute",     10, MINUTE)
# per client, for different emails
EMAIL_HOUR      = RateLimit("email-hour",       40, HOUR)
# over all clients, for different emails
EMAIL_ALL       = RateLimit("email-all",       120, MINUTE)
PROFILE_CHANGE  = RateLimit("profile-change",   30, MINUTE)                  # per user
# per session that ends sessions of its account
SESSION_REVOKES = RateLimit("session-revokes",  30, MINUTE)
PASSWORD_CHANGE = RateLimit("password-change",   5, MINUTE)                  # per user
# per session
PASSWORD_GUESS  = RateLimit("password-guess",    5, 5 * MINUTE, 10, True, 30 * DAY)
# per client, in the hash queue of logged-in users
USER_HASHES   = RateLimit("user-hashes",   120, MINUTE)
ADMIN_CHANGE    = RateLimit("admin-change",     60, MINUTE)                  # per administrator
ADMIN_DAY       = RateLimit("admin-day",      5000, DAY)                     # per administrator
# audit entries per user about forbidden requests
DENIED          = RateLimit("denied",            1, MINUTE)
# audit entries per event and account
ENTRIES         = RateLimit("entries",          10, DAY)
# audit entries per client: see db.audit.entry_budget
ENTRIES_CLIENT  = RateLimit("entries-client", 2000, DAY)
# fmt: on
ALL_LIMITS: Final = tuple(
    value for value in globals().copy().values() if isinstance(value, RateLimit)
)
