"""Limits the number of audit entries that a user can cause, so that no user can fill the log and
push older entries out of it.

Actions of the operator, and of administrators on other accounts, are always recorded; the rate
limits of these actions bound them.
"""

from dataclasses import dataclass
from typing import Final

from db.rate_limits.buckets import COUNT_REFUSALS, Bucket, bucket_key, take_token
from db.rate_limits.ip_networks import find_largest_network
from db.rate_limits.limits import ENTRIES, ENTRIES_CLIENT, RateLimit
from db.store import Store

# Each network has its own budget for these events.
PER_NETWORK_EVENTS: Final = frozenset(("login", "signup", "password.change"))


@dataclass(frozen=True, slots=True)
class Excess:
    """An entry above a limit.

    `times` is the number of entries left out so far, and `is_logged` says whether the log must
    report it now.
    """

    limit: RateLimit
    times: int
    is_logged: bool


async def take_entry_token(
    store: Store, event: str, entry_type: str, subject: str, ip_address: str
) -> Excess | None:
    """Takes a token for an entry and returns None, or returns the Excess if no token is available.

    Entries count by `entry_type` and the account `subject`. Entries about log-ins and guesses count
    by account and network. An attacker therefore cannot use up the budget of an account before
    acting from another network. All other entries count for the client too. Must run inside the
    transaction of the entry.
    """
    if store.limiter.mode == "off":
        return None
    network = find_largest_network(ip_address)
    if event in PER_NETWORK_EVENTS:
        return await _take(store, ENTRIES, f"{entry_type} {subject} {network}")
    excess = await _take(store, ENTRIES, f"{entry_type} {subject or network}")
    if excess is None:
        return await _take(store, ENTRIES_CLIENT, network)
    if excess.is_logged:
        return await _take(store, ENTRIES_CLIENT, network) or excess
    return excess


async def _take(store: Store, limit: RateLimit, subject: str) -> Excess | None:
    if await take_token(store, limit, subject):
        return None
    bucket: Bucket | None = await store.one(
        COUNT_REFUSALS(key=bucket_key(store, limit, subject), more=1)
    )
    times = bucket.refused if bucket else 1
    return Excess(limit, times, is_logged=str(times).rstrip("0") == "1")
