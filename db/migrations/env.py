"""Alembic's environment: the URL is handed in by `db.housekeeping.migrate`, never read from a file."""

import asyncio

from alembic import context
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from db.tables import metadata


def run(connection: Connection) -> None:
    """All revisions in one transaction: either the schema is new, or it is as it was."""
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


def on_sqlite(url: str) -> None:
    """The file is locked before Alembic looks at it, so that a second starter waits for the first."""
    engine = create_engine(url, connect_args={"timeout": 30, "isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        run(connection)
    engine.dispose()


async def on_postgresql(url: str) -> None:
    """An advisory lock stands for the file's lock."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('latchkey migrate'))")
        await connection.run_sync(run)
    await engine.dispose()


url: str = context.config.attributes["url"].reveal()
if url.startswith("sqlite"):
    on_sqlite(url)
else:
    asyncio.run(on_postgresql("postgresql+asyncpg" + url[url.index("://") :]))
