"""Contains the databases of the tests, and changes to them that bypass the application.

A path identifies an application's database. It is a file on SQLite, and mapped to a database of the
server on PostgreSQL.
"""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import randbelow
from threading import Thread
from typing import Any, Final, TypeVar

import asyncpg
from databases import Database
from sqlalchemy import MetaData
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from db.tables import metadata

T = TypeVar("T")

DATABASE_TYPES: Final = ("sqlite", "postgresql")
DATABASE_TYPE: Final = os.environ.get("TEST_DATABASE", "sqlite")
SERVER_URL: Final = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")
REQUIRED: Final = DATABASE_TYPE == "postgresql" or "REQUIRE_POSTGRES" in os.environ

LONG_TIMEOUT_SECONDS: Final = 60

SHAPE: Final = """
    SELECT string_agg(concat_ws(' ', c.relname, attname, atttypid, attnotnull), ',' ORDER BY c.relname, attnum)
        || (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)
    FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND attnum > 0
"""
TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


async def create_tables(database: Database, metadata: MetaData) -> None:
    """Creates the tables of a product, if they do not exist.

    Its migrations create the same tables, which a test of each product compares.
    """
    dialect = sqlite.dialect() if database.url.dialect == "sqlite" else postgresql.dialect()
    for table in metadata.sorted_tables:
        created = [CreateTable(table, if_not_exists=True)]
        created += [CreateIndex(index, if_not_exists=True) for index in table.indexes]
        for clause in created:
            await database.execute(str(clause.compile(dialect=dialect)))


