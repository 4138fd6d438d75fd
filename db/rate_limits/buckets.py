"""Token buckets as database rows.

A row stores one number, the time when the bucket will be full again (GCRA, ITU-T I.371). One
conditional statement takes a token, so that 200 simultaneous requests for a bucket of ten take
exactly ten tokens, on SQLite and on PostgreSQL.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Double,
    Integer,
    and_,
    bindparam,
    case,
    delete,
    literal_column,
    or_,
    update,
)

from db.engine.statement import Bound, Statement, insert
from db.rate_limits.limits import RateLimit
from db.store import Store, pick
from db.tables import buckets

# The back-off after each further attempt, in seconds.
BACKOFF_SECONDS: Final = (30, 60, 120, 240, 480, 960, 1920, 3600)
# The bucket is then blocked until its row expires (NIST SP 800-63B-4, section 3.2.2).
MAX_CONSECUTIVE_ATTEMPTS: Final = 100
MAC_CHARS: Final = 32  # The HMAC is in hex.
# The clocks of two hosts may differ by this, or a statement may wait for its row lock as long.
CLOCK_TOLERANCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket from which a token was taken.

    Times are in seconds since 1970. `taken` counts consecutive attempts; `refused` counts refusals
    since the bucket was last full.
    """

    full_at: float
    blocked_until: float
    kept_until: float
    taken: int
    refused: int

    def next_token_at(self, limit: RateLimit) -> float:
        """Returns when the next token will be available."""
        if limit.backoff_after and self.taken >= MAX_CONSECUTIVE_ATTEMPTS:
            return self.kept_until
        return max(self.blocked_until, self.full_at + limit.seconds_per_token - limit.seconds)


_now = bindparam("now", type_=Double)
_is_expired = buckets.c.kept_until <= _now


def build_take(now: float, *charges: tuple[RateLimit, str]) -> Bound[str]:
    """Builds the statement that takes a token from each bucket that has one.

    It returns the keys of these buckets. `charges` are limits and keys, without repeated keys.
    `now` is in seconds since 1970.
    """
    keys = {f"key_{n}": key for n, (_, key) in enumerate(charges)}
    return _take_statement(tuple(limit for limit, _ in charges))(now=now, **keys)


@lru_cache(64)
def _take_statement(limits: tuple[RateLimit, ...]) -> Statement[str]:
    """Builds one upsert for all buckets of these limits.

    It locks the rows in this order, so that every caller must name a client's buckets in the same
    order.
    """
    keys = _keys(limits)
    upsert = insert(buckets).values(
        [_new_row(key, limit) for key, limit in zip(keys, limits, strict=True)]
    )
    each, span = (
        _value_of_limit(upsert.excluded.key, keys, limits, value) for value in (_each, _seconds)
    )
    kept, backoff_after = (
        _value_of_limit(upsert.excluded.key, keys, limits, value)
        for value in (_kept_seconds, _backoff_after)
    )
    # A value this far ahead means that the clock was set back. It is ignored, so that no client
    # waits until the clock has caught up.
    is_too_far_ahead = buckets.c.full_at > _now + span + CLOCK_TOLERANCE_SECONDS
    current_full_at = case(
        (or_(_is_expired, is_too_far_ahead, buckets.c.full_at <= _now), _now),
        else_=buckets.c.full_at,
    )
    is_open = and_(
        or_(
            buckets.c.blocked_until <= _now,
            buckets.c.blocked_until > _now + BACKOFF_SECONDS[-1] + CLOCK_TOLERANCE_SECONDS,
        ),
        or_(backoff_after == 0, buckets.c.taken < MAX_CONSECUTIVE_ATTEMPTS),
        current_full_at + each <= _now + span,
    )
    upsert = upsert.on_conflict_do_update(
        index_elements=[buckets.c.key],
        set_={
            "full_at": current_full_at + each,
            "blocked_until": _blocked_until(backoff_after)
            if any(limit.backoff_after for limit in limits)
            else 0.0,
            "kept_until": case((backoff_after > 0, _now + kept), else_=current_full_at + each),
            "taken": case((_is_expired, 1), else_=buckets.c.taken + 1),
            "refused": case((current_full_at == _now, 0), else_=buckets.c.refused),
        },
        where=or_(_is_expired, is_open),
    )
    return Statement(upsert.returning(buckets.c.key).execution_options(into=str))


def build_refund(
    now: float, *charges: tuple[RateLimit, str], succeeded: bool = False
) -> Bound[Any]:
    """Builds the statement that refunds the token that an attempt has taken from each bucket, and
    ends a back-off that it started.

    Earlier attempts stay counted. If the attempt has `succeeded`, it resets the consecutive
    attempts of limits with a back-off.
    """
    keys = {f"key_{n}": key for n, (_, key) in enumerate(charges)}
    return _refund_statement(tuple(limit for limit, _ in charges), succeeded)(now=now, **keys)


