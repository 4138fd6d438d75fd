"""Tests of the maintenance tasks: pruning, and opening a database that was not available at the
start.
"""

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from db.crypto.passwords import Passwords
from db.errors import Unavailable
from db.maintenance.pruning import prune, run_pruning
from db.maintenance.startup import open_database, retry_opening, run_maintenance
from db.tables import SCHEMA
from tests.browser_client import Browser
from tests.conftest import TestApp
from web.app import create_app

EXPIRED = 10_000


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
def database_type() -> str:
    """Selects SQLite, because these tests write to its file directly."""
    return "sqlite"


def insert_expired_sessions(app: TestApp, count: int = EXPIRED) -> None:
    """Inserts copies of an existing session that expired a minute ago."""
    expired_at = (app.clock() - timedelta(minutes=1)).isoformat(timespec="microseconds")
    with closing(sqlite3.connect(app.path)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(sessions)")]
        changed = {
            "id": "'old' || value",
            "token_hash": "'old' || value",
            "expires_at": f"'{expired_at}'",
        }
        names, values = (
            ", ".join(columns),
            ", ".join(changed.get(column, column) for column in columns),
        )
        numbers = (
            f"WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT {count})"
        )
        source = "FROM n, (SELECT * FROM sessions LIMIT 1)"
        connection.execute(f"{numbers} INSERT INTO sessions ({names}) SELECT {values} {source}")


@pytest.fixture
def pruning(app: TestApp) -> Iterator[Callable]:
    """Starts the pruning loop of the application with a short interval."""
    tasks = []

    def start(every: float = 0.02) -> asyncio.Task:
        tasks.append(asyncio.create_task(run_pruning(app.store, every)))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()


async def until(condition: Callable, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  (the awaited change happens in the database)
            await asyncio.sleep(0.02)


@pytest.mark.alone
@pytest.mark.asvs("S95")
@pytest.mark.reliability("R23")
async def test_pruning_10_000_sessions_does_not_block_sign_ups(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    insert_expired_sessions(app)
    pruning = asyncio.create_task(prune(app.store))
    new_users = [
        await app.browser(f"Newcomer {number}", f"n{number}@example.com") for number in range(20)
    ]
    slowest, signed_up = 0.0, 0
    for user in new_users:
        before = asyncio.get_running_loop().time()
        signed_up += (await user.sign_up()).status_code == 303
        slowest = max(slowest, asyncio.get_running_loop().time() - before)
        await asyncio.sleep(0.02)
    assert (signed_up, pruning.done()) == (20, False)
    assert slowest < 1
    assert await pruning == EXPIRED
    assert await app.count("sessions") == 22
    assert [await user.is_logged_in() for user in (alice, bob, *new_users)] == [True] * 22


@pytest.mark.asvs("S95")
async def test_a_session_is_pruned_once_it_has_expired(app: TestApp, alice: Browser) -> None:
    app.clock.move(days=7, seconds=-1)
    assert await prune(app.store) == 0
    app.clock.move(seconds=1)
    assert not await alice.is_logged_in()  # The session has expired although its row still exists.
    assert await app.count("sessions") == 1
    assert await prune(app.store) == 1


@pytest.mark.reliability("R23")
async def test_pruning_is_postponed_while_the_database_is_locked(
    make_app: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    app = await make_app(lock_timeout=0.05)
    await app.sign_up_user("Alice")
    insert_expired_sessions(app, 3)
    with app.locked():
        task = asyncio.create_task(run_pruning(app.store, 0.02))
        await until(lambda: is_logged(caplog, "pruning is postponed"))
    await until(lambda: has_sessions(app, 1))
    task.cancel()


@pytest.mark.reliability("R23")
async def test_the_pruning_loop_survives_errors(
    app: TestApp, alice: Browser, pruning: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    insert_expired_sessions(app, 3)
    await app.change("ALTER TABLE sessions RENAME TO renamed_sessions")
    task = pruning()
    await until(lambda: is_logged(caplog, "pruning failed"))
    await app.change("ALTER TABLE renamed_sessions RENAME TO sessions")
    await until(lambda: has_sessions(app, 1))
    assert not task.done()
    assert await alice.is_logged_in()


async def test_processes_start_pruning_at_different_times(app: TestApp, pruning: Callable) -> None:
    """Each process waits for a random time before its first pruning."""
    delays = []
    for _ in range(4):
        started, before = monotonic(), app.statements
        task = pruning(5)
        await until(lambda before=before: has_queried_since(app, before))
        delays.append(monotonic() - started)
        task.cancel()
    assert max(delays) - min(delays) > 0.02


async def is_logged(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


async def has_sessions(app: TestApp, count: int) -> bool:
    return await app.count("sessions") == count


async def has_queried_since(app: TestApp, before: int) -> bool:
    return app.statements > before


@pytest.fixture
async def closed_app(make_app: Callable, tmp_path: Path) -> TestApp:
    """Returns an application whose database was not available at the start, because a folder has
    its path.
    """
    # The application disconnects the database when it stops.
    app = await make_app(hashing=Passwords(memory_kib=8, passes=1))
    await app.store.database.disconnect()
    app.path.rename(tmp_path / "unreachable.db")
    app.path.mkdir()
    return app


def restore_database(app: TestApp, version: str | None = None) -> None:
    app.path.rmdir()
    shutil.move(app.path.with_name("unreachable.db"), app.path)
    if version:
        set_version(app, version)


def set_version(app: TestApp, version: str) -> None:
    with closing(sqlite3.connect(app.path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


@pytest.mark.asvs("S39")
@pytest.mark.reliability("R22")
async def test_an_unavailable_database_is_opened_once_it_is_available(
    closed_app: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    anonymous = await closed_app.browser("Alice")
    problem = await open_database(closed_app.store)
    assert problem == f"the database cannot be used: {closed_app.path} is a directory"
    task = asyncio.create_task(run_maintenance(closed_app.store, problem))
    statuses = [
        (await anonymous.get(path)).status_code
        for path in ("/healthz", "/login", "/readyz", "/api/session")
    ]
    assert statuses == [200, 200, 503, 401]
    assert (await anonymous.sign_up()).status_code == 503
    restore_database(closed_app)
    await until(lambda: is_ready(anonymous))
    assert (await anonymous.sign_up()).status_code == 303
    assert caplog.text.count("the database cannot be used") == 1
    task.cancel()


@pytest.mark.asvs("S39")
@pytest.mark.reliability("R18")
@pytest.mark.parametrize(("version", "word"), [("9999", "newer"), ("0004", "older")])
async def test_a_database_with_another_schema_is_not_used(
    closed_app: TestApp, version: str, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    anonymous = await closed_app.browser("Alice")
    task = asyncio.create_task(
        retry_opening(closed_app.store, await open_database(closed_app.store))
    )
    restore_database(closed_app, version)
    await until(lambda: is_logged(caplog, f"{word} than this program"))
    assert (await anonymous.get("/readyz")).status_code == 503
    assert (await anonymous.sign_up()).status_code == 503
    with pytest.raises(Unavailable):
        await closed_app.store.value(None)
    with pytest.raises(Unavailable):
        async with closed_app.store.transaction():
            ...
    assert sqlite3.connect(closed_app.path).execute("SELECT count(*) FROM users").fetchone() == (0,)
    set_version(closed_app, SCHEMA)
    await until(lambda: is_ready(anonymous))
    await task


async def is_ready(user: Browser) -> bool:
    return (await user.get("/readyz")).status_code == 200


async def test_the_application_opens_the_database_in_its_lifespan(closed_app: TestApp) -> None:
    asgi_app = create_app(closed_app.settings, closed_app.store, closed_app.clock)
    async with asgi_app.router.lifespan_context(asgi_app):
        assert (await open_database(closed_app.store)).startswith("the database cannot be used")
        restore_database(closed_app)
        await until(lambda: is_open(closed_app))
    assert not closed_app.store.database.is_connected


async def is_open(app: TestApp) -> bool:
    with suppress(Unavailable):
        await app.rows("SELECT 1")
        return True
    return False
