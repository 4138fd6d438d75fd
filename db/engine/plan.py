"""Contains the compiled form of a clause for one dialect: its SQL text, its arguments and the shape
of its rows.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Insert, SelectBase, TextClause, TextualSelect, UpdateBase
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.cache_key import CacheKey
from sqlalchemy.sql.compiler import ResultColumnsEntry, SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ColumnClause
from sqlalchemy.sql.visitors import iterate

from db.engine.record import Record, record_class

Process = Callable[[Any], Any]
Call = tuple[str, Sequence[Any]]  # A call has the SQL text and its arguments in order.

READ_STATEMENT = re.compile(r"\s*(SELECT|VALUES)\b", re.IGNORECASE)
INSERT_STATEMENT = re.compile(r"\s*(INSERT|REPLACE)\b", re.IGNORECASE)
SESSION_STATE_CALL = re.compile(r"\b(set_config|pg_(try_)?advisory_lock)", re.IGNORECASE)


class Argument(NamedTuple):
    """One argument of a statement.

    `key` is the name under which a caller passes the value. It is empty for a value that is part of
    the clause. `supply` returns the value if the caller passes none.
    """

    name: str
    key: str
    process: Process | None
    supply: Callable[[], Any]


class Plan:
    """The compiled form of a clause for one dialect.

    `writes` is true for every statement except a plain SELECT, and `inserts` for an INSERT.
    `leaves_state` is true if the statement may change the state of its database session.
    """

    def __init__(
        self, clause: ClauseElement, dialect: Dialect, key: CacheKey | None = None
    ) -> None:
        options: dict[str, Any] = {} if key is None else {"cache_key": key}
        # DDL compiles to a DDLCompiler, which has no arguments.
        self._compiled = cast(SQLCompiler, clause.compile(dialect=dialect, **options))
        self.sql = self._compiled.string
        self.writes = not reads(clause)
        self.inserts = isinstance(clause, Insert) or (
            is_text(clause) and bool(INSERT_STATEMENT.match(self.sql))
        )
        composed = isinstance(self._compiled, SQLCompiler)
        self.leaves_state = (
            is_text(clause) or not composed or bool(SESSION_STATE_CALL.search(self.sql))
        )
        self._arguments = arguments(self._compiled) if composed else ()
        self._names = frozenset(argument.key for argument in self._arguments if argument.key)
        self._expands = composed and bool(self._compiled.post_compile_params)
        self._shape_rows((self._compiled._result_columns or []) if composed else [], dialect)

    def _shape_rows(self, columns: Sequence[ResultColumnsEntry], dialect: Dialect) -> None:
        """Sets the record class and the result processors.

        Plain text has no known result columns, so `records` reads their names from the driver.
        """
        self._described = bool(columns)
        self._record = record_class([column.keyname for column in columns], positions(columns))
        found = [column.type._cached_result_processor(dialect, None) for column in columns]
        self._processors = [
            (at, process) for at, process in enumerate(found) if process is not None
        ]

    def call(self, values: Mapping[str, Any]) -> Call:
        """Returns the call with the given values by name.

        Raises TypeError if a value is missing or unknown, as a Python function does.
        """
        if not self._names.issuperset(values):
            raise TypeError(
                f"unknown bind: {sorted(values.keys() - self._names)}, "
                f"expected {sorted(self._names)}"
            )
        if self._expands:
            return self._expand(
                {a.name: values[a.key] if a.key in values else a.supply() for a in self._arguments}
            )
        given = []
        for _, key, process, supply in self._arguments:
            value = values[key] if key in values else supply()
            given.append(value if process is None else process(value))
        return self.sql, given

    def call_clause(self, key: CacheKey | None) -> Call:
        """Returns the call with the values in the clause of this cache key."""
        if not self._arguments:
            return self.sql, ()
        found: dict[str, Any] = (
            {"extracted_parameters": key.bindparams, "_collected_params": key.params} if key else {}
        )
        params = self._compiled.construct_params(escape_names=False, **found)
        params.update(python_defaults(self._compiled))
        if self._expands:
            return self._expand(params)
        return self.sql, [processed(a.process, params[a.name]) for a in self._arguments]

    def _expand(self, params: Mapping[str, Any]) -> Call:
        """Returns the call of a clause with an IN, whose text depends on the number of values."""
        state = self._compiled.construct_expanded_state(params, escape_names=False)
        processors: Mapping[str, Any] = {**self._compiled._bind_processors, **state.processors}
        names = state.positiontup or ()
        return state.statement, [
            processed(processors.get(name), state.parameters[name]) for name in names
        ]

    def records(
        self, rows: Iterable[Iterable[Any]], keys: Callable[[], Iterable[str]]
    ) -> list[Record]:
        """Converts the driver's rows to records and applies the result processors.

        `keys` returns the column names. It is called only if the plan has none.
        """
        if not self._described and (names := tuple(keys())) != self._record._keys:
            self._record = record_class(names)
        record = self._record
        if not self._processors:
            return [record(row) for row in rows]
        return [record(self._process(row)) for row in rows]

    def _process(self, row: Iterable[Any]) -> list[Any]:
        values = list(row)
        for at, process in self._processors:
            values[at] = process(values[at])
        return values


def is_text(clause: ClauseElement) -> bool:
    return isinstance(clause, (TextClause, TextualSelect))


def reads(clause: ClauseElement) -> bool:
    """Returns whether the statement can only read. Returns False for an unknown statement."""
    if is_text(clause):
        return bool(READ_STATEMENT.match(str(clause)))
    if not isinstance(clause, SelectBase) or getattr(clause, "_for_update_arg", None) is not None:
        return False
    return not any(isinstance(part, UpdateBase) for part in iterate(clause))


def arguments(compiled: SQLCompiler) -> Sequence[Argument]:
    defaults = python_defaults(compiled)
    return [argument(compiled, name, defaults) for name in compiled.positiontup or ()]


def argument(compiled: SQLCompiler, name: str, defaults: Mapping[str, Any]) -> Argument:
    bind = compiled.binds[name]
    supply = (lambda: python_defaults(compiled)[name]) if name in defaults else supplier(bind)
    process: Any = compiled._bind_processors.get(name)
    return Argument(name, "" if bind.unique else bind.key, process, supply)


def supplier(bind: BindParameter[Any]) -> Callable[[], Any]:
    def supply() -> Any:
        if bind.required:
            raise TypeError(f"missing bind: {bind.key!r}")
        return bind.effective_value

    return supply


def python_defaults(compiled: SQLCompiler) -> dict[str, Any]:
    """Returns the current values of `Column(default=…)` and `Column(onupdate=…)` by bind name."""
    filled: list[tuple[Any, Any]] = [
        (column, column.default) for column in compiled.insert_prefetch
    ]
    filled += [(column, column.onupdate) for column in compiled.update_prefetch]
    return {
        column.key: default.arg(None) if default.is_callable else default.arg
        for column, default in filled
    }


def processed(process: Process | None, value: Any) -> Any:
    return value if process is None else process(value)


def positions(columns: Sequence[ResultColumnsEntry]) -> dict[Any, int]:
    """Returns the index of each column by the objects of the clause and by the full name."""
    found: dict[Any, int] = {}
    for at, column in enumerate(columns):
        for way in column.objects:
            found.setdefault(way, at)
            if isinstance(way, ColumnClause):
                found.setdefault(str(way), at)
    return found
