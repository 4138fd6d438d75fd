"""Contains SQLAlchemy's dialect for asyncpg, without SQLAlchemy's driver."""

from typing import Any

from sqlalchemy import TextClause, TextualSelect, types
from sqlalchemy.dialects.postgresql.asyncpg import (
    AsyncpgFloat,
    AsyncpgNumeric,
    PGCompiler_asyncpg,
    PGDialect_asyncpg,
)

NUMERIC_OID = 1700  # SQLAlchemy would read the oid of the column type from a cursor.


class Numeric(AsyncpgNumeric):
    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return super().result_processor(dialect, NUMERIC_OID)  # type: ignore[no-untyped-call]


class Float(AsyncpgFloat):
    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return super().result_processor(dialect, NUMERIC_OID)  # type: ignore[no-untyped-call]


class Compiler(PGCompiler_asyncpg):
    def render_bind_cast(self, type_: Any, dbapi_type: Any, sqltext: str) -> str:
        """Adds no cast to plain text, whose types the server infers, as in `databases` itself."""
        if isinstance(self.statement, (TextClause, TextualSelect)):
            return sqltext
        return str(super().render_bind_cast(type_, dbapi_type, sqltext))  # type: ignore[no-untyped-call]

    def _on_conflict_target(self, clause: Any, **options: Any) -> str:
        """Accepts the ON CONFLICT of `db.engine.statement.insert`, which is SQLite's and cannot
        name a constraint.
        """
        clause.constraint_target = None
        return str(super()._on_conflict_target(clause, **options))  # type: ignore[no-untyped-call]


class Dialect(PGDialect_asyncpg):
    """Renders each argument with its type, as `$1::INTEGER`. A CASE or a literal needs the type."""

    statement_compiler = Compiler
    colspecs = PGDialect_asyncpg.colspecs | {types.Numeric: Numeric, types.Float: Float}
    supports_native_json_deserialization = False
    supports_statement_cache = True
