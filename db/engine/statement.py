"""Contains statements that are compiled once and then called with their values."""

from collections.abc import Callable, Mapping
from typing import Any, Generic

from sqlalchemy import ColumnElement, Insert, Table, bindparam, cast, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from typing_extensions import TypeVar

from db.engine.plan import Plan

T = TypeVar("T", default=Any)

# Both dialects compile SQLite's ON CONFLICT. PostgreSQL's insert would load five drivers at each
# start.
insert = sqlite.insert


class Conflict(Exception):
    """Raised if a UNIQUE, foreign key, NOT NULL or CHECK constraint is violated.

    The driver's error is the cause.
    """


class Statement(Generic[T]):
    """A module constant, such as `LIVE = Statement(select(…).where(… == bindparam("token")))`.

    `database.fetch_one(LIVE(token=…))` executes it. `into` is the clause's execution option of that
    name, which creates a T from the columns in order.
    """

    def __init__(self, clause: ClauseElement) -> None:
        self.clause = clause
        self.into: Callable[..., T] | None = clause.get_execution_options().get("into")  # type: ignore[attr-defined]
        self._plans: dict[str, Plan] = {}

    def __call__(self, /, **values: Any) -> "Bound[T]":
        return Bound(self, values)

    def plan(self, dialect: Dialect) -> Plan:
        """Returns the plan, which is compiled once per dialect."""
        plan = self._plans.get(dialect.name)
        if plan is None:
            plan = self._plans[dialect.name] = Plan(without_implied_returning(self.clause), dialect)
        return plan


class Bound(Generic[T]):
    """A statement and its values. `databases` passes it to the back end unchanged."""

    __slots__ = ("statement", "values")

    def __init__(self, statement: Statement[T], values: Mapping[str, Any]) -> None:
        self.statement = statement
        self.values = values


def insert_if(table: Table, binds: Mapping[str, str], *conditions: ColumnElement[bool]) -> Any:
    """Returns an INSERT of one row, which inserts nothing unless all conditions are true.

    `binds` maps the key of each column to the name of its bind.
    """
    # PostgreSQL takes a bind in a SELECT list as text, so each one is cast.
    values = [
        cast(bindparam(name, type_=table.c[key].type), table.c[key].type)
        for key, name in binds.items()
    ]
    return insert(table).from_select(list(binds), select(*values).where(*conditions))


def without_implied_returning(clause: ClauseElement) -> ClauseElement:
    """Returns an INSERT without the RETURNING of the primary key that PostgreSQL's dialect adds."""
    return clause.inline() if isinstance(clause, Insert) else clause
