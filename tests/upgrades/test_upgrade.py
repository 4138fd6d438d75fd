"""Tests of upgrades from the release with revision 0004: its rows, sessions and product survive.

The product and the rows in this folder are frozen. If a test fails, the release breaks a promise of
docs/upgrading.md.
"""

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import IntegrityError

from db.access import audit
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.engine.statement import Conflict
from db.maintenance.schema import migrate
from db.product import ProductData
from db.tables import SCHEMA
from db.viewer import Operator
from tests.browser_client import Browser
from tests.conftest import SECRET, Clock, TestApp
from tests.databases import SQLiteDatabases
from tests.empty_database import EmptyDatabase
from web.app import create_app, open_store
from web.product import Product, load_product
from web.settings.paths import ROOT
from web.settings.settings import read_settings

HERE = Path(__file__).parent
ROWS = (HERE / "release_0004.sql").read_text()
COOKIES = json.loads((HERE / "release_0004_cookies.json").read_text())
TABLES = ("users", "sessions", "tokens", "outbox", "audit", "trail_head")
URL = "https://example.com/from-before"
PARTS = ("web", "db", "partials", "static", "pyproject.toml", "README.md", "LICENSE", ".gitignore")
NEXT_MIGRATION = f'''"""Changes nothing."""

revision = "9999"
down_revision = "{SCHEMA}"


def upgrade() -> None:
    pass
'''
MAIN = "from web.cli.main import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def product() -> Product:
    return load_product(HERE / "product", "frozen_product")


@pytest.fixture
def old_database(empty_database: EmptyDatabase, product: Product) -> Iterator[EmptyDatabase]:
    """Yields a database with the rows of the previous release and one bookmark of Alice."""
    migrate(Secret(empty_database.url), "0004", product.data)
    insert = f"""
        INSERT INTO bookmarks SELECT '1', id, '{URL}', created_at FROM users WHERE name = 'Alice';
    """
    if empty_database.server:
        name = empty_database.url.rpartition("/")[2]
        empty_database.server.do(execute(empty_database.server.url_of(name), ROWS + insert))
    else:
        with closing(sqlite3.connect(empty_database.path)) as connection:
            connection.executescript(ROWS + insert)
    yield empty_database


async def execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(script)
    await connection.close()


@pytest.fixture
async def app(
    old_database: EmptyDatabase,
    product: Product,
    clock: Clock,
    passwords: Passwords,
    tmp_path: Path,
) -> AsyncIterator[TestApp]:
    """Yields the present program with the frozen product, on the migrated database."""
    await migrate_in_thread(old_database, product.data)
    environ = {
        "DATABASE_URL": old_database.url,
        "SESSION_SECRET": SECRET,
        "RATE_LIMITS": "off",
    }
    settings = read_settings(environ, data=tmp_path)
    store = open_store(settings, passwords=passwords, now=clock, product=product.data)
    async with AsyncExitStack() as stack:
        await store.database.connect()
        stack.push_async_callback(store.database.disconnect)
        asgi_app = create_app(settings, store, clock, product=product)
        databases = SQLiteDatabases(tmp_path / "unused")
        yield TestApp(asgi_app, store, settings, clock, stack, tmp_path, databases)


async def migrate_in_thread(database: EmptyDatabase, product: ProductData) -> None:
    """Migrates outside of this event loop, because Alembic starts its own for PostgreSQL."""
    await asyncio.to_thread(migrate, Secret(database.url), product=product)


def rows_of(database: EmptyDatabase, table: str, columns: str) -> list[tuple]:
    return sorted(database.rows(f"SELECT {columns} FROM {table}"), key=str)


def columns_of(database: EmptyDatabase, table: str) -> str:
    query = f"SELECT name FROM pragma_table_info('{table}')"
    if database.server:
        query = (
            "SELECT column_name::text FROM information_schema.columns "
            f"WHERE table_name = '{table}' AND table_schema = 'public' ORDER BY ordinal_position"
        )
    return ", ".join(name for (name,) in database.rows(query))


def test_a_migration_keeps_every_row(old_database: EmptyDatabase, product: Product) -> None:
    tables = (*TABLES, "bookmarks")
    columns = {table: columns_of(old_database, table) for table in tables}
    before = {table: rows_of(old_database, table, columns[table]) for table in tables}
    assert all(before.values())
    migrate(Secret(old_database.url), product=product.data)
    assert {table: rows_of(old_database, table, columns[table]) for table in tables} == before
    if not old_database.server:
        assert old_database.rows("PRAGMA foreign_key_check") == []
        assert old_database.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET role = 'editor' WHERE name = 'Alice'",
        "INSERT INTO sessions SELECT 'x', 'nobody', 'x', created_at, last_seen_at, expires_at, "
        "browser, system, kind, user_agent, address, is_remembered, NULL, NULL FROM sessions LIMIT 1",
        "INSERT INTO tokens SELECT 'x', purpose, 'nobody', email, event, created_at, expires_at "
        "FROM tokens LIMIT 1",
    ],
)
async def test_foreign_keys_still_refuse_unknown_roles_and_users(app: TestApp, change: str) -> None:
    counts = [await app.count(table) for table in TABLES]
    with pytest.raises((Conflict, IntegrityError)):
        await app.change(change)
    assert [await app.count(table) for table in TABLES] == counts
    assert await app.rows("SELECT role FROM users WHERE name = 'Alice'") == [("user",)]


