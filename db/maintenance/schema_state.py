"""Reads the revisions and the columns of a database, and compares the columns with the tables that
the code declares.
"""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from databases import Database
from sqlalchemy import MetaData

import db.engine  # noqa: F401  (registers the back ends with `databases`)
from db.crypto.secret import Secret
from db.maintenance.database_files import path_of, require_usable_file
from db.maintenance.revisions import NO_TABLES, WrongSchema

LOCK_TIMEOUT_SECONDS: Final = 3.0  # SQLite waits this long for locks of other processes.
MAX_NAMED: Final = 3  # A message names at most this many tables and columns.
# The tables of an SQLite file are read in one statement: with 13 tables it takes 0.2 ms.
COLUMNS_OF_SQLITE: Final = """
    SELECT s.name, c.name FROM sqlite_schema s, pragma_table_xinfo(s.name) c
    WHERE s.type IN ('table', 'view')
"""
# A table is visible if its schema is in the search path and no earlier schema has the name.
COLUMNS_OF_POSTGRESQL: Final = """
    SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE pg_table_is_visible(pg_class.oid) AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND relnamespace <> 'pg_catalog'::regnamespace AND attnum > 0 AND NOT attisdropped
"""
# The names of the tables are part of the SQL, so only these two are possible.
SELECT_VERSIONS: Final = {
    "alembic_version": "SELECT version_num FROM alembic_version ORDER BY version_num",
    "product_version": "SELECT version_num FROM product_version ORDER BY version_num",
}


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The revisions in each version table that exists, and the columns of each table."""

    revisions: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, frozenset[str]]


async def read_state(database: Secret[str]) -> SchemaState:
    """Reads the schema of the database. Raises Unavailable and errors of the driver.

    Raises WrongSchema if there is no SQLite file.
    """
    path = path_of(database)
    if path is None:
        return await _read_server(database)
    return await asyncio.to_thread(_read_file, path)


async def _read_server(database: Secret[str]) -> SchemaState:
    async with Database(database.reveal()) as probe:
        rows = await probe.fetch_all(COLUMNS_OF_POSTGRESQL)
        columns = _group((row[0], row[1]) for row in rows)
        revisions = {}
        for table, select in SELECT_VERSIONS.items():
            if table in columns:
                revisions[table] = tuple([row[0] for row in await probe.fetch_all(select)])
        return SchemaState(revisions, columns)


def _read_file(path: Path) -> SchemaState:
    """Reads an existing file.

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
            columns = _group(file.execute(COLUMNS_OF_SQLITE))
            revisions = {
                table: tuple([name for (name,) in file.execute(select)])
                for table, select in SELECT_VERSIONS.items()
                if table in columns
            }
            return SchemaState(revisions, columns)
    except sqlite3.Error as error:
        raise translate_error(error) from error


def _group(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    columns = defaultdict(set)
    for table, column in pairs:
        columns[table].add(column)
    return {table: frozenset(names) for table, names in columns.items()}


def describe_missing(state: SchemaState, declared: MetaData) -> str:
    """Returns the declared tables and columns that the database lacks, or an empty string.

    Ignores tables with a schema of their own, which are not on the search path.
    """
    missing = []
    for table in declared.sorted_tables:
        found = state.columns.get(table.name)
        if table.schema is not None:
            continue
        if found is None:
            missing.append(f"the table {table.name}")
        else:
            missing += [
                f"the column {table.name}.{column.name}"
                for column in table.columns
                if column.name not in found
            ]
    named = ", ".join(missing[:MAX_NAMED])
    return f"{named} and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else named
