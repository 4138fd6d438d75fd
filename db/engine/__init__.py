"""Registers the SQLite and PostgreSQL back ends with `databases`.

`databases` imports a back end when a URL names it.
"""

from databases import Database

Database.SUPPORTED_BACKENDS |= {
    "sqlite": "db.engine.sqlite:SQLiteBackend",
    "postgresql": "db.engine.postgres:PostgresBackend",
    "postgres": "db.engine.postgres:PostgresBackend",
}
