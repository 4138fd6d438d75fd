"""The device cookie, which identifies a browser that has logged in to an account before.

Guesses at unknown browsers use up the account's attempts; a known browser has attempts of its own
(OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). The cookie alone grants no access.
It is encoded with keys of its own, so that neither cookie is valid as the other. It also has the
accounts whose second step is not asked for in this browser.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from db.crypto.secret import Secret
from db.sessions.claims import NewCookie
from db.store import Store

DEVICE_COOKIE_LIFETIME: Final = timedelta(days=365)
MAX_ACCOUNTS: Final = 8  # A further account of a browser replaces the oldest one.


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A verified device cookie: the random id of the browser, the accounts that it has logged in to
    with the time of the last log-in, and those that it is remembered by with the time of that
    choice.

    The times are seconds since 1970, exact to the microsecond.
    """

    id: str
    accounts: Mapping[str, float]
    trusted: Mapping[str, float]

    def has_logged_in_to(self, user_id: str, since: datetime | None) -> bool:
        """Returns whether the browser has logged in to the account, and not before `since` if
        `since` is given.
        """
        return user_id in self.accounts and (
            since is None or self.accounts[user_id] >= since.timestamp()
        )

    def is_trusted_by(self, user_id: str, since: datetime | None, not_before: datetime) -> bool:
        """Returns whether the user chose that the account's second step is not asked for here.

        The choice must be later than `since`, if it is given, and than `not_before`.
        """
        chosen_at = self.trusted.get(user_id, 0.0)
        return chosen_at > not_before.timestamp() and (
            since is None or chosen_at > since.timestamp()
        )


def read_device_cookie(store: Store, cookie: Secret[str] | None) -> KnownDevice | None:
    """Returns the content of the device cookie, or None if it is missing or invalid."""
    claims = store.device_keys.decode(cookie.reveal()) if cookie else None
    if claims is None:
        return None
    device_id = claims.get("device")
    accounts = claims.get("accounts")
    trusted = claims.get("trusted", {})
    if not (
        isinstance(device_id, str) and isinstance(accounts, dict) and isinstance(trusted, dict)
    ):
        return None
    return KnownDevice(device_id, accounts, trusted)


def find_known_browser(
    store: Store, cookie: Secret[str] | None, user_id: str | None, since: datetime | None
) -> KnownDevice | None:
    """Returns the browser if it has logged in to the account, and not before `since` if that is
    given.

    Decodes the cookie even if there is no account, so that the time does not depend on it.
    """
    browser = read_device_cookie(store, cookie)
    if browser is None or user_id is None or not browser.has_logged_in_to(user_id, since):
        return None
    return browser


def renew_device_cookie(
    store: Store,
    cookie: Secret[str] | None,
    user_id: str,
    *,
    trusted_at: datetime | None = None,
) -> NewCookie:
    """Returns a device cookie that adds a log-in to this account now.

    `trusted_at` is the time of the choice that the account's second step is not asked for here.
    Without it, an earlier choice is kept with its time.
    """
    known = read_device_cookie(store, cookie)
    others = (
        [(id, moment) for id, moment in known.accounts.items() if id != user_id] if known else []
    )
    accounts = dict([*others[1 - MAX_ACCOUNTS :], (user_id, store.now().timestamp())])
    trusted = dict(known.trusted) if known else {}
    if trusted_at is not None:
        trusted[user_id] = trusted_at.timestamp()
    claims = {
        "device": known.id if known else store.token(16),
        "accounts": accounts,
        "trusted": {id: moment for id, moment in trusted.items() if id in accounts},
        "exp": int((store.now() + DEVICE_COOKIE_LIFETIME).timestamp()),
    }
    return NewCookie(store.device_keys.encode(claims), int(DEVICE_COOKIE_LIFETIME.total_seconds()))
