"""The device cookie: a browser that has been in an account before, told apart from a stranger who guesses.

OWASP, "Device cookies": guesses of strangers use up the account's tries; its owner's browser has tries of its own. The
cookie opens nothing. It is sealed under keys of its own, so that it never passes for a session, nor a session for it.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from db.claims import NewCookie
from db.secret import Secret
from db.store import Store

LIFETIME: Final = timedelta(days=365)
MOST: Final = 8  # accounts of one browser; the first makes room


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """`id` is random and the browser's own; `user_ids` are the accounts that were logged in to from it."""

    id: str
    user_ids: tuple[str, ...]


def recognise(store: Store, cookie: Secret[str] | None, user_id: str) -> str | None:
    """The browser's id, if it was in this account before."""
    known = _open(store, cookie)
    return known.id if known and user_id in known.user_ids else None


def remember(store: Store, cookie: Secret[str] | None, user_id: str) -> NewCookie:
    """The cookie that says from now on that this account was logged in to from here."""
    known = _open(store, cookie)
    others = [other for other in known.user_ids if other != user_id] if known else []
    claims = {
        "device": known.id if known else store.token(16),
        "users": [*others[1 - MOST :], user_id],
        "exp": int((store.now() + LIFETIME).timestamp()),
    }
    return NewCookie(store.device_keys.seal(claims), int(LIFETIME.total_seconds()))


def _open(store: Store, cookie: Secret[str] | None) -> KnownDevice | None:
    """What the cookie says, if one of our keys has sealed it."""
    claims = store.device_keys.open(cookie.reveal()) if cookie else None
    if claims is None:
        return None
    device_id, user_ids = claims.get("device"), claims.get("users")
    if not isinstance(device_id, str) or not isinstance(user_ids, list):
        return None
    return KnownDevice(device_id, tuple(user_ids))
