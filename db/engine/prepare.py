"""Contains the preparation of the queries of `databases` for one dialect."""

from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.util import LRUCache

from db.engine.plan import Call, Plan
from db.engine.statement import Bound

Query = ClauseElement | Bound


class Preparer:
    """Caches the plans of ordinary clauses by SQLAlchemy's cache key.

    A Statement caches its own plans.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._plans: LRUCache[object, Plan] = LRUCache(500)

    def prepare(self, query: Query) -> tuple[Plan, Call]:
        if isinstance(query, Bound):
            plan = query.statement.plan(self._dialect)
            return plan, plan.call(query.values)
        key = query._generate_cache_key()
        if key is None:
            plan = Plan(query, self._dialect)
        elif (plan := self._plans.get(key.key)) is None:  # type: ignore[assignment]
            plan = self._plans[key.key] = Plan(query, self._dialect, key)
        return plan, plan.call_clause(key)
