"""The back ends of ours for `databases`, registered on import; each is loaded when a URL asks for
it.
"""

from databases import Database

Database.SUPPORTED_BACKENDS |= {
    "sqlite": "db.engine.sqlite:SQLiteBackend",
    "postgresql": "db.engine.postgres:PostgresBackend",
    "postgres": "db.engine.postgres:PostgresBackend",
}