async def test_deleting_a_user_still_deletes_their_sessions(app: TestApp) -> None:
    await app.change("DELETE FROM users WHERE name = 'Alice'")
    for table in ("sessions", "tokens", "bookmarks"):
        query = f"SELECT count(*) FROM {table} WHERE user_id NOT IN (SELECT id FROM users)"
        assert await app.rows(query) == [(0,)]
    assert (await app.count("sessions"), await app.count("bookmarks")) == (3, 0)


@pytest.mark.parametrize("name", COOKIES)
async def test_an_old_session_is_still_logged_in(app: TestApp, name: str) -> None:
    browser = await app.browser(name)
    browser.cookie = COOKIES[name]
    response = await browser.get("/dashboard")
    assert (response.status_code, name in response.text) == (200, True)


async def test_an_old_user_can_log_in_and_a_disabled_one_cannot(app: TestApp) -> None:
    bob, zoe = await app.browser("Bob"), await app.browser("Zoe")
    assert ((await bob.log_in()).status_code, await bob.is_logged_in()) == (303, True)
    assert ((await zoe.log_in()).status_code, await zoe.is_logged_in()) == (422, False)


async def test_the_old_audit_log_still_verifies_and_continues(app: TestApp) -> None:
    bob = await app.browser("Bob")
    await bob.log_in()
    verdict = await audit.verify_log(Operator(app.store))
    assert (verdict.problem, verdict.entries) == ("", 6)


@pytest.fixture
async def alice(app: TestApp) -> Browser:
    alice = await app.browser("Alice")
    alice.cookie = COOKIES["Alice"]
    return alice


async def test_the_routes_and_tables_of_an_old_product_work(app: TestApp, alice: Browser) -> None:
    assert (await alice.get("/api/bookmarks")).json() == [URL]
    app.clock.move(minutes=1)
    assert (await alice.post("/bookmarks", {"url": "https://example.org/"})).status_code == 303
    assert (await alice.get("/api/bookmarks")).json() == [URL, "https://example.org/"]
    anonymous = await app.browser("Charlie")
    assert (await anonymous.post("/bookmarks", {"url": "https://evil.example/"})).status_code == 303
    assert await app.count("bookmarks") == 2


async def test_the_partials_of_an_old_product_are_rendered(app: TestApp, alice: Browser) -> None:
    assert URL in (await alice.get("/bookmarks")).text
    anonymous = await app.browser("Charlie")
    assert "Bookmarks for your team" in (await anonymous.get("/")).text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a copy of the present tree, without the product."""
    folder = tmp_path / "checkout"
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(source, folder / part)
    return folder


def files_of(folder: Path) -> list[Path]:
    return [
        path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"
    ]


def run_in(checkout: Path, *command: str, code: int = 0, **environ: str) -> str:
    """Runs `latchkey` of a checkout in a separate process, and returns its output."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *command],
        cwd=checkout,
        env={"SESSION_SECRET": SECRET, "PYTHONDONTWRITEBYTECODE": "1", **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_doctor_names_a_product_that_cannot_be_loaded(checkout: Path, tmp_path: Path) -> None:
    (checkout / "product").mkdir()
    (checkout / "product" / "__init__.py").write_text("")
    (checkout / "product" / "routes.py").write_text("import there_is_no_such_module\n")
    url = f"sqlite:///{tmp_path}/latchkey.db"
    output = run_in(checkout, "doctor", code=1, DATABASE_URL=url, PORT="1")
    (line,) = [line for line in output.splitlines() if line.startswith("error    product: ")]
    assert "No module named 'there_is_no_such_module'" in line


def git(folder: Path, *command: str) -> str:
    settings = [
        "-c",
        "user.name=Test",
        "-c",
        "user.email=test@example.com",
        "-c",
        "core.hooksPath=/",
    ]
    done = subprocess.run(
        ["git", *settings, *command],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_release_merges_into_a_product_without_conflict(
    checkout: Path, product: Product, tmp_path: Path
) -> None:
    """The release changes files all over the tree, and adds a migration."""
    git(checkout, "init", "--quiet", "--initial-branch=latchkey")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message=Release")
    git(checkout, "checkout", "--quiet", "-b", "product")
    shutil.copytree(
        HERE / "product", checkout / "product", ignore=shutil.ignore_patterns("__pycache__")
    )
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message=Product")
    added = git(checkout, "show", "--name-only", "--format=").split()
    assert len(added) == len(files_of(HERE / "product"))
    assert all(path.startswith("product/") for path in added)
    url = f"sqlite:///{tmp_path}/latchkey.db"
    first = run_in(checkout, "migrate", DATABASE_URL=url)
    assert "applied: Creates the table of bookmarks." in first

    git(checkout, "checkout", "--quiet", "latchkey")
    for path in [*checkout.glob("web/**/*.py"), *checkout.glob("partials/**/*.html")]:
        path.write_text(path.read_text() + "\n")
    (checkout / "db/migrations/versions/9999_next.py").write_text(NEXT_MIGRATION)
    tables = checkout / "db/tables.py"
    tables.write_text(tables.read_text().replace(f'Final = "{SCHEMA}"', 'Final = "9999"'))
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message=Next release")
    git(checkout, "checkout", "--quiet", "product")
    git(checkout, "merge", "--quiet", "--no-edit", "latchkey")
    assert git(checkout, "status", "--porcelain") == ""

    second = run_in(checkout, "migrate", DATABASE_URL=url)
    assert second.splitlines() == [
        "applied: Changes nothing.",
        "the database has revision 9999 of this program",
        "the database has revision 0001 of the product",
    ]
