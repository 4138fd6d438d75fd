"""The rate limiter: takes tokens from buckets that all processes and hosts share, and raises
RateLimited if a bucket is empty.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import ceil
from operator import attrgetter

from db.audit import log as audit
from db.audit.events import Event
from db.audit.log import By
from db.errors import Busy, TooMany
from db.rate_limits.buckets import LOOK, REFUSE, Bucket, clearing, giving_back, take_token, taking
from db.rate_limits.buckets import key_of as _key
from db.rate_limits.limits import Limit
from db.rate_limits.recent import SHORTLY
from db.store import Store

logger = logging.getLogger("latchkey")

Take = tuple[Limit, str]  # a limit and its subject
Keyed = tuple[Limit, str]  # a limit and the key of a bucket
OPENS = attrgetter("opens")


class _Empty(Exception):
    """A bucket has no token.

    `is_uncounted` is true if the database reported it and the refusal is not counted yet.
    """

    def __init__(self, limit: Limit, key: str, opens: float, *, is_news: bool) -> None:
        super().__init__()
        self.limit, self.key, self.opens, self.is_news = limit, key, opens, is_news


async def admit(store: Store, by: By, *takes: Take, target_id: str | None = None) -> None:
    """Takes a token from each bucket, or from none.

    Records the refusal and raises RateLimited if one is empty. Must run before the protected action
    and outside of a transaction. `target_id` is the account that the action concerns; its user sees
    the refusals of account limits.
    """
    await _admit(store, by, None, takes, target_id)


async def admit_once(store: Store, by: By, seen: Take, *takes: Take) -> None:
    """Takes tokens like `take_tokens`, but takes none if the mark `seen` was set before.

    Raises RateLimited.
    """
    await _admit(store, by, seen, takes, None)


async def notice(store: Store, by: By, limit: Limit, whom: str) -> bool:
    """Takes a token and returns whether one was available; records a refusal if not.

    Refuses nothing. Must run inside a transaction.
    """
    if await has_room(store, limit, whom):
        return True
    await _write_down(store, by, limit, _key(store, limit, whom), 1, None)
    return False


async def has_room(store: Store, limit: Limit, whom: str) -> bool:
    """Takes a token and returns whether one was available.

    Neither refuses nor records anything. Must run inside a transaction.
    """
    return store.throttle.mode == "off" or await take_token(store, limit, whom)


async def record_seldom(store: Store, by: By, event: Event, limit: Limit, whom: str) -> None:
    """Writes an audit entry about a refusal if the limit has a token for it, so that a flood writes
    no entries.
    """
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
    """Refunds the tokens if the attempt inside raises Unavailable, because an attempt that could
    not run does not count.

    Raises Unavailable again.
    """
    try:
        yield
    except Busy:
        with suppress(Busy):
            await give_back(store, *takes)
        raise


async def give_back(store: Store, *takes: Take, succeeded: bool = False) -> None:
    """Refunds the tokens of an attempt that was no guess.

    Earlier attempts stay counted, and a back-off that this attempt started ends. `succeeded` also
    resets the consecutive attempts. It does not fill the bucket, since another client that shares
    the bucket could then see when a user logs in.
    """
    if store.throttle.mode != "off":
        keyed = [(limit, _key(store, limit, whom)) for limit, whom in takes]
        await store.count(giving_back(store.now().timestamp(), *keyed, succeeded=succeeded))


async def clear(store: Store, *takes: Take) -> None:
    """Fills buckets.

    The account alone as subject of a limit per account and client fills the buckets of all clients.
    """
    if store.throttle.mode != "off":
        for limit, whom in takes:
            key = _key(store, limit, whom)
            store.throttle.forget(key)
            await store.count(clearing(key))


async def attempts_in_a_row(store: Store, limit: Limit, whom: str) -> int:
    """Returns how many attempts have taken a token since the last success; 0 if limits are not
    enforced.
    """
    if store.throttle.mode != "enforce":
        return 0
    bucket: Bucket | None = await store.one(LOOK(key=_key(store, limit, whom)))
    return bucket.taken if bucket else 0


async def _admit(
    store: Store, by: By, seen: Take | None, takes: tuple[Take, ...], target_id: str | None
) -> None:
    if store.throttle.mode == "off" or (seen and await _is_seen(store, *seen)):
        return
    keyed = [(limit, _key(store, limit, whom)) for limit, whom in takes]
    try:
        _require_no_rest(store, keyed)
        await _take_all(store, keyed, seen)
    except _Empty as empty:
        if empty.is_news:
            await _count(store, by, empty, target_id if empty.limit.of_account else None)
        if store.throttle.mode == "observe":
            return
        if store.throttle.is_flooded(empty.key):
            # The random delay spreads clients that would all repeat their request at once.
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311  # nosec B311
        raise TooMany(max(1, ceil(empty.opens - store.now().timestamp()))) from None


async def _is_seen(store: Store, limit: Limit, whom: str) -> bool:
    """Returns whether the mark is set.

    Writes nothing, so that a client that repeats a look-up does not block the writer; a repeated
    call needs no query.
    """
    key, now = _key(store, limit, whom), store.now().timestamp()
    if store.throttle.is_seen(key, now):
        return True
    bucket: Bucket | None = await store.one(LOOK(key=key))
    if bucket is None or bucket.opens_at(limit) <= now:
        return False
    store.throttle.remember_seen(key, bucket.opens_at(limit))
    return True


async def _take_all(store: Store, keyed: list[Keyed], seen: Take | None) -> None:
    """Takes a token from every bucket, or from none.

    Raises _EmptyBucket for the empty bucket whose next token comes last. One statement takes the
    tokens; if a bucket is empty, a second one refunds the others. A transaction would cost two more
    round trips for each attempt. `seen` is only marked, so it does not matter whether it had a
    token.
    """
    now = store.now().timestamp()
    mark = [(limit, _key(store, limit, whom)) for limit, whom in [seen]] if seen else []
    taken = await store.all(taking(now, *keyed, *mark))
    empty = [(limit, key) for limit, key in keyed if key not in taken]
    if not empty:
        for limit, key in mark:
            store.throttle.remember_seen(key, now + limit.seconds)
        return
    if to_return := [(limit, key) for limit, key in (*keyed, *mark) if key in taken]:
        await store.count(giving_back(now, *to_return))
    raise max([await _found_empty(store, limit, key) for limit, key in empty], key=OPENS)


async def _found_empty(store: Store, limit: Limit, key: str) -> _Empty:
    """Reads when the next token of an empty bucket is available, and remembers the refusal for one
    second.
    """
    bucket: Bucket | None = await store.one(LOOK(key=key))
    now = store.now().timestamp()
    opens = bucket.opens_at(limit) if bucket else now
    store.throttle.remember(key, now, opens)
    return _Empty(limit, key, opens, is_news=True)


def _require_no_rest(store: Store, keyed: list[Keyed]) -> None:
    now = store.now().timestamp()
    found = [(limit, key, store.throttle.opens_at(key, now)) for limit, key in keyed]
    if empty := [_Empty(limit, key, opens, is_news=False) for limit, key, opens in found if opens]:
        raise max(empty, key=OPENS)


async def _count(store: Store, by: By, empty: _Empty, target_id: str | None) -> None:
    """Records the refusal, and the refusals from memory that are not counted yet."""
    async with store.transaction():
        await _write_down(
            store, by, empty.limit, empty.key, 1 + store.throttle.counted(empty.key), target_id
        )


async def _write_down(
    store: Store, by: By, limit: Limit, key: str, more: int, target_id: str | None
) -> None:
    """Counts refusals, and writes an audit entry for the first, the tenth, the hundredth and so on.

    The log therefore reports a flood without being flooded.
    """
    bucket: Bucket | None = await store.one(REFUSE(key=key, more=more))
    if bucket is not None and len(str(bucket.refused)) > len(str(bucket.refused - more or "")):
        logger.warning(
            "limit %s: %d refused (RATE_LIMITS=%s)", limit.name, bucket.refused, store.throttle.mode
        )
        detail: dict[str, str | int] = {"limit": limit.name, "times": bucket.refused}
        await audit.record(
            store, "limit.reached", by, detail, target_id=target_id, outcome="refused"
        )
