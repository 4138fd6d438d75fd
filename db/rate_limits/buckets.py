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
from db.rate_limits.limits import Limit
from db.store import Store, pick
from db.tables import buckets

# The back-off after each further attempt, in seconds.
RESTS: Final = (30, 60, 120, 240, 480, 960, 1920, 3600)
# NIST SP 800-63B-4, section 3.2.2; the bucket is then blocked until its row expires
MOST_IN_A_ROW: Final = 100
DIGEST_CHARS: Final = 32  # of an HMAC in hex
# The largest expected difference of two clocks, or delay of a statement that waits for a row lock.
APART: Final = 60.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket from which a token was taken.

    Times are in seconds since 1970. `taken` counts consecutive attempts; `refused` counts refusals
    since the bucket was last full.
    """

    full_at: float
    rests_until: float
    kept_until: float
    taken: int
    refused: int

    def opens_at(self, limit: Limit) -> float:
        """Returns when the next token will be available."""
        if limit.patience and self.taken >= MOST_IN_A_ROW:
            return self.kept_until
        return max(self.rests_until, self.full_at + limit.each - limit.seconds)


_now = bindparam("now", type_=Double)
_forgotten = buckets.c.kept_until <= _now


def taking(now: float, *takes: tuple[Limit, str]) -> Bound[str]:
    """Builds the statement that takes a token from each bucket that has one.

    It returns the keys of these buckets. `charges` are limits and keys, without repeated keys.
    `now` is in seconds since 1970.
    """
    keys = {f"key_{n}": key for n, (_, key) in enumerate(takes)}
    return _take(tuple(limit for limit, _ in takes))(now=now, **keys)


@lru_cache(64)
def _take(limits: tuple[Limit, ...]) -> Statement[str]:
    """Builds one upsert for all buckets of these limits.

    It locks the rows in this order, so that every caller must name a client's buckets in the same
    order.
    """
    keys = _keys(limits)
    upsert = insert(buckets).values(
        [_new_row(key, limit) for key, limit in zip(keys, limits, strict=True)]
    )
    each, span = (
        _of_limit(upsert.excluded.key, keys, limits, value) for value in (_each, _seconds)
    )
    kept, patience = (
        _of_limit(upsert.excluded.key, keys, limits, value) for value in (_kept, _patience)
    )
    # A value this far ahead means that the clock has fallen back. It is ignored, so that no client
    # waits until the clock has caught up.
    impossible = buckets.c.full_at > _now + span + APART
    debt = case(
        (or_(_forgotten, impossible, buckets.c.full_at <= _now), _now), else_=buckets.c.full_at
    )
    is_open = and_(
        or_(buckets.c.rests_until <= _now, buckets.c.rests_until > _now + RESTS[-1] + APART),
        or_(patience == 0, buckets.c.taken < MOST_IN_A_ROW),
        debt + each <= _now + span,
    )
    upsert = upsert.on_conflict_do_update(
        index_elements=[buckets.c.key],
        set_={
            "full_at": debt + each,
            "rests_until": _rest(patience) if any(limit.patience for limit in limits) else 0.0,
            "kept_until": case((patience > 0, _now + kept), else_=debt + each),
            "taken": case((_forgotten, 1), else_=buckets.c.taken + 1),
            "refused": case((debt == _now, 0), else_=buckets.c.refused),
        },
        where=or_(_forgotten, is_open),
    )
    return Statement(upsert.returning(buckets.c.key).execution_options(into=str))


def giving_back(now: float, *takes: tuple[Limit, str], succeeded: bool = False) -> Bound[Any]:
    """Builds the statement that refunds the token that an attempt has taken from each bucket, and
    ends a back-off that it started.

    Earlier attempts stay counted. If the attempt has `succeeded`, it resets the consecutive
    attempts of limits with a back-off.
    """
    keys = {f"key_{n}": key for n, (_, key) in enumerate(takes)}
    return _give_back(tuple(limit for limit, _ in takes), succeeded)(now=now, **keys)


@lru_cache(64)
def _give_back(limits: tuple[Limit, ...], succeeded: bool) -> Statement[Any]:
    """Builds one upsert, since an UPDATE of several rows may lock them in another order than
    `_take_statement`, which could deadlock.

    If a row was deleted in the meantime, the upsert inserts a full bucket, which the next pruning
    deletes.
    """
    keys = _keys(limits)
    full = {"full_at": _now, "rests_until": 0.0, "kept_until": _now, "taken": 0, "refused": 0}
    upsert = insert(buckets).values([{"key": key, **full} for key in keys])
    each, patience = (
        _of_limit(upsert.excluded.key, keys, limits, value) for value in (_each, _patience)
    )
    others = case((buckets.c.taken > 0, buckets.c.taken - 1), else_=0)
    upsert = upsert.on_conflict_do_update(
        index_elements=[buckets.c.key],
        set_={
            "full_at": buckets.c.full_at - each,
            # The attempt took a token, so the bucket was not blocked before it.
            "rests_until": 0.0,
            "taken": case((patience > 0, 0), else_=others) if succeeded else others,
        },
    )
    return Statement(upsert)


def _keys(limits: tuple[Limit, ...]) -> list[BindParameter[str]]:
    return [bindparam(f"key_{n}") for n in range(len(limits))]


def _of_limit(
    row_key: ColumnElement[str],
    keys: list[BindParameter[str]],
    limits: tuple[Limit, ...],
    value: Callable[[Limit], float],
) -> ColumnElement[Any]:
    """Returns the value of the limit to which the row with this key belongs."""
    values: list[ColumnElement[Any]] = [literal_column(str(value(limit))) for limit in limits]
    if len(set(map(str, values))) == 1:
        return values[0]
    return case(*((row_key == key, each) for key, each in zip(keys, values, strict=True)))


_each, _seconds, _patience = attrgetter("each"), attrgetter("seconds"), attrgetter("patience")


def _new_row(key: BindParameter[str], limit: Limit) -> dict[str, Any]:
    """Returns the values of a bucket from which one token was taken."""
    full_at, kept_until = _now + limit.each, _now + _kept(limit)
    return {
        "key": key,
        "full_at": full_at,
        "rests_until": 0.0,
        "kept_until": kept_until,
        "taken": 1,
        "refused": 0,
    }


def _rest(patience: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns until when the bucket is blocked; the back-off grows with each attempt above the
    limit's `backoff_after`.
    """
    past = buckets.c.taken + 1 - patience
    return case(
        (or_(_forgotten, patience == 0, past < 0), 0.0),
        *((past == n, _now + float(rest)) for n, rest in enumerate(RESTS[:-1])),
        else_=_now + float(RESTS[-1]),
    )


