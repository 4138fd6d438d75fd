"""Contains Alembic's environment, which the migrations of a product share.

`db.maintenance.schema.migrate` passes the URL, which is never read from a file, and the branch.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb

from alembic import context
from alembic.script import Script
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from db.crypto.secret import Secret
from db.errors import Unavailable
from db.maintenance.revisions import (
    OWN_BRANCH,
    Branch,
    WrongSchema,
    find_revision_problem,
    is_known,
)
from db.maintenance.schema import explain_unavailable


def run(connection: Connection) -> None:
    """Runs all revisions of a branch in one transaction, so that a failure leaves it unchanged.

    Raises WrongSchema if the database has a revision that the branch does not know.
    """
    context.configure(
        connection=connection,
        version_table=branch.version_table,
        on_version_apply=lambda step, **_: applied.append(step.up_revision.doc),
    )
    found = context.get_context().get_current_heads()
    if len(found) > 1 or any(not is_known(branch, revision) for revision in found):
        raise WrongSchema(find_revision_problem(branch, tuple(sorted(found))))
    newest = context.get_revision_argument()
    planned[:] = reversed(
        [*context.script.iterate_revisions(newest, found[0] if found else "base")]
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


@contextmanager
def name_failed_revision() -> Iterator[None]:
    """Adds the file of a failed revision of a product to the error. Raises WrongSchema."""
    try:
        yield
    except Unavailable:
        raise
    except Exception as error:
        if branch == OWN_BRANCH or not planned[len(applied) :]:
            raise
        failed = planned[len(applied)]
        reason = (str(error).splitlines() or [""])[0].removeprefix("DATABASE_URL: ")
        if not isinstance(error, WrongSchema):
            reason = f"{type(error).__name__}: {reason}"
        frames = extract_tb((error.__cause__ or error).__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == failed.path]
        where = f"{failed.path}, line {lines[-1]}" if lines else failed.path
        raise WrongSchema(
            f"the migration {failed.revision} of the product failed ({where}): {reason}; no "
            "migration of the product was applied, those of Latchkey were"
        ) from error


def is_locked(error: BaseException | None) -> bool:
    return (
        isinstance(error, sqlite3.OperationalError)
        and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


database: Secret[str] = context.config.attributes["url"]
branch: Branch = context.config.attributes["branch"]
applied: list[str] = context.config.attributes["applied"]  # the titles of the applied revisions
planned: list[Script] = []  # the revisions to apply, oldest first
url = database.reveal()
with name_failed_revision():
    if url.startswith("sqlite"):
        with translate_migration_errors():
            on_sqlite(url)
    else:
        from db.engine.postgres_session import UNAVAILABLE  # SQLite does not need the driver.

        with translate_migration_errors(*UNAVAILABLE):
            asyncio.run(on_postgresql(url))
