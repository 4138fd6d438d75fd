"""Applies migrations, checks the schema revision, and explains why a database cannot be used."""

import asyncio
import socket
import sqlite3
import ssl
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from databases import Database
from sqlalchemy import column, select, table

import db.engine  # noqa: F401  (registers the back ends with `databases`)
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import Unavailable
from db.maintenance.database_files import create_private, find_file_problem, make_private, path_of
from db.tables import SCHEMA

LOCK_TIMEOUT_SECONDS: Final = 3.0  # SQLite waits this long for locks of other processes.
NO_ANSWER: Final = "the database does not answer"
NOT_USABLE: Final = "the database cannot be used"
MIGRATE_FIRST: Final = "run `latchkey migrate` first"
NO_TABLES: Final = f"the database has no tables yet: {MIGRATE_FIRST}"
SELECT_REVISION = Statement(select(column("version_num")).select_from(table("alembic_version")))


class WrongSchema(Exception):
    """The database does not have the revision that this program requires.

    The message says what to do.
    """


async def require_schema(database: Secret[str]) -> None:
    """Raises WrongSchema if the tables are missing or have another revision.

    Raises Unavailable with a reason if the revision cannot be read.
    """
    path = path_of(database)
    try:
        version = await (
            _read_server_revision(database)
            if path is None
            else asyncio.to_thread(_read_version, path)
        )
    except Unavailable as error:
        raise Unavailable(
            reason=error.reason or explain_unavailable(error.__cause__, database)
        ) from error
    except Exception as error:
        raise WrongSchema(_describe_error(error)) from error
    if version is None or version < SCHEMA:
        raise WrongSchema(f"the database is older than this program: {MIGRATE_FIRST}")
    if version > SCHEMA:
        raise WrongSchema(
            f"the database is newer than this program (revision {version}; needed: {SCHEMA})"
        )


async def require_schema_if_reachable(database: Secret[str]) -> None:
    """Raises WrongSchema before the service starts.

    Accepts an unavailable database, which may become available later.
    """
    with suppress(Unavailable):
        await require_schema(database)


async def is_usable(database: Secret[str]) -> bool:
    """Returns whether the database can be read and written and has the revision of this program."""
    with suppress(Unavailable, WrongSchema):
        await require_schema(database)
        return True
    return False


def require_usable_file(path: Path) -> None:
    """Raises Unavailable with the reason if the file or its directory cannot be read and
    written.
    """
    if problem := find_file_problem(path):
        raise Unavailable(reason=f"{NOT_USABLE}: {problem}")


def explain_unavailable(cause: BaseException | None, database: Secret[str]) -> str:
    """Returns why a database cannot be used, from the error of the driver.

    No driver includes the password in its errors.
    """
    message = (str(cause or "").splitlines() or [""])[0]
    if isinstance(cause, socket.gaierror):
        host = urlsplit(database.reveal()).hostname
        return f"{NO_ANSWER}: the host name {host} does not resolve ({cause.strerror})"
    if isinstance(cause, ssl.SSLError):
        return f"{NOT_USABLE}: no TLS connection to the server: {message}"
    # Neither Python nor asyncpg says which file is missing.
    if isinstance(cause, FileNotFoundError):
        return (
            f"{NOT_USABLE}: a file that DATABASE_URL names is missing (sslrootcert, "
            "sslcert, sslkey or a socket)"
        )
    if "rejected SSL upgrade" in message:
        return f"{NOT_USABLE}: the server offers no TLS, which DATABASE_URL requires: {message}"
    return f"{NO_ANSWER}: {message}" if message else NO_ANSWER


async def _read_server_revision(database: Secret[str]) -> str | None:
    async with Database(database.reveal()) as probe:
        return cast("str | None", await probe.fetch_val(cast(Any, SELECT_REVISION())))


def _read_version(path: Path) -> str | None:
    """Reads the revision of an existing file.

    Does not create a file and does not change one that belongs to another program.
    """
    from db.engine.sqlite_workers import translate_error

    require_usable_file(path)
    if not path.exists():
        raise WrongSchema(f"{NO_TABLES}; there is no file {path}")
    try:
        with closing(
            sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=LOCK_TIMEOUT_SECONDS
            )
        ) as file:
            found = file.execute("SELECT version_num FROM alembic_version").fetchone()
            return cast("str | None", found and found[0])
    except sqlite3.Error as error:
        raise translate_error(error) from error


def _describe_error(error: Exception) -> str:
    """Returns a message that says that there are no tables, or the message of the driver.

    No driver includes the password.
    """
    if isinstance(error, WrongSchema):
        return str(error)
    message = (str(error) or type(error).__name__).splitlines()[0]
    if "alembic_version" in message and "permission" not in message:
        return NO_TABLES
    return f"DATABASE_URL: {message}"


def migrate(database: Secret[str], revision: str = SCHEMA) -> None:
    """Migrates the database to the revision of this program; does nothing if it has it.

    Creates a missing SQLite file first, because SQLite would create it with the mode of the umask,
    and as root with root's ownership. Raises Unavailable and WrongSchema.
    """
    from alembic import command
    from alembic.config import Config

    path = path_of(database)
    if path:
        require_usable_file(path)
        with suppress(FileExistsError):
            create_private(path)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.attributes["url"] = database
    command.upgrade(config, revision)
    if path:
        # An empty file that existed before is recognized as a database only now.
        make_private(path)


def migrate_if_needed(database: Secret[str]) -> None:
    """Migrates the database unless it has the revision already.

    The check avoids the import of Alembic, which takes a second.
    """
    try:
        asyncio.run(require_schema(database))
    except WrongSchema:
        migrate(database)
