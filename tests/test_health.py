"""Tests of the liveness and readiness checks."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import pytest
from databases import Database

from db.crypto.passwords import Passwords
from tests.conftest import Clock, House
from tests.databases import KINDS
from tests.people import Browser
from web.app import create_app
from web.endpoints.health import DEADLINE


@pytest.mark.asvs("S108")
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_healthy_house_says_ok_and_no_more(stranger: Browser, path: str) -> None:
    answer = await stranger.get(path)
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_to_live_takes_no_query(house: House, stranger: Browser) -> None:
    before = house.statements
    await stranger.get("/healthz")
    assert house.statements == before


@pytest.mark.asvs("S108")
async def test_a_house_without_its_database_lives_but_is_not_ready(make_house: Callable) -> None:
    house = await make_house(away=True)
    stranger = await house.browser("Charlie")
    answer = await stranger.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
    assert int(answer.headers["retry-after"]) > 0
    assert (await stranger.get("/healthz")).status_code == 200


@pytest.mark.asvs("S108", "S39")
async def test_a_database_that_hangs_is_told_within_the_deadline(make_house: Callable) -> None:
    """The server accepts the connection and sends nothing, as one behind a broken network does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:hush@127.0.0.1:{silent.getsockname()[1]}/latchkey"
        house = await make_house()
        store = replace(house.store, database=Database(url))
        await store.database.connect()
        app = create_app(house.settings, store, house.clock)
        stranger, before = await replace(house, app=app).browser("Charlie"), monotonic()
        answer = await stranger.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
        assert monotonic() - before < DEADLINE + 1
        assert (await stranger.get("/healthz")).status_code == 200
        await store.database.disconnect()


HOLDS = {
    "head": "UPDATE trail_head SET seal = seal",
    "users": "LOCK TABLE users IN SHARE MODE",
    "sessions": "LOCK TABLE sessions IN SHARE MODE",
}


@pytest.mark.asvs("S108")
@pytest.mark.parametrize(
    ("kind", "hold"), [("sqlite", "head"), *[("postgresql", hold) for hold in HOLDS]]
)
async def test_a_database_that_takes_no_log_in_is_not_ready(
    make_house: Callable, cheap: Passwords, hold: str
) -> None:
    """Another process holds a lock in a transaction, or an index is being built."""
    house, other = await make_house(hashing=cheap, patience=0.2), await make_house(hashing=cheap)
    alice = await house.member("Alice")
    async with other.store.transaction():
        await other.change(HOLDS[hold])
        answer = await alice.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
        assert (await (await house.browser("Alice")).log_in()).status_code == 503
        assert await alice.is_in(), "reading goes on"
    assert (await alice.get("/readyz")).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_many_probes_take_the_locks_once_a_second(make_house: Callable, clock: Clock) -> None:
    house = await make_house()
    stranger = await house.browser("Charlie")
    backend = house.store.database._backend
    await stranger.get("/readyz")
    once, before = backend.writes, backend.writes
    assert once > 0
    answers = await asyncio.gather(*[stranger.get("/readyz") for _ in range(20)])
    assert ({answer.status_code for answer in answers}, backend.writes) == ({200}, before)
    clock.move(seconds=1)
    await asyncio.gather(*[stranger.get("/readyz") for _ in range(20)])
    assert backend.writes == before + once


@pytest.mark.parametrize("kind", KINDS)
async def test_a_probe_changes_nothing(make_house: Callable, cheap: Passwords) -> None:
    house = await make_house(hashing=cheap)
    alice = await house.member("Alice")
    before = [
        await house.rows(f"SELECT * FROM {table}")
        for table in ("users", "sessions", "audit", "trail_head")
    ]
    assert (await alice.get("/readyz")).status_code == 200
    after = [
        await house.rows(f"SELECT * FROM {table}")
        for table in ("users", "sessions", "audit", "trail_head")
    ]
    assert after == before


@pytest.mark.asvs("S108")
async def test_neither_says_anything_of_the_house(make_house: Callable, house: House) -> None:
    for one in (house, await make_house(house.path.with_name("away.db"), away=True)):
        stranger = await one.browser("Charlie")
        for path in ("/healthz", "/readyz"):
            told = (answer := await stranger.get(path)).text.lower() + str(answer.headers).lower()
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
            assert [word for word in words if word in told] == []


async def test_a_program_that_was_told_to_stop_is_not_ready(
    house: House, stranger: Browser
) -> None:
    house.app.state.draining = True
    answer = await stranger.get("/readyz")
    assert (answer.status_code, answer.text, answer.headers["connection"]) == (
        503,
        "shutting down\n",
        "close",
    )
    assert (await stranger.get("/healthz")).status_code == 200
