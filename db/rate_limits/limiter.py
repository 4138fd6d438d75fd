"""The rate limiter: takes tokens from buckets that all processes and hosts share, and raises
RateLimited if a bucket is empty.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from math import ceil
from operator import attrgetter

from db.audit import log as audit_log
from db.audit.events import Event
from db.audit.log import Actor
from db.errors import RateLimited, Refused, Unavailable
from db.rate_limits.buckets import (
    COUNT_REFUSALS,
    SELECT_BUCKET,
    Bucket,
    bucket_key,
    build_clear,
    build_refund,
    build_take,
    take_token,
)
from db.rate_limits.limits import RateLimit
from db.rate_limits.recent import REPEAT_SECONDS
from db.store import Store

logger = logging.getLogger("latchkey")

Charge = tuple[RateLimit, str]  # A charge has a limit and its subject.
KeyedCharge = tuple[RateLimit, str]  # A keyed charge has a limit and the key of a bucket.
NEXT_TOKEN_AT = attrgetter("next_token_at")


class _EmptyBucket(Exception):
    """A bucket has no token.

    `is_uncounted` is true if the database reported it and the refusal is not counted yet.
    """

    def __init__(
        self, limit: RateLimit, key: str, next_token_at: float, *, is_uncounted: bool
    ) -> None:
        super().__init__()
        self.limit = limit
        self.key = key
        self.next_token_at = next_token_at
        self.is_uncounted = is_uncounted


async def take_tokens(
    store: Store, actor: Actor, *charges: Charge, target_id: str | None = None
) -> None:
    """Takes a token from each bucket, or from none.

    Records the refusal and raises RateLimited if one is empty. Must run before the protected action
    and outside of a transaction. `target_id` is the account that the action concerns; its user sees
    the refusals of account limits.
    """
    await _take_tokens(store, actor, None, charges, target_id)


async def take_tokens_once(store: Store, actor: Actor, seen: Charge, *charges: Charge) -> None:
    """Takes tokens like `take_tokens`, but takes none if the mark `seen` was set before.

    Raises RateLimited.
    """
    await _take_tokens(store, actor, seen, charges, None)


async def take_token_or_record(store: Store, actor: Actor, limit: RateLimit, subject: str) -> bool:
    """Takes a token and returns whether one was available; records a refusal if not.

    Refuses nothing. Must run inside a transaction.
    """
    if await try_take_token(store, limit, subject):
        return True
    await _record_refusals(store, actor, limit, bucket_key(store, limit, subject), 1, None)
    return False


async def try_take_token(store: Store, limit: RateLimit, subject: str) -> bool:
    """Takes a token and returns whether one was available.

    Neither refuses nor records anything. Must run inside a transaction.
    """
    return store.limiter.mode == "off" or await take_token(store, limit, subject)


async def record_within_limit(
    store: Store,
    actor: Actor,
    event: Event,
    limit: RateLimit,
    subject: str,
    detail: Mapping[str, str | int] | None = None,
) -> None:
    """Writes an audit entry about a refusal if the limit has a token for it, so that a flood writes
    no entries.
    """
    key = bucket_key(store, limit, subject)
    now = store.now().timestamp()
    if store.limiter.next_token_at(key, now) is not None:
        return
    async with store.transaction():
        if await try_take_token(store, limit, subject):
            await audit_log.record(store, event, actor, detail, outcome="refused")
        else:
            store.limiter.cache_refusal(key, now, now + REPEAT_SECONDS)


@asynccontextmanager
async def refund_if_overloaded(store: Store, *charges: Charge) -> AsyncIterator[None]:
    """Refunds the tokens if the attempt inside raises Unavailable, because an attempt that could
    not run does not count. Neither does one that a hook refused, which was not a guess.

    Raises the error again.
    """
    try:
        yield
    except (Refused, Unavailable):
        with suppress(Unavailable):
            await refund(store, *charges)
        raise


async def refund(store: Store, *charges: Charge, succeeded: bool = False) -> None:
    """Refunds the tokens of an attempt that was not a guess.

    Earlier attempts stay counted, and a back-off that this attempt started ends. `succeeded` also
    resets the consecutive attempts. It does not fill the bucket, since another client that shares
    the bucket could then see when a user logs in.
    """
    if store.limiter.mode != "off":
        keyed = _with_bucket_keys(store, charges)
        await store.count(build_refund(store.now().timestamp(), *keyed, succeeded=succeeded))


async def reset_buckets(store: Store, *charges: Charge) -> None:
    """Fills buckets.

    The account alone as subject of a limit per account and client fills the buckets of all clients.
    """
    if store.limiter.mode != "off":
        for limit, subject in charges:
            key = bucket_key(store, limit, subject)
            store.limiter.remove(key)
            await store.count(build_clear(key))


async def count_consecutive_attempts(store: Store, limit: RateLimit, subject: str) -> int:
    """Returns how many attempts have taken a token since the last success; 0 if limits are not
    enforced.
    """
    if store.limiter.mode != "enforce":
        return 0
    bucket: Bucket | None = await store.one(SELECT_BUCKET(key=bucket_key(store, limit, subject)))
    return bucket.taken if bucket else 0


async def _take_tokens(
    store: Store,
    actor: Actor,
    seen: Charge | None,
    charges: tuple[Charge, ...],
    target_id: str | None,
) -> None:
    if store.limiter.mode == "off" or (seen and await _is_seen(store, *seen)):
        return
    keyed = _with_bucket_keys(store, charges)
    try:
        _require_no_recent_refusal(store, keyed)
        await _take_all_or_none(store, keyed, seen)
    except _EmptyBucket as empty:
        if empty.is_uncounted:
            await _record_uncounted_refusals(
                store, actor, empty, target_id if empty.limit.is_account_limit else None
            )
        if store.limiter.mode == "observe":
            return
        if store.limiter.is_flooded(empty.key):
            # The random delay spreads clients that would all repeat their request at once.
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311  (no secret)  # nosec B311
        raise RateLimited(
            max(1, ceil(empty.next_token_at - store.now().timestamp())),
            is_account_limit=empty.limit.is_account_limit,
        ) from None


def _with_bucket_keys(store: Store, charges: Iterable[Charge]) -> list[KeyedCharge]:
    """Returns the limits as the settings have them, with the keys of their buckets."""
    return [
        (store.limiter.effective(limit), bucket_key(store, limit, subject))
        for limit, subject in charges
    ]


async def _is_seen(store: Store, limit: RateLimit, subject: str) -> bool:
    """Returns whether the mark is set.

    Writes nothing, so that a client that repeats a look-up does not block the writer; a repeated
    call needs no query.
    """
    limit = store.limiter.effective(limit)
    key = bucket_key(store, limit, subject)
    now = store.now().timestamp()
    if store.limiter.is_seen(key, now):
        return True
    bucket: Bucket | None = await store.one(SELECT_BUCKET(key=key))
    if bucket is None or bucket.next_token_at(limit) <= now:
        return False
    store.limiter.cache_mark(key, bucket.next_token_at(limit))
    return True


async def _take_all_or_none(store: Store, keyed: list[KeyedCharge], seen: Charge | None) -> None:
    """Takes a token from every bucket, or from none.

    Raises _EmptyBucket for the empty bucket whose next token comes last. One statement takes the
    tokens; if a bucket is empty, a second one refunds the others. A transaction would cost two more
    round trips for each attempt. `seen` is only marked, so it does not matter whether it had a
    token.
    """
    now = store.now().timestamp()
    mark = _with_bucket_keys(store, [seen]) if seen else []
    taken = await store.all(build_take(now, *keyed, *mark))
    empty = [(limit, key) for limit, key in keyed if key not in taken]
    if not empty:
        for limit, key in mark:
            store.limiter.cache_mark(key, now + limit.seconds)
        return
    if to_return := [(limit, key) for limit, key in (*keyed, *mark) if key in taken]:
        await store.count(build_refund(now, *to_return))
    raise max(
        [await _read_empty_bucket(store, limit, key) for limit, key in empty], key=NEXT_TOKEN_AT
    )


async def _read_empty_bucket(store: Store, limit: RateLimit, key: str) -> _EmptyBucket:
    """Reads when the next token of an empty bucket is available, and caches the refusal for one
    second.
    """
    bucket: Bucket | None = await store.one(SELECT_BUCKET(key=key))
    now = store.now().timestamp()
    next_token_at = bucket.next_token_at(limit) if bucket else now
    store.limiter.cache_refusal(key, now, next_token_at)
    return _EmptyBucket(limit, key, next_token_at, is_uncounted=True)


def _require_no_recent_refusal(store: Store, keyed: list[KeyedCharge]) -> None:
    now = store.now().timestamp()
    found = [(limit, key, store.limiter.next_token_at(key, now)) for limit, key in keyed]
    if empty := [
        _EmptyBucket(limit, key, next_token_at, is_uncounted=False)
        for limit, key, next_token_at in found
        if next_token_at
    ]:
        raise max(empty, key=NEXT_TOKEN_AT)


async def _record_uncounted_refusals(
    store: Store, actor: Actor, empty: _EmptyBucket, target_id: str | None
) -> None:
    """Records the refusal, and the refusals from memory that are not counted yet."""
    async with store.transaction():
        await _record_refusals(
            store,
            actor,
            empty.limit,
            empty.key,
            1 + store.limiter.pop_uncounted(empty.key),
            target_id,
        )


async def _record_refusals(
    store: Store, actor: Actor, limit: RateLimit, key: str, more: int, target_id: str | None
) -> None:
    """Counts refusals, and writes an audit entry for the first, the tenth, the hundredth and so on.

    The log therefore reports a flood without being flooded.
    """
    bucket: Bucket | None = await store.one(COUNT_REFUSALS(key=key, more=more))
    if bucket is not None and len(str(bucket.refused)) > len(str(bucket.refused - more or "")):
        logger.warning(
            "limit %s: %d refused (RATE_LIMITS=%s)", limit.name, bucket.refused, store.limiter.mode
        )
        detail: dict[str, str | int] = {"limit": limit.name, "times": bucket.refused}
        await audit_log.record(
            store, "limit.reached", actor, detail, target_id=target_id, outcome="refused"
        )
