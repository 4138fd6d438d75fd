"""Statements that are built once, as constants of their module, and called with their values."""

from collections.abc import Callable, Mapping
from typing import Any, Generic

from sqlalchemy import Insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from typing_extensions import TypeVar

from db.engine.plan import Plan

T = TypeVar("T", default=Any)

# both dialects compile its ON CONFLICT; PostgreSQL's would load five drivers at each start
insert = sqlite.insert


class Conflict(Exception):
    """A UNIQUE, foreign key, NOT NULL or CHECK constraint said no.

    The driver's error is the cause.
    """


class Statement(Generic[T]):
    """`LIVE = Statement(select(…).where(… == bindparam("token")))`, then
    `database.fetch_one(LIVE(token=…))`.

    `into` makes a T of the columns in order; it is the clause's execution option of that name.
    """

    def __init__(self, clause: ClauseElement) -> None:
        self.clause = clause
        self.into: Callable[..., T] | None = clause.get_execution_options().get("into")  # type: ignore[attr-defined]
        self._plans: dict[str, Plan] = {}

    def __call__(self, /, **values: Any) -> "Bound[T]":
        return Bound(self, values)

    def plan(self, dialect: Dialect) -> Plan:
        """Made once per dialect."""
        plan = self._plans.get(dialect.name)
        if plan is None:
            plan = self._plans[dialect.name] = Plan(without_implied_returning(self.clause), dialect)
        return plan


class Bound(Generic[T]):
    """A statement and its values. `databases` hands it through to the back end as it is."""

    __slots__ = ("statement", "values")

    def __init__(self, statement: Statement[T], values: Mapping[str, Any]) -> None:
        self.statement = statement
        self.values = values


def without_implied_returning(clause: ClauseElement) -> ClauseElement:
    """PostgreSQL's INSERT would return the primary key unasked."""
    return clause.inline() if isinstance(clause, Insert) else clause
