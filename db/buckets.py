"""Token buckets as rows: each kept as one number, the moment when it will be full again (GCRA, ITU-T I.371).

Taking a token is one conditional statement: of 200 who come at once to a bucket of ten, ten pass, on both databases.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import Double, Integer, and_, bindparam, case, delete, or_, update

from db.engine.statement import Bound, Statement, insert
from db.limits import Limit
from db.store import pick
from db.tables import buckets

RESTS: Final = (30, 60, 120, 240, 480, 960, 1920, 3600)  # seconds, one after the other, once patience is over
MOST_IN_A_ROW: Final = 100  # NIST SP 800-63B-4, section 3.2.2; then a day's rest
DAY: Final = 86_400.0  # seconds for which tries in a row are remembered
APART: Final = 60.0  # seconds that two clocks, or a statement and its turn on the row, may be apart


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket without a token; moments in seconds since 1970. `refused` counts since it was last full."""

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


_now, _each, _span = (bindparam(name, type_=Double) for name in ("now", "each", "span"))
_kept, _patience = bindparam("kept", type_=Double), bindparam("patience", type_=Integer)
_forgotten = buckets.c.kept_until <= _now
_impossible = buckets.c.full_at > _now + _span + APART  # the clock has fallen back: nobody waits for it to catch up
_debt = case((or_(_forgotten, _impossible, buckets.c.full_at <= _now), _now), else_=buckets.c.full_at)
_past_patience = buckets.c.taken + 1 - _patience
_rest = case(
    (or_(_forgotten, _patience == 0, _past_patience < 0), 0.0),
    *((_past_patience == n, _now + float(rest)) for n, rest in enumerate(RESTS[:-1])),
    else_=_now + float(RESTS[-1]),
)
_is_open = and_(
    or_(buckets.c.rests_until <= _now, buckets.c.rests_until > _now + RESTS[-1] + APART),
    or_(_patience == 0, buckets.c.taken < MOST_IN_A_ROW),
    _debt + _each <= _now + _span,
)
TAKE = Statement(
    insert(buckets)
    .values(key=bindparam("key"), full_at=_now + _each, rests_until=0.0, kept_until=_now + _kept, taken=1, refused=0)
    .on_conflict_do_update(
        index_elements=[buckets.c.key],
        set_={
            "full_at": _debt + _each,
            "rests_until": _rest,
            "kept_until": case((_patience > 0, _now + _kept), else_=_debt + _each),
            "taken": case((_forgotten, 1), else_=buckets.c.taken + 1),
            "refused": case((_debt == _now, 0), else_=buckets.c.refused),
        },
        where=or_(_forgotten, _is_open),
    )
    .returning(buckets.c.key)
)
GIVE_BACK = Statement(
    update(buckets)
    .where(buckets.c.key == bindparam("key"), buckets.c.taken > 0)
    .values(full_at=buckets.c.full_at - _each, taken=buckets.c.taken - 1, rests_until=0.0)  # there was no rest before
)
CLEAR = Statement(delete(buckets).where(buckets.c.key == bindparam("key")))
LOOK = Statement(pick(Bucket, buckets).where(buckets.c.key == bindparam("key")))
REFUSE = Statement(
    update(buckets)
    .where(buckets.c.key == bindparam("key"))
    .values(refused=buckets.c.refused + bindparam("more", type_=Integer))
    .returning(*(buckets.c[field.name] for field in fields(Bucket)))
    .execution_options(into=Bucket)
)


def taking(limit: Limit, key: str, now: float) -> Bound[Any]:
    """The key, where there was a token and it is taken; nothing where there was none."""
    kept = DAY if limit.patience else limit.each
    return TAKE(key=key, now=now, each=limit.each, span=limit.seconds, kept=kept, patience=limit.patience)