class SQLiteDatabases:
    """The SQLite databases of one test, which are copies of a file that was migrated once."""

    def __init__(self, migrated: Path) -> None:
        self._migrated = migrated

    def url(self, path: Path, *, unreachable: bool = False) -> str:
        """Returns the URL of the path's database, which is created if it does not exist."""
        if not path.exists():
            shutil.copy(self._migrated, path)
        return f"sqlite:///{path}"

    def engine(self, *, unreachable: bool, lock_timeout: float | None) -> dict[str, Any]:
        """Returns the options of the back end.

        With `unreachable`, every read fails. `lock_timeout` is the time to wait for the write lock, in
        seconds. Without it, the timeouts are so long that a slow host does not cause Unavailable.
        """
        if lock_timeout is None:
            timeouts = {
                "busy_timeout": LONG_TIMEOUT_SECONDS * 1000,
                "wait": LONG_TIMEOUT_SECONDS,
                "deadline": LONG_TIMEOUT_SECONDS,
            }
        else:
            timeouts = {"busy_timeout": int(lock_timeout * 100), "wait": lock_timeout}
        return timeouts | ({"deadline": -1} if unreachable else {})

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Holds the write lock in another program, such as a backup."""
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield

    def stored(self, path: Path) -> bytes:
        """Returns everything that the database contains, as text."""
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))

    def fault(self, table: str, *, silent: bool) -> list[str]:
        """Returns statements that make every INSERT fail or, with `silent`, have no effect."""
        raised = "RAISE(IGNORE)" if silent else "RAISE(ABORT, 'no')"
        return [f"CREATE TRIGGER fault BEFORE INSERT ON {table} BEGIN SELECT {raised}; END"]

    def remove_fault(self, table: str) -> list[str]:
        return ["DROP TRIGGER fault"]

    def close(self) -> None: ...


class PostgresServer:
    """A PostgreSQL server, with an event loop in its own thread.

    A fixture may be created while the test's event loop is running. A template is migrated once,
    and each application gets a copy. A copy with an unchanged schema is reused.
    """

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        self._url = url
        self._run = randbelow(2**31)
        self._database_count = 0
        self._idle: list[str] = []
        self._connection = self.do(asyncpg.connect(url, timeout=5))
        self.do(self._begin())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def url_of(self, name: str) -> str:
        return f"{self._url.rpartition('/')[0]}/{name}"

    def create(self, template: str = "template1", options: str = "") -> str:
        self._database_count += 1
        name = f"app_{self._run}_{self._database_count}"
        self.do(
            self._connection.execute(
                f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY {options}"
            )
        )
        return name

    def take(self) -> str:
        """Returns the name of a database with the current schema and without users."""
        if not hasattr(self, "_template"):
            self._template = self.create()
            self.do(asyncio.to_thread(migrate, Secret(self.url_of(self._template))))
            ((self._shape,),) = self.do(self.fetch(self._template, SHAPE))
        return self._idle.pop() if self._idle else self.create(self._template)

    def give(self, name: str) -> None:
        if self.do(self._emptied(name)):
            self._idle.append(name)
        else:
            self.drop(name)

    def drop(self, name: str) -> None:
        self.do(self._connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    async def fetch(self, name: str, *statements: str) -> list[tuple[Any, ...]]:
        """Executes the statements and returns the rows of the last one."""
        connection = await asyncpg.connect(self.url_of(name))
        try:
            return [
                [tuple(row) for row in await connection.fetch(statement)]
                for statement in statements
            ][-1]
        finally:
            await connection.close()

    @contextmanager
    def opened(self, name: str, *statements: str) -> Iterator[None]:
        """Executes the statements on another connection, which stays open during the body."""
        other = self.do(asyncpg.connect(self.url_of(name)))
        try:
            for statement in statements:
                self.do(other.execute(statement))
            yield
        finally:
            self.do(other.close())

    def close(self) -> None:
        self.do(self._drop_all_of(self._run))
        self.do(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _begin(self) -> None:
        """Names this connection after the test run and drops the databases of killed runs.

        The name shows other test runs on the server that this one is running.
        """
        await self._connection.execute(f"SET application_name = 'app_{self._run}'")
        names = await self._connection.fetch(
            r"SELECT datname FROM pg_database WHERE datname ~ '^app_\d+_\d+$'"
        )
        alive = await self._connection.fetch("SELECT application_name FROM pg_stat_activity")
        for run in {int(name.split("_")[1]) for (name,) in names}:
            if f"app_{run}" not in {name for (name,) in alive}:
                await self._drop_all_of(run)

    async def _drop_all_of(self, run: int) -> None:
        pattern = f"^app_{run}_"
        for (name,) in await self._connection.fetch(
            "SELECT datname FROM pg_database WHERE datname ~ $1", pattern
        ):
            await self._connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _emptied(self, name: str) -> bool:
        built_in = {"roles": " WHERE name NOT IN ('user', 'admin')"}
        emptied = [
            f"DELETE FROM {table.name}{built_in.get(table.name, '')}"
            for table in reversed(metadata.sorted_tables)
        ]
        emptied.append("INSERT INTO trail_head VALUES (0, '', '', '')")
        connection = await asyncpg.connect(self.url_of(name))
        try:
            if await connection.fetchval(SHAPE) != self._shape:
                return False
            await connection.execute("; ".join(emptied))  # This takes one round trip.
        finally:
            await connection.close()
        return True


class PostgresDatabases:
    """The databases of one test on a PostgreSQL server."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._names: dict[Path, str] = {}

    def url(self, path: Path, *, unreachable: bool = False) -> str:
        if path not in self._names:
            self._names[path] = self._server.take()
        return (
            "postgresql://postgres@127.0.0.1:1/unreachable"
            if unreachable
            else self._server.url_of(self._names[path])
        )

    def engine(self, *, unreachable: bool, lock_timeout: float | None) -> dict[str, Any]:
        if lock_timeout is not None:
            return {"lock_timeout": int(lock_timeout * 1000)}
        timeouts = ("statement_timeout", "lock_timeout", "idle_timeout")
        return {
            "wait": LONG_TIMEOUT_SECONDS,
            "timeout": LONG_TIMEOUT_SECONDS,
            "ssl": False,
            **dict.fromkeys(timeouts, LONG_TIMEOUT_SECONDS * 1000),
        }

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        with self._server.opened(
            self._names[path], "BEGIN", "LOCK TABLE users, sessions IN EXCLUSIVE MODE"
        ):
            yield

    def stored(self, path: Path) -> bytes:
        """Returns every row of every table as text."""
        name = self._names[path]
        tables = [table for (table,) in self._server.do(self._server.fetch(name, TABLES))]
        rows = [
            self._server.do(self._server.fetch(name, f"SELECT t::text FROM {table} t"))
            for table in tables
        ]
        return "\n".join(row for table in rows for (row,) in table).encode()

    def fault(self, table: str, *, silent: bool) -> list[str]:
        raised = (
            "RETURN NULL"
            if silent
            else "RAISE 'no' USING ERRCODE = 'integrity_constraint_violation'"
        )
        return [
            f"CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {raised}; END $$",
            f"CREATE TRIGGER fault BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fault()",
        ]

    def remove_fault(self, table: str) -> list[str]:
        return [f"DROP TRIGGER fault ON {table}", "DROP FUNCTION fault"]

    def close(self) -> None:
        for name in self._names.values():
            self._server.give(name)
