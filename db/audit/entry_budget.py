"""Limits how many audit entries users can cause, so that they cannot fill the log and push older
entries out of it.

Acts of operators, and of administrators upon other accounts, are always written: those are limited
where they happen.
"""

from dataclasses import dataclass
from typing import Final

from db.rate_limits.buckets import REFUSE, Bucket, key_of, take_token
from db.rate_limits.ip_networks import largest_network_of
from db.rate_limits.limits import ENTRIES, ENTRIES_CLIENT, Limit
from db.store import Store

# each network has a budget of its own for these
EVIDENCE: Final = frozenset(("login", "signup", "password.change"))


@dataclass(frozen=True, slots=True)
class Excess:
    """An entry beyond a limit: how many were left out so far, and whether the log is
    to say so now.
    """

    limit: Limit
    times: int
    is_told: bool


async def spend(store: Store, event: str, what: str, whom: str, address: str) -> Excess | None:
    """Takes a token for an entry, and returns None; or returns the Excess if there is none.

    `what` is counted for each account `whom`. Entries that tell of guessing and of log-ins are
    counted for each account and network, so that nobody uses up the budget of an account before
    acting in it from elsewhere. All other entries count for the client too. To be called inside the
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
