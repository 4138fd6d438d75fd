"""The search of administrators in the audit log: its filters, and the statements for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    or_,
    select,
)

from db.engine.statement import Statement
from db.store import Store
from db.tables import Instant, audit, users
from db.user_search import matches, search_pattern
from db.viewer import Admin

MAX_NUMBER: Final = 2**31 - 1  # of an entry: the largest INTEGER of PostgreSQL
FIRST_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)
# Entries are in the order of their numbers. Hosts whose clocks differ write times that are not.
MAX_CLOCK_DIFFERENCE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """The filters of a search. An empty one selects all entries.

    `q` is part of a name, an email or an IP address. `event` and `outcome` are exact values.
    `person` is the id of the user who acts in the entry or whom it concerns. `first_day` and
    `last_day` are days in UTC, inclusive.
    """

    q: str = ""
    event: str = ""
    outcome: str = ""
    person: str = ""
    first_day: date | None = None
    last_day: date | None = None

    @property
    def used(self) -> frozenset[str]:
        """Returns the names of the conditions that the search needs."""
        names = [name for name in ("q", "event", "outcome", "person") if getattr(self, name)]
        return frozenset([*names, "days"] if self.first_day or self.last_day else names)


NO_FILTER: Final = EntryFilter()


@dataclass(frozen=True, slots=True)
class NumberRange:
    """The number of an entry before a period and of one after it; None if there is none."""

    before: int | None
    after: int | None


_pattern: Any = bindparam("pattern", type_=Text)
_since, _until = bindparam("since", type_=Instant), bindparam("until", type_=Instant)
_found = select(users.c.id).where(matches(_pattern))
# SQLite has no statistics. For a condition on one of these columns it would use an index that does
# not have the order of the numbers, and sort most of the log. It uses none for an expression.
_event, _outcome = audit.c.event.concat(""), audit.c.outcome.concat("")
_is_in_time = case((or_(audit.c.at < _since, audit.c.at >= _until), 0), else_=1) == 1
CONDITIONS: Final[Mapping[str, Any]] = {
    "q": or_(
        audit.c.ip_address.like(_pattern, escape="\\"),
        audit.c.actor_id.in_(_found),
        audit.c.target_id.in_(_found),
    ),
    "event": _event == bindparam("event", type_=Text),
    "outcome": _outcome == bindparam("outcome", type_=Text),
    # The numbers make the search start and end near the period, and the times are exact.
    "days": and_(
        audit.c.number >= bindparam("first", type_=Integer),
        audit.c.number <= bindparam("last", type_=Integer),
        _is_in_time,
    ),
}
INDEXED_EVENT: Final = audit.c.event == bindparam("event", type_=Text)
NUMBER_RANGE = Statement(
    select(
        select(audit.c.number)
        .where(audit.c.at < _since)
        .order_by(audit.c.at.desc(), audit.c.number.desc())
        .limit(1)
        .label("before"),
        select(audit.c.number)
        .where(audit.c.at >= _until)
        .order_by(audit.c.at, audit.c.number)
        .limit(1)
        .label("after"),
    ).execution_options(into=NumberRange)
)


@cache
def select_numbers(used: frozenset[str], max_entries: int) -> Select[Any]:
    """Selects the numbers of the newest entries before `before`, newest first: `max_entries` after
    the first `offset`. With a person, `max_needed` is the sum of both.

    Each set of conditions has a statement of its own, because an index serves `event = :event`, but
    not `:event = '' OR event = :event`. `max_entries` is no bind, because the planner of PostgreSQL
    needs its value.
    """
    conditions = [condition for name, condition in CONDITIONS.items() if name in used]
    conditions.append(audit.c.number < bindparam("before", type_=Integer))
    if "person" in used:
        # Each of the two indexes yields the newest entries of the user without reading the others.
        number = _of_person(audit.c.actor_id, conditions).union(
            _of_person(audit.c.target_id, conditions)
        )
        column = number.subquery().c.number
        newest = select(column.label("number")).order_by(column.desc())
    elif "event" in used:
        newest = _order([*conditions, INDEXED_EVENT])
    else:
        newest = _order(conditions)
    return newest.limit(max_entries).offset(bindparam("offset", type_=Integer))


def _of_person(column: Any, conditions: list[Any]) -> Select[Any]:
    newest = _order([column == bindparam("person"), *conditions])
    needed = newest.limit(bindparam("max_needed", type_=Integer)).subquery()
    return select(needed.c.number)


def _order(conditions: list[Any]) -> Select[Any]:
    return select(audit.c.number).where(*conditions).order_by(audit.c.number.desc())


def bind_range(
    filters: EntryFilter, max_entries: int, *, before: int = MAX_NUMBER, offset: int = 0
) -> dict[str, int]:
    """Returns the values that limit the numbers."""
    values = {"before": before, "offset": offset}
    return values | {"max_needed": offset + max_entries} if filters.person else values


async def bind_filter(admin: Admin, filters: EntryFilter) -> dict[str, Any]:
    """Returns the values of the conditions."""
    values: dict[str, Any] = {
        name: getattr(filters, name)
        for name in ("event", "outcome", "person")
        if name in filters.used
    }
    if filters.q:
        values["pattern"] = search_pattern(filters.q)
    if "days" in filters.used:
        values |= await _bind_days(admin.store, filters.first_day, filters.last_day)
    return values


async def _bind_days(
    store: Store, first_day: date | None, last_day: date | None
) -> dict[str, object]:
    since = _start_of(first_day) if first_day else FIRST_TIME
    until = _start_of(last_day) + timedelta(days=1) if last_day else LAST_TIME
    found = await store.one(
        NUMBER_RANGE(since=since - MAX_CLOCK_DIFFERENCE, until=until + MAX_CLOCK_DIFFERENCE)
    )
    first, last = (found.before, found.after) if found else (None, None)
    return {
        "since": since,
        "until": until,
        "first": 0 if first is None else first,
        "last": MAX_NUMBER if last is None else last,
    }


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
