"""Token buckets as rows: each kept as one number, the moment when it will be full again (GCRA,
ITU-T I.371).

Taking a token is one conditional statement: of 200 who come at once to a bucket of ten, ten pass,
on both databases.
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

# seconds, one after the other, once patience is over
RESTS: Final = (30, 60, 120, 240, 480, 960, 1920, 3600)
MOST_IN_A_ROW: Final = 100  # NIST SP 800-63B-4, section 3.2.2; then a day's rest
DIGEST_CHARS: Final = 32  # of an HMAC in hex
APART: Final = 60.0  # seconds that two clocks, or a statement and its turn on the row, may be apart


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket without a token; moments in seconds since 1970.

    `refused` counts since it was last full.
    """

    full_at: float
    rests_until: float
    kept_until: float
    taken: int
    refused: int

    def opens_at(self, limit: Limit) -> float:
        """When there will be a token again."""
        if limit.patience and self.taken >= MOST_IN_A_ROW:
            return self.kept_until
        return max(self.rests_until, self.full_at + limit.each - limit.seconds)


_now = bindparam("now", type_=Double)
_forgotten = buckets.c.kept_until <= _now


def taking(now: float, *takes: tuple[Limit, str]) -> Bound[str]:
    """Takes a token from each bucket that has one, and returns the keys of these buckets.

    `takes` are limits and keys, each key once. `now` is in seconds since 1970.
    """
    keys = {f"key_{n}": key for n, (_, key) in enumerate(takes)}
    return _take(tuple(limit for limit, _ in takes))(now=now, **keys)


@lru_cache(64)
def _take(limits: tuple[Limit, ...]) -> Statement[str]:
    """One upsert for all.

    It locks the rows in this order, so every caller names a client's buckets in the same one.
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
    # the clock has fallen back: nobody waits for it to catch up
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
    """Returns the token that an attempt has taken from each bucket, and ends the rest that began
    with it.

    The attempts before it stay counted. If it has `succeeded`, it ends the attempts in a row of a
    limit with patience.
    """
    keys = {f"key_{n}": key for n, (_, key) in enumerate(takes)}
    return _give_back(tuple(limit for limit, _ in takes), succeeded)(now=now, **keys)


@lru_cache(64)
def _give_back(limits: tuple[Limit, ...], succeeded: bool) -> Statement[Any]:
    """One upsert, since an UPDATE of several rows may lock them in another order than `_take`,
    which would deadlock.

    Where a row was deleted since, it inserts one that is full, and is deleted by the next pruning.
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
            "rests_until": 0.0,  # the bucket was open, so there was no rest before
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
    """A bucket from which one token was taken."""
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
    """When the next token may be taken: later after each that was taken past the
    limit's patience.
    """
    past = buckets.c.taken + 1 - patience
    return case(
        (or_(_forgotten, patience == 0, past < 0), 0.0),
        *((past == n, _now + float(rest)) for n, rest in enumerate(RESTS[:-1])),
        else_=_now + float(RESTS[-1]),
    )


def _kept(limit: Limit) -> float:
    """Seconds for which a row is kept after a token was taken."""
    return limit.memory if limit.patience else limit.each


CLEAR = Statement(  # the bucket, and those of each client that are about the same
    delete(buckets).where(
        or_(
            buckets.c.key == bindparam("key"),
            # in any collation: all are alike in shape
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
    """Returns the limit's name and a digest of each line of `whom`, so that the table names no user
    and no client.
    """
    return " ".join(
        [
            limit.name,
            *(store.bucket_keys.make(line.encode())[:DIGEST_CHARS] for line in whom.split("\n")),
        ]
    )


def clearing(key: str) -> Bound[Any]:
    """Deletes the bucket of this key, and every one whose `whom` begins with the same line."""
    return CLEAR(key=key, first=f"{key} {'0' * DIGEST_CHARS}", last=f"{key} {'f' * DIGEST_CHARS}")


async def take_token(store: Store, limit: Limit, whom: str) -> bool:
    """Takes a token, and returns whether there was one."""
    return bool(
        await store.all(taking(store.now().timestamp(), (limit, key_of(store, limit, whom))))
    )
