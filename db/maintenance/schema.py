"""Applies migrations, checks the schema, and explains why a database cannot be used."""

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from db.crypto.secret import Secret
from db.errors import Unavailable
from db.maintenance.database_files import (
    NOT_USABLE,
    create_private,
    make_private,
    path_of,
    require_usable_file,
)
from db.maintenance.revisions import (
    NO_TABLES,
    OWN_BRANCH,
    Branch,
    WrongSchema,
    branches_of,
    find_revision_problem,
    make_config,
    require_single_head,
)
from db.maintenance.schema_state import SchemaState, describe_missing, read_state
from db.product import ProductData
from db.tables import SCHEMA, metadata

NO_ANSWER: Final = "the database does not answer"
NO_PRODUCT_DATA: Final = ProductData()


async def require_schema(database: Secret[str], product: ProductData = NO_PRODUCT_DATA) -> None:
    """Raises WrongSchema unless the database has the newest revisions and every declared column.

    Raises Unavailable with a reason if the schema cannot be read.
    """
    try:
        state = await read_state(database)
    except Unavailable as error:
        raise Unavailable(
            reason=error.reason or explain_unavailable(error.__cause__, database)
        ) from error
    except WrongSchema:
        raise
    except Exception as error:
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise WrongSchema(f"DATABASE_URL: {message}") from error
    # For another revision it imports Alembic, which must not stop the event loop for a second.
    if problem := await asyncio.to_thread(find_schema_problem, state, product):
        raise WrongSchema(problem)


def find_schema_problem(state: SchemaState, product: ProductData) -> str:
    """Returns why the program cannot use a database with this schema, or an empty string."""
    if OWN_BRANCH.version_table not in state.revisions:
        return NO_TABLES
    for branch in branches_of(product):
        found = state.revisions.get(branch.version_table, ())
        if problem := find_revision_problem(branch, found):
            return problem
    if missing := describe_missing(state, metadata):
        return (
            f"the database has revision {SCHEMA} but lacks {missing}: another program or another "
            "migration with this revision has changed it; restore a backup from before"
        )
    missing = describe_missing(state, product.tables) if product.tables is not None else ""
    return f"the database lacks {missing} of the product: add a migration" if missing else ""


async def require_schema_if_reachable(
    database: Secret[str], product: ProductData = NO_PRODUCT_DATA
) -> None:
    """Raises WrongSchema before the service starts.

    Accepts an unavailable database, which may become available later.
    """
    with suppress(Unavailable):
        await require_schema(database, product)


async def is_usable(database: Secret[str], product: ProductData = NO_PRODUCT_DATA) -> bool:
    """Returns whether the database can be read and written and has the schema of this program."""
    with suppress(Unavailable, WrongSchema):
        await require_schema(database, product)
        return True
    return False


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


@dataclass(frozen=True, slots=True)
class Migration:
    """The revisions of one branch that were applied now, and the newest revision."""

    branch: str
    applied: tuple[str, ...]
    head: str | None


def migrate(
    database: Secret[str],
    revision: str = SCHEMA,
    product: ProductData = NO_PRODUCT_DATA,
) -> list[Migration]:
    """Migrates the database to the revision of this program, and then to that of the product.

    Each of the two is one transaction. Creates a missing SQLite file first, because SQLite would
    create it with the mode of the umask, and as root with root's ownership. Raises Unavailable and
    WrongSchema.
    """
    branches = branches_of(product)
    for branch in branches:
        require_single_head(branch)
    path = path_of(database)
    if path:
        require_usable_file(path)
        with suppress(FileExistsError):
            create_private(path)
    migrations = [
        _upgrade(database, branch, revision if branch is OWN_BRANCH else branch.head)
        for branch in branches
    ]
    if path:
        # An empty file that existed before is recognized as a database only now.
        make_private(path)
    return migrations


def _upgrade(database: Secret[str], branch: Branch, revision: str | None) -> Migration:
    from alembic import command

    applied: list[str] = []
    if revision is not None:
        config = make_config(branch)
        config.attributes.update(url=database, branch=branch, applied=applied)
        command.upgrade(config, revision)
    return Migration(branch.name, tuple(applied), revision)


def migrate_if_needed(
    database: Secret[str], product: ProductData = NO_PRODUCT_DATA
) -> list[Migration]:
    """Migrates the database unless it has the schema already.

    The check avoids the import of Alembic, which takes a second.
    """
    try:
        asyncio.run(require_schema(database, product))
    except WrongSchema:
        return migrate(database, product=product)
    return []
