"""Tests that a migration is applied completely or not at all, and that errors take one line."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from db.tables import SCHEMA, metadata
from tests.browser_client import PASSWORD
from tests.commands import run_command
from tests.conftest import SECRET
from tests.databases import DATABASE_TYPES, PostgresServer

LATCHKEY = Path(sys.executable).parent / "latchkey"
LOCK = "SELECT pg_advisory_xact_lock(hashtext('latchkey migrate'))"
SLOW_INDEXES = (
    "CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); END $$",
    "CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION slow()",
)


@dataclass
class Place:
    """An empty database, with methods that run commands on it and read its content."""

    url: str
    server: PostgresServer | None

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Starts the command in its own process."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [LATCHKEY, *command], env=self.environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *command: str, typed: str = "") -> tuple[int, str]:
        """Returns the exit code and the output."""
        told = run_command(*command, environ=self.environ, stdin=typed)
        return told.returncode, told.stdout + told.stderr

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "DATABASE_URL": self.url, "SESSION_SECRET": SECRET}

    def rows(self, *statements: str) -> list[tuple]:
        if self.server:
            return self.server.do(self.server.ask(self.url.rpartition("/")[2], *statements))
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    @property
    def path(self) -> str:
        return self.url.removeprefix("sqlite:///")

    @property
    def tables(self) -> set[str]:
        catalog = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return {
            name
            for (name,) in self.rows(catalog if self.server else "SELECT name FROM sqlite_master")
        }

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of another migration while the body runs."""
        if self.server:
            with self.server.opened(self.url.rpartition("/")[2], "BEGIN", LOCK):
                yield
        else:
            with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield


@pytest.fixture(params=DATABASE_TYPES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path}/latchkey.db", None)
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create()
    yield Place(server.url_of(name), server)
    server.drop(name)


def described(
    url: str, prepare: Callable[[Connection], None] | None = None
) -> dict[str, dict[str, list]]:
    """Returns every table with its columns, keys, indexes and constraints from the database."""

    def describe(connection: Connection) -> dict[str, dict[str, list]]:
        if prepare:
            prepare(connection)
        found = inspect(connection)
        parts = (
            "columns",
            "pk_constraint",
            "foreign_keys",
            "indexes",
            "unique_constraints",
            "check_constraints",
        )
        tables = sorted({*found.get_table_names()} - {"alembic_version"})
        return {
            table: {part: in_order(getattr(found, f"get_{part}")(table)) for part in parts}
            for table in tables
        }

    async def connected() -> dict[str, dict[str, list]]:
        engine = create_async_engine(
            url.replace("postgresql:", "postgresql+asyncpg:").replace(
                "sqlite:", "sqlite+aiosqlite:"
            )
        )
        async with engine.begin() as connection:
            tables = await connection.run_sync(describe)
        await engine.dispose()
        return tables

    return asyncio.run(connected())


def in_order(things: list[dict] | dict) -> list[str]:
    return sorted(
        str({name: str(value) for name, value in thing.items()})
        for thing in ([things] if isinstance(things, dict) else things)
    )


