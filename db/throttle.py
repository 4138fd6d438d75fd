"""Limits at work: tokens taken from buckets that every process and host shares, and who finds none is refused."""

import asyncio
import ipaddress
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from math import ceil

from db import audit
from db.audit import By
from db.buckets import CLEAR, GIVE_BACK, LOOK, REFUSE, Bucket, take_token, taking
from db.buckets import key_of as _key
from db.events import Event
from db.limits import Limit
from db.refusals import Busy, TooMany
from db.store import Store
from db.throttle_state import SHORTLY

logger = logging.getLogger("latchkey")

Take = tuple[Limit, str]  # a limit, and whom it is about


class _Empty(Exception):
    """A bucket has no token.

    `is_news`: the database said so, and nobody has counted it yet.
    """

    def __init__(self, limit: Limit, key: str, opens: float, *, is_news: bool) -> None:
        super().__init__()
        self.limit, self.key, self.opens, self.is_news = limit, key, opens, is_news


async def admit(store: Store, by: By, *takes: Take, target_id: str | None = None) -> None:
    """Take a token from each bucket, or from none. Raises TooMany, and counts that it did.

    To be called before what it protects, outside of transactions. `target_id` is the account that is knocked at,
    whose owner reads of it where the limit is the account's.
    """
    await _admit(store, by, None, takes, target_id)


async def admit_once(store: Store, by: By, seen: Take, *takes: Take) -> None:
    """As `admit`, but who has been `seen` before passes at no cost. Raises TooMany."""
    await _admit(store, by, seen, takes, None)


async def notice(store: Store, by: By, limit: Limit, whom: str) -> bool:
    """Whether there was a token, which is then taken. Refuses nobody; tells when there was none.

    To be called inside a transaction.
    """
    if await has_room(store, limit, whom):
        return True
    await _write_down(store, by, limit, _key(store, limit, whom), 1, None)
    return False


async def has_room(store: Store, limit: Limit, whom: str) -> bool:
    """Whether there was a token, which is then taken. Refuses and tells nobody. To be called inside a transaction."""
    return store.throttle.mode == "off" or await take_token(store, limit, whom)


async def record_seldom(store: Store, by: By, event: Event, limit: Limit, whom: str) -> None:
    """A row of the trail for a refusal, where there was a token for it, which is then taken: a flood writes nothing."""
    key, now = _key(store, limit, whom), store.now().timestamp()
    if store.throttle.opens_at(key, now) is not None:
        return
    async with store.transaction():
        if await has_room(store, limit, whom):
            await audit.record(store, event, by, outcome="refused")
        else:
            store.throttle.remember(key, now, now + SHORTLY)


@asynccontextmanager
async def trying(store: Store, *takes: Take) -> AsyncIterator[None]:
    """What is tried for these tokens. Where it comes to nothing because everybody is busy, it was no try: they go back.

    Raises Busy all the same.
    """
    try:
        yield
    except Busy:
        with suppress(Busy):
            for limit, whom in takes:
                await give_back(store, limit, whom)
        raise


async def give_back(store: Store, limit: Limit, whom: str) -> None:
    """The token of a try that was none: who logs in has not guessed. Other tries stay counted, and no rest begins."""
    if store.throttle.mode != "off":
        await store.count(GIVE_BACK(key=_key(store, limit, whom), each=limit.each))


async def clear(store: Store, limit: Limit, whom: str) -> None:
    """Forget every try: somebody has proven that the account is theirs."""
    if store.throttle.mode != "off":
        key = _key(store, limit, whom)
        store.throttle.forget(key)
        await store.count(CLEAR(key=key))


@lru_cache(1024)
def client(address: str) -> str:
    """What of an address stands for one client: of IPv6 the network that one customer gets, a /64."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)


async def _admit(store: Store, by: By, seen: Take | None, takes: tuple[Take, ...], target_id: str | None) -> None:
    if store.throttle.mode == "off" or (seen and await _is_seen(store, *seen)):
        return
    try:
        _require_no_rest(store, takes)
        await _take_all(store, takes, seen)
    except _Empty as empty:
        if empty.is_news:
            await _count(store, by, empty, target_id if empty.limit.of_account else None)
        if store.throttle.mode == "observe":
            return
        if store.throttle.is_flooded(empty.key):
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311  (to part who comes in waves)  # nosec B311
        raise TooMany(max(1, ceil(empty.opens - store.now().timestamp()))) from None


async def _is_seen(store: Store, limit: Limit, whom: str) -> bool:
    """Without a write, so that a client that repeats a question holds up no writer; the second time without a query."""
    key, now = _key(store, limit, whom), store.now().timestamp()
    if store.throttle.is_seen(key, now):
        return True
    bucket: Bucket | None = await store.one(LOOK(key=key))
    if bucket is None or bucket.opens_at(limit) <= now:
        return False
    store.throttle.remember_seen(key, bucket.opens_at(limit))
    return True


async def _take_all(store: Store, takes: tuple[Take, ...], seen: Take | None) -> None:
    """Takes a token from every bucket, or from none. Raises _Empty for the first that has none.

    One statement takes them; where one has none, the others are given back. A transaction would cost two more round
    trips for each attempt. Whether `seen` had a token is of no interest: it only has to be marked.
    """
    now = store.now().timestamp()
    wanted = [(limit, _key(store, limit, whom)) for limit, whom in takes]
    mark = [(limit, _key(store, limit, whom)) for limit, whom in [seen]] if seen else []
    taken = await store.all(taking(now, *wanted, *mark))
    empty = next(((limit, key) for limit, key in wanted if key not in taken), None)
    if empty is None:
        for limit, key in mark:
            store.throttle.remember_seen(key, now + limit.seconds)
        return
    for limit, key in (*wanted, *mark):
        if key in taken:
            await store.count(GIVE_BACK(key=key, each=limit.each))
    raise await _found_empty(store, *empty)


async def _found_empty(store: Store, limit: Limit, key: str) -> _Empty:
    """When the bucket opens, which this process then remembers for a second."""
    bucket: Bucket | None = await store.one(LOOK(key=key))
    now = store.now().timestamp()
    opens = bucket.opens_at(limit) if bucket else now
    store.throttle.remember(key, now, opens)
    return _Empty(limit, key, opens, is_news=True)


def _require_no_rest(store: Store, takes: tuple[Take, ...]) -> None:
    for limit, whom in takes:
        key = _key(store, limit, whom)
        if opens := store.throttle.opens_at(key, store.now().timestamp()):
            raise _Empty(limit, key, opens, is_news=False)


async def _count(store: Store, by: By, empty: _Empty, target_id: str | None) -> None:
    """Of those who were refused from memory, too."""
    async with store.transaction():
        await _write_down(store, by, empty.limit, empty.key, 1 + store.throttle.counted(empty.key), target_id)


async def _write_down(store: Store, by: By, limit: Limit, key: str, more: int, target_id: str | None) -> None:
    """A row of the trail for the first refusal, the tenth, the hundredth: it tells of a flood without being one."""
    bucket: Bucket | None = await store.one(REFUSE(key=key, more=more))
    if bucket is not None and len(str(bucket.refused)) > len(str(bucket.refused - more or "")):
        logger.warning("limit %s: %d refused (RATE_LIMITS=%s)", limit.name, bucket.refused, store.throttle.mode)
        detail: dict[str, str | int] = {"limit": limit.name, "times": bucket.refused}
        await audit.record(store, "limit.reached", by, detail, target_id=target_id, outcome="refused")
