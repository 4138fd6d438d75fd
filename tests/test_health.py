"""Tests of the liveness and readiness checks."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import pytest
from databases import Database

from db.crypto.passwords import Passwords
from tests.browser_client import Browser
from tests.conftest import Clock, TestApp
from tests.databases import DATABASE_TYPES
from web.app import create_app
from web.endpoints.health import TIMEOUT_SECONDS


@pytest.mark.asvs("S108")
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_healthy_application_returns_ok(anonymous: Browser, path: str) -> None:
    answer = await anonymous.get(path)
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_the_liveness_check_costs_no_query(app: TestApp, anonymous: Browser) -> None:
    before = app.statements
    await anonymous.get("/healthz")
    assert app.statements == before


@pytest.mark.asvs("S108")
async def test_an_application_without_a_database_is_alive_but_not_ready(make_app: Callable) -> None:
    app = await make_app(unreachable=True)
    anonymous = await app.browser("Charlie")
    answer = await anonymous.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
    assert int(answer.headers["retry-after"]) > 0
    assert (await anonymous.get("/healthz")).status_code == 200


@pytest.mark.asvs("S108", "S39")
async def test_a_hanging_database_is_reported_within_the_deadline(make_app: Callable) -> None:
    """The server accepts the connection and sends nothing, as one behind a broken network does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql://me:hush@127.0.0.1:{listener.getsockname()[1]}/latchkey"
        app = await make_app()
        store = replace(app.store, database=Database(url))
        await store.database.connect()
        asgi_app = create_app(app.settings, store, app.clock)
        anonymous, before = await replace(app, asgi_app=asgi_app).browser("Charlie"), monotonic()
        answer = await anonymous.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
        assert monotonic() - before < TIMEOUT_SECONDS + 1
        assert (await anonymous.get("/healthz")).status_code == 200
        await store.database.disconnect()


LOCKS = {
    "head": "UPDATE trail_head SET seal = seal",
    "users": "LOCK TABLE users IN SHARE MODE",
    "sessions": "LOCK TABLE sessions IN SHARE MODE",
}


@pytest.mark.asvs("S108")
@pytest.mark.parametrize(
    ("database_type", "lock"), [("sqlite", "head"), *[("postgresql", lock) for lock in LOCKS]]
)
async def test_the_application_is_not_ready_if_no_login_is_possible(
    make_app: Callable, fast_passwords: Passwords, lock: str
) -> None:
    """Another process holds a lock in a transaction, or an index is being built."""
    app, other = (
        await make_app(hashing=fast_passwords, lock_timeout=0.2),
        await make_app(hashing=fast_passwords),
    )
    alice = await app.sign_up_user("Alice")
    async with other.store.transaction():
        await other.change(LOCKS[lock])
        answer = await alice.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
        assert (await (await app.browser("Alice")).log_in()).status_code == 503
        assert await alice.is_logged_in(), "reading is possible"
    assert (await alice.get("/readyz")).status_code == 200


@pytest.mark.parametrize("database_type", DATABASE_TYPES)
async def test_readiness_checks_take_the_locks_once_a_second(
    make_app: Callable, clock: Clock
) -> None:
    app = await make_app()
    anonymous = await app.browser("Charlie")
    backend = app.store.database._backend
    await anonymous.get("/readyz")
    once, before = backend.writes, backend.writes
    assert once > 0
    answers = await asyncio.gather(*[anonymous.get("/readyz") for _ in range(20)])
    assert ({answer.status_code for answer in answers}, backend.writes) == ({200}, before)
    clock.move(seconds=1)
    await asyncio.gather(*[anonymous.get("/readyz") for _ in range(20)])
    assert backend.writes == before + once


@pytest.mark.parametrize("database_type", DATABASE_TYPES)
async def test_a_readiness_check_changes_nothing(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    alice = await app.sign_up_user("Alice")
    before = [
        await app.rows(f"SELECT * FROM {table}")
        for table in ("users", "sessions", "audit", "trail_head")
    ]
    assert (await alice.get("/readyz")).status_code == 200
    after = [
        await app.rows(f"SELECT * FROM {table}")
        for table in ("users", "sessions", "audit", "trail_head")
    ]
    assert after == before


@pytest.mark.asvs("S108")
async def test_health_checks_do_not_reveal_the_software(make_app: Callable, app: TestApp) -> None:
    for tested in (app, await make_app(app.path.with_name("unreachable.db"), unreachable=True)):
        anonymous = await tested.browser("Charlie")
        for path in ("/healthz", "/readyz"):
            response = (answer := await anonymous.get(path)).text.lower() + str(
                answer.headers
            ).lower()
            words = (
                "sqlite",
                "postgres",
                "latchkey",
                "uvicorn",
                "python",
                "/tmp",
                "traceback",
                "version",
            )
            assert [word for word in words if word in response] == []


async def test_a_draining_application_is_not_ready(app: TestApp, anonymous: Browser) -> None:
    app.asgi_app.state.draining = True
    answer = await anonymous.get("/readyz")
    assert (answer.status_code, answer.text, answer.headers["connection"]) == (
        503,
        "shutting down\n",
        "close",
    )
    assert (await anonymous.get("/healthz")).status_code == 200
