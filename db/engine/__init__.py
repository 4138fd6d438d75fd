"""Registers the SQLite and PostgreSQL back ends with `databases`.

Each is imported when a URL names it.
"""

from databases import Database

Database.SUPPORTED_BACKENDS |= {
    "sqlite": "db.engine.sqlite:SQLiteBackend",
    "postgresql": "db.engine.postgres:PostgresBackend",
    "postgres": "db.engine.postgres:PostgresBackend",
}