def test_the_migrated_schema_equals_the_declared_tables(place: Place, tmp_path: Path) -> None:
    assert place.run("migrate") == (0, "")
    migrated = described(place.url)
    assert place.rows("SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    if place.server:
        other = place.server.create()
        declared = described(place.server.url_of(other), metadata.create_all)
        place.server.drop(other)
    else:
        declared = described(f"sqlite:///{tmp_path}/declared.db", metadata.create_all)
    assert [*migrated] == sorted(metadata.tables)
    assert migrated == declared


@pytest.mark.reliability("R18")
def test_concurrent_migrations_wait_and_both_succeed(place: Place) -> None:
    with place.locked():
        starters = [place.start("migrate"), place.start("migrate")]
        time.sleep(2.5)
        assert [starter.poll() for starter in starters] == [None, None]
    assert [(*starter.communicate(timeout=60), starter.returncode) for starter in starters] == [
        ("", "", 0)
    ] * 2
    assert place.tables >= {"users", "sessions"}


@pytest.mark.reliability("R18")
def test_a_killed_migration_has_changed_nothing(place: Place) -> None:
    place.rows("CREATE TABLE notes (body TEXT)", "SELECT 1")
    before = place.tables
    with (in_an_index if place.server else before_the_commit)(place) as migration:
        assert migration.poll() is None
        migration.kill()
        migration.communicate()
    assert place.tables == before
    assert place.run("migrate") == (0, "")
    assert place.tables >= {"users", "sessions", "notes"}


@contextmanager
def in_an_index(place: Place) -> Iterator[subprocess.Popen[str]]:
    """Yields a migration that an event trigger of PostgreSQL has stopped halfway."""
    sleeping = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    place.rows(*SLOW_INDEXES, "SELECT 1")
    migration = place.start("migrate")
    wait_until(lambda: place.rows(f"SELECT pid {sleeping}"))
    yield migration
    place.rows("DROP EVENT TRIGGER slow", f"SELECT pg_terminate_backend(pid) {sleeping}")


@contextmanager
def before_the_commit(place: Place) -> Iterator[subprocess.Popen[str]]:
    """Yields a migration whose COMMIT waits for a reader of the file."""
    with closing(sqlite3.connect(place.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM notes").fetchall()
        migration = place.start("migrate")
        wait_until(Path(f"{place.path}-journal").exists)
        time.sleep(0.5)
        yield migration


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.reliability("R18")
@pytest.mark.parametrize("command", ["migrate", "users list"])
def test_a_database_from_a_newer_version_is_refused_and_unchanged(
    place: Place, command: str
) -> None:
    place.run("migrate")
    place.rows(
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE users ADD COLUMN shoe_size TEXT",
        "SELECT 1",
    )
    before = described(place.url)
    code, said = place.run(*command.split())
    assert (code, said) == (
        1,
        f"latchkey: the database is newer than this program (revision 9999; needed: {SCHEMA})\n",
    )
    assert described(place.url) == before
    assert place.rows("SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.parametrize("command", ["migrate", "users list", "serve"])
def test_a_file_that_is_not_a_database_is_refused_and_unchanged(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "latchkey.db").write_text("Dear diary, today I was taken for a database.\n" * 100)
    before = (tmp_path / "latchkey.db").read_bytes()
    refused_in_one_line(
        Place(f"sqlite:///{tmp_path}/latchkey.db", None), command, "file is not a database"
    )
    assert (tmp_path / "latchkey.db").read_bytes() == before


@pytest.mark.parametrize("command", ["migrate", "users list", "serve"])
def test_a_corrupt_database_is_refused_in_one_line(
    migrated: Path, tmp_path: Path, command: str
) -> None:
    content = migrated.read_bytes()
    (tmp_path / "latchkey.db").write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    refused_in_one_line(Place(f"sqlite:///{tmp_path}/latchkey.db", None), command, "malformed")


def test_the_database_of_another_program_is_refused_and_unchanged(place: Place) -> None:
    place.rows("CREATE TABLE users (login TEXT)", "INSERT INTO users VALUES ('root')", "SELECT 1")
    refused_in_one_line(place, "migrate", "exists")
    assert (place.tables, place.rows("SELECT * FROM users")) == ({"users"}, [("root",)])


@pytest.mark.asvs("S96")
@pytest.mark.parametrize("command", ["migrate", "users list"])
@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("postgresql://stranger_to_all:canary-No.1@{host}/{name}", "stranger_to_all"),
        ("postgresql://{user}:canary-No.1@{host}/there_is_none", "there_is_none"),
        ("postgresql://{user}:canary-No.1@127.0.0.1:1/{name}", "the database does not answer"),
        (
            "postgresql://{user}:canary-No.1@nowhere.invalid/{name}",
            "nowhere.invalid does not resolve",
        ),
        (
            "postgresql://{user}:canary-No.1@{host}/{name}?sslmode=require",
            "the server offers no TLS",
        ),
        (
            "postgresql://{user}:canary-No.1@{host}/{name}?sslmode=verify-full&sslrootcert=/no/ca.pem",
            "is missing (sslrootcert",
        ),
        ("postgresql://{user}:canary-No.1@{host}/{name}?sslmode=dance", "sslmode"),
    ],
)
def test_a_connection_error_is_one_line_without_the_password(
    postgres_server: PostgresServer, command: str, where: str, why: str
) -> None:
    user, _, host = (
        postgres_server.url_of("").removeprefix("postgresql://").strip("/").rpartition("@")
    )
    url = where.format(user=user.partition(":")[0], host=host, name="postgres")
    assert "canary" not in refused_in_one_line(Place(url, None), command, why)


def refused_in_one_line(place: Place, command: str, why: str) -> str:
    code, said = serve(place) if command == "serve" else place.run(*command.split())
    assert (code, said.count("\n"), why in said) == (1, 1, True), said
    return said


def serve(place: Place) -> tuple[int, str]:
    """Runs `serve` in its own process, and ends it if it does not fail within 30 seconds."""
    process = place.start("serve")
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    process.terminate()
    said = "".join(process.communicate())
    return process.returncode, said


USERS_BEFORE = ("Alice Liddell", "ÄNNE", "Zoe\u0308", "Straße")


def test_a_migration_fills_in_the_search_key_of_each_user(place: Place) -> None:
    place.run("migrate")
    values = [
        f"('{n}', 'u{n}@xn--bcher-kva.de', '{name}', 'u{n}', '', '2026-11-24T09:12:00.000000+00:00')"
        for n, name in enumerate(USERS_BEFORE * 600)
    ]
    place.rows(
        "UPDATE alembic_version SET version_num = '0002'",
        "ALTER TABLE users DROP COLUMN search_key",
        f"INSERT INTO users (id, email, name, slug, password_hash, created_at) VALUES {', '.join(values)}",
        "SELECT 1",
    )
    assert place.run("migrate") == (0, "")
    keys = place.rows("SELECT name, search_key FROM users WHERE id IN ('0', '1', '2', '3')")
    assert dict(keys) == {
        name: f"{folded}\nu{n}@xn--bcher-kva.de\nu{n}@bücher.de"
        for n, (name, folded) in enumerate(
            zip(USERS_BEFORE, ("alice liddell", "änne", "zoë", "strasse"), strict=True)
        )
    }
    assert place.rows("SELECT count(*) FROM users WHERE search_key IS NULL") == [(0,)]


def test_the_operator_commands_work_on_both_databases(place: Place) -> None:
    create = (
        "users",
        "create",
        "--email",
        "ada@example.com",
        "--name",
        "Ada",
        "--role",
        "admin",
        "--password-stdin",
    )
    code, said = place.run("users", "list")
    assert (code, "the database has no tables yet: run `latchkey migrate` first" in said) == (
        1,
        True,
    )
    place.run("migrate")
    assert place.run(*create, typed=f"{PASSWORD}\n") == (
        0,
        "created ada@example.com with the role admin\n",
    )
    assert place.run(*create, typed=f"{PASSWORD}\n") == (
        1,
        "latchkey: An account with this email already exists.\n",
    )
    code, said = place.run("users", "role", "ada@example.com", "user")
    assert (code, "last administrator" in said) == (1, True)
    told = place.run(
        "users", "set-password", "ada@example.com", "--password-stdin", typed="another-No.7\n"
    )
    assert told == (0, "the password was changed, and 0 sessions were ended\n")
    assert "admin     ada@example.com  Ada" in place.run("users", "list")[1]
