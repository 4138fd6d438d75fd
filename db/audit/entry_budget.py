"""Limits the number of audit entries that a user can cause, so that no user can fill the log and
push older entries out of it.

Actions of the operator, and of administrators on other accounts, are always recorded; the rate
limits of these actions bound them.
"""

from dataclasses import dataclass
from typing import Final

from db.rate_limits.buckets import REFUSE, Bucket, key_of, take_token
from db.rate_limits.ip_networks import largest_network_of
from db.rate_limits.limits import ENTRIES, ENTRIES_CLIENT, Limit
from db.store import Store

# Each network has its own budget for these events.
EVIDENCE: Final = frozenset(("login", "signup", "password.change"))


@dataclass(frozen=True, slots=True)
class Excess:
    """An entry above a limit.

    `times` is the number of entries left out so far, and `is_logged` says whether the log must
    report it now.
    """

    limit: Limit
    times: int
    is_told: bool


async def spend(store: Store, event: str, what: str, whom: str, address: str) -> Excess | None:
    """Takes a token for an entry and returns None, or returns the Excess if no token is available.

    Entries count by `what` and the account `subject`. Entries about log-ins and guesses count by
    account and network. An attacker therefore cannot use up the budget of an account before acting
    from another network. All other entries count for the client too. Must run inside the
    transaction of the entry.
    """
    if store.throttle.mode == "off":
        return None
    network = largest_network_of(address)
    if event in EVIDENCE:
        return await _take(store, ENTRIES, f"{what} {whom} {network}")
    excess = await _take(store, ENTRIES, f"{what} {whom or network}")
    if excess is None:
        return await _take(store, ENTRIES_CLIENT, network)
    if excess.is_told:
        return await _take(store, ENTRIES_CLIENT, network) or excess
    return excess


async def _take(store: Store, limit: Limit, whom: str) -> Excess | None:
    if await take_token(store, limit, whom):
        return None
    bucket: Bucket | None = await store.one(REFUSE(key=key_of(store, limit, whom), more=1))
    times = bucket.refused if bucket else 1
    return Excess(limit, times, is_told=str(times).rstrip("0") == "1")
