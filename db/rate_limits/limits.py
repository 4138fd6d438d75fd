"""Every limit, on one screen.

Nothing else is limited, and no page is: that is the reverse proxy's work.
"""

from dataclasses import dataclass, replace
from typing import Final

MINUTE: Final = 60.0  # seconds
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` at once, and as many again over `seconds`.

    With `patience`, the try after so many in a row has to rest first, and each next one longer: see
    `db.rate_limits.buckets.RESTS`. Tries in a row are remembered for `memory` seconds after the
    last one. Of one `of_account` the owner reads in their trail; any other is the client's own
    affair.
    """

    name: str
    burst: int
    seconds: float
    patience: int = 0
    of_account: bool = False
    memory: float = DAY

    @property
    def each(self) -> float:
        """Seconds until one token is back."""
        return self.seconds / self.burst

    def times(self, factor: int) -> "Limit":
        """Returns the same limit with a larger bucket, for a network of several clients."""
        return (
            self
            if factor == 1
            else replace(self, burst=self.burst * factor, patience=self.patience * factor)
        )


# fmt: off
# of a client, or an account at known browsers
LOGIN_POSTS     = Limit("login-posts",      30, MINUTE)
# of one client, to whichever accounts
LOGIN_FAILS     = Limit("login-fails",      10, MINUTE)
# of one client to one address
LOGIN_CLIENT_ACCOUNT = Limit("login-client-account", 5, 5 * MINUTE, 10, True)
# of all clients to one address, known or not
LOGIN_ACCOUNT   = Limit("login-account",   100, 5 * HOUR, 0, True)
# of a browser that was in the account before
LOGIN_DEVICE    = Limit("login-device",      5, 5 * MINUTE, 10, True)
# of all strangers: told, and never refused
LOGIN_ALL       = Limit("login-all",      1000, 5 * MINUTE)
# of one client: told, and never refused
LOGIN_UNKNOWN   = Limit("login-unknown",   500, DAY)
SIGNUP_MINUTE   = Limit("signup-minute",     5, MINUTE)                  # of one client
SIGNUP_HOUR     = Limit("signup-hour",      20, HOUR)                    # of one client
# of one client to one address: more are free
EMAIL_SEEN      = Limit("email-seen",        1, HOUR)
# different addresses of one client
EMAIL_MINUTE    = Limit("email-minute",     10, MINUTE)
# different addresses of one client
EMAIL_HOUR      = Limit("email-hour",       40, HOUR)
# different addresses of everybody
EMAIL_ALL       = Limit("email-all",       120, MINUTE)
PROFILE_CHANGE  = Limit("profile-change",   30, MINUTE)                  # of one member
# of one session, to end others of its account
SESSION_REVOKES = Limit("session-revokes",  30, MINUTE)
PASSWORD_CHANGE = Limit("password-change",   5, MINUTE)                  # of one member
# of one session, while it lives
PASSWORD_GUESS  = Limit("password-guess",    5, 5 * MINUTE, 10, True, 30 * DAY)
# of one client, in the members' hash queue
MEMBER_HASHES   = Limit("member-hashes",   120, MINUTE)
ADMIN_CHANGE    = Limit("admin-change",     60, MINUTE)                  # of one administrator
ADMIN_DAY       = Limit("admin-day",      5000, DAY)                     # of one administrator
# one member's refusals that are written down
DENIED          = Limit("denied",            1, MINUTE)
# audit entries of one event and account
ENTRIES         = Limit("entries",          10, DAY)
# audit entries of one client: see entry_budget
ENTRIES_CLIENT  = Limit("entries-client", 2000, DAY)
# fmt: on
EVERY: Final = tuple(value for value in globals().copy().values() if isinstance(value, Limit))
