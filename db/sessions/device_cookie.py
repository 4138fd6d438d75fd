"""The device cookie, which identifies a browser that has logged in to an account before.

Guesses at unknown browsers use up the account's attempts; a known browser has attempts of its own
(OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). The cookie grants no access. It is
encoded with keys of its own, so that neither cookie is valid as the other.
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
    """A verified device cookie: the random id of the browser, and the accounts that it has logged
    in to with the time of the last log-in.

    The times are seconds since 1970, exact to the microsecond.
    """

    id: str
    accounts: Mapping[str, float]

    def has_logged_in_to(self, user_id: str, since: datetime | None) -> bool:
        """Returns whether the browser has logged in to the account, and not before `since` if
        `since` is given.
        """
        return user_id in self.accounts and (
            since is None or self.accounts[user_id] >= since.timestamp()
        )


def read_device_cookie(store: Store, cookie: Secret[str] | None) -> KnownDevice | None:
    """Returns the content of the device cookie, or None if it is missing or invalid."""
    claims = store.device_keys.decode(cookie.reveal()) if cookie else None
    if claims is None:
        return None
    device_id = claims.get("device")
    accounts = claims.get("accounts")
    if not isinstance(device_id, str) or not isinstance(accounts, dict):
        return None
    return KnownDevice(device_id, accounts)


def renew_device_cookie(store: Store, cookie: Secret[str] | None, user_id: str) -> NewCookie:
    """Returns a device cookie that adds a log-in to this account now."""
    known = read_device_cookie(store, cookie)
    others = (
        [(id, moment) for id, moment in known.accounts.items() if id != user_id] if known else []
    )
    claims = {
        "device": known.id if known else store.token(16),
        "accounts": dict([*others[1 - MAX_ACCOUNTS :], (user_id, store.now().timestamp())]),
        "exp": int((store.now() + DEVICE_COOKIE_LIFETIME).timestamp()),
    }
    return NewCookie(store.device_keys.encode(claims), int(DEVICE_COOKIE_LIFETIME.total_seconds()))
