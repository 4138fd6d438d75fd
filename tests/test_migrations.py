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

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
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
class EmptyDatabase:
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
        result = run_command(*command, environ=self.environ, stdin=typed)
        return result.returncode, result.stdout + result.stderr

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.url,
            "ENV_FILE": "off",
            "SESSION_SECRET": SECRET,
        }

    def rows(self, *statements: str) -> list[tuple]:
        if self.server:
            return self.server.do(self.server.fetch(self.url.rpartition("/")[2], *statements))
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
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmptyDatabase]:
    if request.param == "sqlite":
        yield EmptyDatabase(f"sqlite:///{tmp_path}/latchkey.db", None)
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create()
    yield EmptyDatabase(server.url_of(name), server)
    server.drop(name)


def describe_schema(
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
            table: {part: sorted_texts(getattr(found, f"get_{part}")(table)) for part in parts}
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


def sorted_texts(items: list[dict] | dict) -> list[str]:
    return sorted(
        str({name: str(value) for name, value in item.items()})
        for item in ([items] if isinstance(items, dict) else items)
    )


def test_the_migrated_schema_equals_the_declared_tables(
    database: EmptyDatabase, tmp_path: Path
) -> None:
    assert database.run("migrate") == (0, "")
    migrated = describe_schema(database.url)
    assert database.rows("SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    if database.server:
        other = database.server.create()
        declared = describe_schema(database.server.url_of(other), metadata.create_all)
        database.server.drop(other)
    else:
        declared = describe_schema(f"sqlite:///{tmp_path}/declared.db", metadata.create_all)
    assert [*migrated] == sorted(metadata.tables)
    assert migrated == declared


@pytest.mark.reliability("R18")
def test_concurrent_migrations_wait_and_both_succeed(database: EmptyDatabase) -> None:
    with database.locked():
        migrations = [database.start("migrate"), database.start("migrate")]
        time.sleep(2.5)
        assert [migration.poll() for migration in migrations] == [None, None]
    assert [
        (*migration.communicate(timeout=60), migration.returncode) for migration in migrations
    ] == [("", "", 0)] * 2
    assert database.tables >= {"users", "sessions"}


@pytest.mark.reliability("R18")
def test_a_killed_migration_has_changed_nothing(database: EmptyDatabase) -> None:
    database.rows("CREATE TABLE notes (body TEXT)", "SELECT 1")
    before = database.tables
    with (stopped_in_an_index if database.server else stopped_before_the_commit)(
        database
    ) as migration:
        assert migration.poll() is None
        migration.kill()
        migration.communicate()
    assert database.tables == before
    assert database.run("migrate") == (0, "")
    assert database.tables >= {"users", "sessions", "notes"}


@contextmanager
def stopped_in_an_index(database: EmptyDatabase) -> Iterator[subprocess.Popen[str]]:
    """Yields a migration that an event trigger of PostgreSQL has stopped halfway."""
    sleeping = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    database.rows(*SLOW_INDEXES, "SELECT 1")
    migration = database.start("migrate")
    wait_until(lambda: database.rows(f"SELECT pid {sleeping}"))
    yield migration
    database.rows("DROP EVENT TRIGGER slow", f"SELECT pg_terminate_backend(pid) {sleeping}")


@contextmanager
def stopped_before_the_commit(database: EmptyDatabase) -> Iterator[subprocess.Popen[str]]:
    """Yields a migration whose COMMIT waits for a reader of the file."""
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM notes").fetchall()
        migration = database.start("migrate")
        wait_until(Path(f"{database.path}-journal").exists)
        time.sleep(0.5)
        yield migration


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.reliability("R18")
@pytest.mark.parametrize("command", ["migrate", "users list"])
def test_a_database_from_a_newer_version_is_refused_and_unchanged(
    database: EmptyDatabase, command: str
) -> None:
    database.run("migrate")
    database.rows(
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE users ADD COLUMN shoe_size TEXT",
        "SELECT 1",
    )
    before = describe_schema(database.url)
    code, output = database.run(*command.split())
    assert (code, output) == (
        1,
        f"latchkey: the database is newer than this program (revision 9999; needed: {SCHEMA})\n",
    )
    assert describe_schema(database.url) == before
    assert database.rows("SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.parametrize("command", ["migrate", "users list", "serve"])
def test_a_file_that_is_not_a_database_is_refused_and_unchanged(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "latchkey.db").write_text("This is a text file and not a database file.\n" * 100)
    before = (tmp_path / "latchkey.db").read_bytes()
    expect_one_line_error(
        EmptyDatabase(f"sqlite:///{tmp_path}/latchkey.db", None), command, "file is not a database"
    )
    assert (tmp_path / "latchkey.db").read_bytes() == before


@pytest.mark.parametrize("command", ["migrate", "users list", "serve"])
def test_a_corrupt_database_is_refused_in_one_line(
    migrated: Path, tmp_path: Path, command: str
) -> None:
    content = migrated.read_bytes()
    (tmp_path / "latchkey.db").write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    expect_one_line_error(
        EmptyDatabase(f"sqlite:///{tmp_path}/latchkey.db", None), command, "malformed"
    )


def test_the_database_of_another_program_is_refused_and_unchanged(database: EmptyDatabase) -> None:
    database.rows(
        "CREATE TABLE users (login TEXT)", "INSERT INTO users VALUES ('root')", "SELECT 1"
    )
    expect_one_line_error(database, "migrate", "exists")
    assert (database.tables, database.rows("SELECT * FROM users")) == ({"users"}, [("root",)])


@pytest.mark.asvs("S96")
@pytest.mark.parametrize("command", ["migrate", "users list"])
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("postgresql://unknown_role:canary-No.1@{host}/{name}", "unknown_role"),
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
    postgres_server: PostgresServer, command: str, template: str, expected: str
) -> None:
    user, _, host = (
        postgres_server.url_of("").removeprefix("postgresql://").strip("/").rpartition("@")
    )
    url = template.format(user=user.partition(":")[0], host=host, name="postgres")
    assert "canary" not in expect_one_line_error(EmptyDatabase(url, None), command, expected)


def expect_one_line_error(database: EmptyDatabase, command: str, expected: str) -> str:
    code, output = serve(database) if command == "serve" else database.run(*command.split())
    assert (code, output.count("\n"), expected in output) == (1, 1, True), output
    return output


def serve(database: EmptyDatabase) -> tuple[int, str]:
    """Runs `serve` in its own process, and ends it if it does not fail within 30 seconds."""
    process = database.start("serve")
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    process.terminate()
    output = "".join(process.communicate())
    return process.returncode, output


USERS_BEFORE = ("Alice Liddell", "ÄNNE", "Zoe\u0308", "Straße")


def test_a_migration_fills_in_the_search_key_of_each_user(database: EmptyDatabase) -> None:
    migrate(Secret(database.url), "0002")
    values = [
        f"('{n}', 'u{n}@xn--bcher-kva.de', '{name}', 'u{n}', '', '2026-11-24T09:12:00.000000+00:00')"
        for n, name in enumerate(USERS_BEFORE * 600)
    ]
    database.rows(
        f"INSERT INTO users (id, email, name, slug, password_hash, created_at) VALUES {', '.join(values)}",
        "SELECT 1",
    )
    assert database.run("migrate") == (0, "")
    keys = database.rows("SELECT name, search_key FROM users WHERE id IN ('0', '1', '2', '3')")
    assert dict(keys) == {
        name: f"{folded}\nu{n}@xn--bcher-kva.de\nu{n}@bücher.de"
        for n, (name, folded) in enumerate(
            zip(USERS_BEFORE, ("alice liddell", "änne", "zoë", "strasse"), strict=True)
        )
    }
    assert database.rows("SELECT count(*) FROM users WHERE search_key IS NULL") == [(0,)]


def test_the_operator_commands_work_on_both_databases(database: EmptyDatabase) -> None:
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
    code, output = database.run("users", "list")
    assert (code, "the database has no tables yet: run `latchkey migrate` first" in output) == (
        1,
        True,
    )
    database.run("migrate")
    assert database.run(*create, typed=f"{PASSWORD}\n") == (
        0,
        "created ada@example.com with the role admin\n",
    )
    assert database.run(*create, typed=f"{PASSWORD}\n") == (
        1,
        "latchkey: An account with this email already exists.\n",
    )
    code, output = database.run("users", "role", "ada@example.com", "user")
    assert (code, "last administrator" in output) == (1, True)
    result = database.run(
        "users", "set-password", "ada@example.com", "--password-stdin", typed="another-No.7\n"
    )
    assert result == (0, "the password was changed, and 0 sessions were ended\n")
    assert "admin     ada@example.com  Ada" in database.run("users", "list")[1]
