"""The device cookie: a browser that has been in an account before, told apart from a stranger who
guesses.

OWASP, "Device cookies": guesses of strangers use up the account's tries; its owner's browser has
tries of its own. The cookie opens nothing. It is sealed under keys of its own, so that it never
passes for a session, nor a session for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from db.crypto.secret import Secret
from db.sessions.claims import NewCookie
from db.store import Store

LIFETIME: Final = timedelta(days=365)
MOST: Final = 8  # accounts of one browser; the first makes room


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """`id` is random and the browser's own; `accounts` are those that were logged in to from it,
    and when last.

    The moments are seconds since 1970, exact to the microsecond.
    """

    id: str
    accounts: Mapping[str, float]

    def was_in(self, user_id: str, since: datetime | None) -> bool:
        """Whether the account was logged in to from here, and at `since` or later, where there is
        such a moment.
        """
        return user_id in self.accounts and (
            since is None or self.accounts[user_id] >= since.timestamp()
        )


def recognise(store: Store, cookie: Secret[str] | None) -> KnownDevice | None:
    """What the cookie says, if one of our keys has sealed it."""
    claims = store.device_keys.open(cookie.reveal()) if cookie else None
    if claims is None:
        return None
    device_id, accounts = claims.get("device"), claims.get("accounts")
    if not isinstance(device_id, str) or not isinstance(accounts, dict):
        return None
    return KnownDevice(device_id, accounts)


def remember(store: Store, cookie: Secret[str] | None, user_id: str) -> NewCookie:
    """The cookie that says from now on that this account was logged in to from here."""
    known = recognise(store, cookie)
    others = (
        [(id, moment) for id, moment in known.accounts.items() if id != user_id] if known else []
    )
    claims = {
        "device": known.id if known else store.token(16),
        "accounts": dict([*others[1 - MOST :], (user_id, store.now().timestamp())]),
        "exp": int((store.now() + LIFETIME).timestamp()),
    }
    return NewCookie(store.device_keys.seal(claims), int(LIFETIME.total_seconds()))