def _kept(limit: Limit) -> float:
    """Returns the seconds for which a row is kept after a token was taken."""
    return limit.memory if limit.patience else limit.each


CLEAR = Statement(  # the bucket, and those of the same subject for each client
    delete(buckets).where(
        or_(
            buckets.c.key == bindparam("key"),
            # Keys have equal length and use hex digits, so BETWEEN works in any collation.
            buckets.c.key.between(bindparam("first"), bindparam("last")),
        )
    )
)
LOOK = Statement(pick(Bucket, buckets).where(buckets.c.key == bindparam("key")))
REFUSE = Statement(
    update(buckets)
    .where(buckets.c.key == bindparam("key"))
    .values(refused=buckets.c.refused + bindparam("more", type_=Integer))
    .returning(*(buckets.c[field.name] for field in fields(Bucket)))
    .execution_options(into=Bucket)
)


def key_of(store: Store, limit: Limit, whom: str) -> str:
    """Returns the limit's name and a MAC of each line of the subject, so that the table contains
    neither emails nor IP addresses.
    """
    return " ".join(
        [
            limit.name,
            *(store.bucket_keys.make(line.encode())[:DIGEST_CHARS] for line in whom.split("\n")),
        ]
    )


def clearing(key: str) -> Bound[Any]:
    """Builds the statement that deletes the bucket of this key, and every bucket whose subject
    begins with the same line.
    """
    return CLEAR(key=key, first=f"{key} {'0' * DIGEST_CHARS}", last=f"{key} {'f' * DIGEST_CHARS}")


async def take_token(store: Store, limit: Limit, whom: str) -> bool:
    """Takes a token, and returns whether one was available."""
    return bool(
        await store.all(taking(store.now().timestamp(), (limit, key_of(store, limit, whom))))
    )
