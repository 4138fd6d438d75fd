"""Contains Alembic's environment. `db.maintenance.schema.migrate` passes the URL, which is never
read from a file.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from db.crypto.secret import Secret
from db.errors import Unavailable
from db.maintenance.schema import WrongSchema, explain_unavailable
from db.tables import SCHEMA, metadata


def run(connection: Connection) -> None:
    """Runs all revisions in one transaction, so that a failure leaves the schema unchanged.

    Raises WrongSchema if the database is newer than this program.
    """
    context.configure(connection=connection, target_metadata=metadata)
    version = context.get_context().get_current_revision()
    if version is not None and version > SCHEMA:
        raise WrongSchema(
            f"the database is newer than this program (revision {version}; needed: {SCHEMA})"
        )
    with context.begin_transaction():
        context.run_migrations()


def on_sqlite(url: str) -> None:
    """Migrates under a lock of the file, taken before Alembic reads it.

    A second process that starts at the same time waits for the first.
    """
    engine = create_engine(url, connect_args={"timeout": 30, "isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            run(connection)
    finally:
        engine.dispose()


async def on_postgresql(url: str) -> None:
    """Migrates under an advisory lock, which corresponds to the lock of the SQLite file.

    The migration waits at most one second for a table, because other queries would queue behind it.
    The server ends a migration whose process is frozen, so that its locks do not block every host.
    """
    import asyncpg

    from db.engine.postgres_pool import connect_options

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(**connect_options(url))
    )
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                "SET LOCAL idle_in_transaction_session_timeout = '30s'"
            )
            await connection.exec_driver_sql("SET LOCAL lock_timeout = '30s'")
            await connection.exec_driver_sql(
                "SELECT pg_advisory_xact_lock(hashtext('latchkey migrate'))"
            )
            await connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            await connection.run_sync(run)
    finally:
        await engine.dispose()


@contextmanager
def translate_migration_errors(*unavailable: type[Exception]) -> Iterator[None]:
    """Raises Unavailable with its reason, or WrongSchema with a line of the driver's message.

    Neither contains a password.
    """
    try:
        yield
    # An option of the URL is invalid, or a certificate cannot be verified.
    except ValueError as error:
        raise WrongSchema(f"DATABASE_URL: {str(error).splitlines()[0]}") from error
    except unavailable as error:
        raise Unavailable(reason=explain_unavailable(error, database)) from error
    except DBAPIError as error:
        cause = getattr(error.orig, "__cause__", None) or error.orig
        if isinstance(cause, unavailable) or is_locked(cause):
            raise Unavailable(reason=explain_unavailable(cause, database)) from error
        raise WrongSchema(f"DATABASE_URL: {str(cause).splitlines()[0]}") from error


def is_locked(error: BaseException | None) -> bool:
    return (
        isinstance(error, sqlite3.OperationalError)
        and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


database: Secret[str] = context.config.attributes["url"]
url = database.reveal()
if url.startswith("sqlite"):
    with translate_migration_errors():
        on_sqlite(url)
else:
    from db.engine.postgres_session import UNAVAILABLE  # SQLite does not need the driver.

    with translate_migration_errors(*UNAVAILABLE):
        asyncio.run(on_postgresql(url))
