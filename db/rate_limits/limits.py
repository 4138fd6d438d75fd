"""Every rate limit. Pages have none: limiting plain requests is the task of the reverse proxy."""

from dataclasses import dataclass, field, replace
from typing import Final

MINUTE: Final = 60.0  # seconds
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
MAX_BURST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A rate limit of `burst` tokens at once, which refill completely within `seconds`.

    With `backoff_after`, that many consecutive attempts start a back-off, which grows with each
    further attempt: see `db.rate_limits.buckets.BACKOFF_SECONDS`. Consecutive attempts are
    counted until `retention_seconds` after the last one. A limit with `is_account_limit` concerns
    an account, whose user sees its refusals in the audit log. `factor` is that of `scaled`.
    """

    name: str
    burst: int
    seconds: float
    backoff_after: int = 0
    is_account_limit: bool = False
    retention_seconds: float = DAY
    factor: int = field(default=1, compare=False)

    @property
    def seconds_per_token(self) -> float:
        """Returns the seconds until one token is refilled."""
        return self.seconds / self.burst

    def scaled(self, factor: int) -> "RateLimit":
        """Returns the same limit with a larger bucket, for a network of several clients."""
        if factor == 1:
            return self
        return replace(
            self,
            burst=self.burst * factor,
            backoff_after=self.backoff_after * factor,
            factor=self.factor * factor,
        )

    def max_burst(self) -> int:
        """Returns the highest burst that a setting may give this limit.

        Beyond the attempts that start its back-off, a limit would promise tokens that the back-off
        refuses. A mark is one token.
        """
        return 1 if self == EMAIL_SEEN else self.backoff_after or MAX_BURST


# fmt: off
# Counts per client, or per account at known browsers.
LOGIN_POSTS     = RateLimit("login-posts",      30, MINUTE)
# Counts per client, over all accounts.
LOGIN_FAILURES     = RateLimit("login-fails",      10, MINUTE)
# Counts per client and email.
LOGIN_CLIENT_ACCOUNT = RateLimit("login-client-account", 5, 5 * MINUTE, 10, True)
# Counts per email, over all clients, whether or not an account has it.
LOGIN_ACCOUNT   = RateLimit("login-account",   100, 5 * HOUR, 0, True)
# Counts per known browser and account.
LOGIN_DEVICE    = RateLimit("login-device",      5, 5 * MINUTE, 10, True)
# Counts over all clients. It writes an audit entry and refuses nothing.
LOGIN_ALL       = RateLimit("login-all",      1000, 5 * MINUTE)
# Counts per network. It limits audit entries about unknown emails and refuses nothing.
LOGIN_UNKNOWN   = RateLimit("login-unknown",   500, DAY)
SIGNUP_MINUTE   = RateLimit("signup-minute",     5, MINUTE)                  # Counts per client.
SIGNUP_HOUR     = RateLimit("signup-hour",      20, HOUR)                    # Counts per client.
# Counts per client and email. A repeated look-up within the hour takes no further token.
EMAIL_SEEN      = RateLimit("email-seen",        1, HOUR)
# Counts per client, for different emails.
EMAIL_MINUTE    = RateLimit("email-minute",     10, MINUTE)
# Counts per client, for different emails.
EMAIL_HOUR      = RateLimit("email-hour",       40, HOUR)
# Counts over all clients, for different emails.
EMAIL_ALL       = RateLimit("email-all",       120, MINUTE)
# Counts per email: writes a report about guesses, refuses nothing.
GUESS_REPORT    = RateLimit("guess-report",      1, DAY)
FORGOT          = RateLimit("forgot",           20, HOUR)                    # Counts per client.
LINK_POSTS      = RateLimit("link-posts",       10, MINUTE)                  # Counts per client.
VERIFY_MINUTES  = RateLimit("verify-minutes",    1, 3 * MINUTE)              # Counts per user.
VERIFY_HOURS    = RateLimit("verify-hours",      3, 6 * HOUR)                # Counts per user.
EMAIL_CHANGE    = RateLimit("email-change",      5, HOUR)                    # Counts per user.
# Counts per new email, over all users: leaves a mail out, refuses nothing.
EMAIL_CHANGE_TO = RateLimit("email-change-to",   5, DAY)
PROFILE_CHANGE  = RateLimit("profile-change",   30, MINUTE)                  # Counts per user.
TOKEN_CREATE    = RateLimit("token-create",     10, HOUR)                    # Counts per user.
# Counts per client: requests with a wrong access token.
BEARER_FAILURES = RateLimit("bearer-fails",     30, MINUTE)
# Counts per session that ends sessions of its account.
SESSION_REVOKES = RateLimit("session-revokes",  30, MINUTE)
# Counts per session, at POST /api/token.
IDENTITY_TOKENS = RateLimit("identity-tokens",  60, MINUTE)
PASSWORD_CHANGE = RateLimit("password-change",   5, MINUTE)                  # Counts per user.
# Counts per session.
PASSWORD_GUESS  = RateLimit("password-guess",    5, 5 * MINUTE, 10, True, 30 * DAY)
# Counts per client, in the hash queue of logged-in users.
USER_HASHES   = RateLimit("user-hashes",   120, MINUTE)
# Counts per account, over all claims and confirmations: attempts at the second step.
FACTOR_TRIES    = RateLimit("factor-tries",      5, 5 * MINUTE, 10, True)
FACTOR_HOUR     = RateLimit("factor-hour",      20, HOUR, 0, True)           # Counts per account.
# Counts per account. Only a correct second step refunds tokens.
FACTOR_DAY      = RateLimit("factor-day",       50, DAY, 0, True)
# Counts per known browser and account, instead of the three limits above.
FACTOR_DEVICE   = RateLimit("factor-device",     5, 5 * MINUTE, 10, True)
FACTOR_CLIENT   = RateLimit("factor-client",    10, 5 * MINUTE)              # Counts per client.
# Counts per client: log-ins with a wrong passkey.
PASSKEY_FAILURES = RateLimit("passkey-fails",    10, MINUTE)
# Counts per account: mails about a failed second step, refuses nothing.
FACTOR_REPORT   = RateLimit("factor-report",     1, DAY)
CONFIRM         = RateLimit("confirm",           5, MINUTE)                  # Counts per user.
FACTOR_CHANGE   = RateLimit("factor-change",    10, HOUR)                    # Counts per user.
# Counts per user: connections and disconnections of identities of other providers.
IDENTITY_CHANGE = RateLimit("identity-change",  10, HOUR)
PROVIDER_START  = RateLimit("provider-start",   30, MINUTE)                  # Counts per client.
# Counts per client: returns from a provider, before a request to it.
PROVIDER_RETURN = RateLimit("provider-return",  10, MINUTE)
# Counts per client: logout tokens of providers that are refused.
PROVIDER_LOGOUT = RateLimit("provider-logout",  30, MINUTE)
# Counts per provider: warnings and audit entries about its failures, refuses nothing.
PROVIDER_REPORT = RateLimit("provider-report",   1, MINUTE)
ACCOUNT_DELETION = RateLimit("account-deletion", 5, HOUR)                    # Counts per user.
# Counts per user who downloads, for their own account and, as an administrator, for others.
DATA_DOWNLOAD   = RateLimit("data-download",     5, HOUR)
AUDIT_EXPORT    = RateLimit("audit-export",     20, HOUR)                    # Counts per admin.
ADMIN_CHANGE    = RateLimit("admin-change",     60, MINUTE)                  # Counts per admin.
ADMIN_DAY       = RateLimit("admin-day",      5000, DAY)                     # Counts per admin.
# Counts audit entries per user about forbidden requests.
DENIED          = RateLimit("denied",            1, MINUTE)
# Counts audit entries per event and account.
ENTRIES         = RateLimit("entries",          10, DAY)
# Counts audit entries per client: see db.audit.entry_budget.
ENTRIES_CLIENT  = RateLimit("entries-client", 2000, DAY)
# fmt: on
ALL_LIMITS: Final = tuple(
    value for value in globals().copy().values() if isinstance(value, RateLimit)
)