@lru_cache(64)
def _refund_statement(limits: tuple[RateLimit, ...], succeeded: bool) -> Statement[Any]:
    """Builds one upsert, since an UPDATE of several rows may lock them in another order than
    `_take_statement`, which could deadlock.

    If a row was deleted in the meantime, the upsert inserts a full bucket, which the next pruning
    deletes.
    """
    keys = _keys(limits)
    full = {"full_at": _now, "blocked_until": 0.0, "kept_until": _now, "taken": 0, "refused": 0}
    upsert = insert(buckets).values([{"key": key, **full} for key in keys])
    each, backoff_after = (
        _value_of_limit(upsert.excluded.key, keys, limits, value)
        for value in (_each, _backoff_after)
    )
    others = case((buckets.c.taken > 0, buckets.c.taken - 1), else_=0)
    upsert = upsert.on_conflict_do_update(
        index_elements=[buckets.c.key],
        set_={
            "full_at": buckets.c.full_at - each,
            # The attempt took a token, so the bucket was not blocked before it.
            "blocked_until": 0.0,
            "taken": case((backoff_after > 0, 0), else_=others) if succeeded else others,
        },
    )
    return Statement(upsert)


def _keys(limits: tuple[RateLimit, ...]) -> list[BindParameter[str]]:
    return [bindparam(f"key_{n}") for n in range(len(limits))]


def _value_of_limit(
    row_key: ColumnElement[str],
    keys: list[BindParameter[str]],
    limits: tuple[RateLimit, ...],
    value: Callable[[RateLimit], float],
) -> ColumnElement[Any]:
    """Returns the value of the limit to which the row with this key belongs."""
    values: list[ColumnElement[Any]] = [literal_column(str(value(limit))) for limit in limits]
    if len(set(map(str, values))) == 1:
        return values[0]
    return case(*((row_key == key, each) for key, each in zip(keys, values, strict=True)))


_each = attrgetter("seconds_per_token")
_seconds = attrgetter("seconds")
_backoff_after = attrgetter("backoff_after")


def _new_row(key: BindParameter[str], limit: RateLimit) -> dict[str, Any]:
    """Returns the values of a bucket from which one token was taken."""
    full_at = _now + limit.seconds_per_token
    kept_until = _now + _kept_seconds(limit)
    return {
        "key": key,
        "full_at": full_at,
        "blocked_until": 0.0,
        "kept_until": kept_until,
        "taken": 1,
        "refused": 0,
    }


def _blocked_until(backoff_after: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns until when the bucket is blocked; the back-off grows with each attempt above the
    limit's `backoff_after`.
    """
    past = buckets.c.taken + 1 - backoff_after
    return case(
        (or_(_is_expired, backoff_after == 0, past < 0), 0.0),
        *((past == n, _now + float(rest)) for n, rest in enumerate(BACKOFF_SECONDS[:-1])),
        else_=_now + float(BACKOFF_SECONDS[-1]),
    )


def _kept_seconds(limit: RateLimit) -> float:
    """Returns the seconds for which a row is kept after a token was taken."""
    return limit.retention_seconds if limit.backoff_after else limit.seconds_per_token


# This deletes the bucket, and those of the same subject for each client.
DELETE_BUCKETS = Statement(
    delete(buckets).where(
        or_(
            buckets.c.key == bindparam("key"),
            # Keys have equal length and use hex digits, so BETWEEN works in any collation.
            buckets.c.key.between(bindparam("first"), bindparam("last")),
        )
    )
)
SELECT_BUCKET = Statement(pick(Bucket, buckets).where(buckets.c.key == bindparam("key")))
COUNT_REFUSALS = Statement(
    update(buckets)
    .where(buckets.c.key == bindparam("key"))
    .values(refused=buckets.c.refused + bindparam("more", type_=Integer))
    .returning(*(buckets.c[field.name] for field in fields(Bucket)))
    .execution_options(into=Bucket)
)


def bucket_key(store: Store, limit: RateLimit, subject: str) -> str:
    """Returns the limit's name and a MAC of each line of the subject, so that the table contains
    neither emails nor IP addresses.
    """
    return " ".join(
        [
            limit.name,
            *(store.bucket_keys.sign(line.encode())[:MAC_CHARS] for line in subject.split("\n")),
        ]
    )


def build_clear(key: str) -> Bound[Any]:
    """Builds the statement that deletes the bucket of this key, and every bucket whose subject
    begins with the same line.
    """
    return DELETE_BUCKETS(
        key=key, first=f"{key} {'0' * MAC_CHARS}", last=f"{key} {'f' * MAC_CHARS}"
    )


async def take_token(store: Store, limit: RateLimit, subject: str) -> bool:
    """Takes a token, and returns whether one was available."""
    limit = store.limiter.effective(limit)
    return bool(
        await store.all(
            build_take(store.now().timestamp(), (limit, bucket_key(store, limit, subject)))
        )
    )
