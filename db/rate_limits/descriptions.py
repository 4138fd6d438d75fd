"""Contains the descriptions of the rate limits for `latchkey limits` and docs/operations.md."""

from collections.abc import Mapping
from typing import Final

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "login-posts": (
        "log-ins of one client, successful or not; at known browsers, log-ins to one account"
    ),
    "login-fails": (
        "failed log-ins of one client to any account; a successful log-in refunds its token"
    ),
    "login-client-account": (
        "one client and one email, with or without an account; with back-off; "
        "a log-in resets the count"
    ),
    "login-account": (
        "all clients and one email, with or without an account; "
        "a successful log-in refunds its token"
    ),
    "login-device": "a known browser; with back-off",
    "login-all": "failed log-ins of all unknown browsers; refuses nothing, only logs and records",
    "login-unknown": "failed log-ins of one client; limits audit entries, refuses nothing",
    "signup-minute": "sign-ups of one client",
    "signup-hour": "sign-ups of one client",
    "email-seen": (
        "one client and one email: checking the same email again takes no further token"
    ),
    "email-minute": "different emails that one client checks, by the live check or by sign-up",
    "email-hour": "different emails that one client checks, by the live check or by sign-up",
    "email-all": "different emails that all clients together check by the live check",
    "guess-report": "mails to one email about guesses; refuses nothing",
    "forgot": "requests of one client for a password reset",
    "link-posts": "forms of one client on the pages that links in mails open",
    "verify-minutes": "mails to one user to confirm the email",
    "verify-hours": "mails to one user to confirm the email",
    "email-change": "requests of one user to change the email",
    "email-change-to": "mails to one new email, over all users; refuses nothing",
    "factor-tries": "attempts at the second step of one account; with back-off",
    "factor-hour": "attempts at the second step of one account",
    "factor-day": "attempts at the second step of one account; a correct one refunds its token",
    "factor-device": "attempts at the second step at a known browser, instead of the three above",
    "factor-client": "attempts at a second step by one client",
    "passkey-fails": "log-ins of one client with a wrong passkey",
    "factor-report": "mails to one user about a failed second step; refuses nothing",
    "confirm": "passwords of one user who confirms their identity",
    "provider-start": "log-ins that one client starts at other providers",
    "provider-return": "returns of one client from other providers",
    "provider-logout": (
        "logout tokens of one client that are refused; further ones are answered with 429, and "
        "valid tokens are still accepted"
    ),
    "provider-report": "warnings about the failures of one provider, refuses nothing",
    "factor-change": "changes of passkeys, authenticator apps and recovery codes by one user",
    "identity-change": "identities of other providers that one user connects or disconnects",
    "profile-change": "changes of the profile by one user",
    "session-revokes": (
        "one session that ends others of its account; each session has its own limit, "
        "so a stolen session cannot keep the user from ending it"
    ),
    "identity-tokens": (
        "identity tokens of one session, at `POST /api/token`; the check of forwarded requests has "
        "no limit"
    ),
    "token-create": "new access tokens of one user",
    "bearer-fails": (
        "requests of one client with a wrong access token; further ones are answered with 429, and "
        "valid tokens are still accepted"
    ),
    "account-deletion": "requests of one user to delete their account",
    "data-download": (
        "downloads of one user, of their own data and, as an administrator, of others'"
    ),
    "audit-export": "exports of the audit log by one administrator",
    "password-change": "password changes of one user",
    "password-guess": (
        "current passwords in one session; with back-off; the right password resets the count, "
        "and the 20th wrong one in a row ends the session"
    ),
    "user-hashes": "one client: log-ins at known browsers, and password changes",
    "admin-change": "changes by one administrator",
    "admin-day": "changes by one administrator",
    "denied": "audit entries of one user about administrators' pages",
    "entries": "audit entries of one event and account",
    "entries-client": "audit entries of one client",
}
