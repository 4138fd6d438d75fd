"""Tests that no data leaks without the guards, and that the guards work without the database."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import httpx
import pytest

from db.crypto.passwords import Passwords
from tests.conftest import House
from tests.people import HTMX, PASSWORD, Browser, path_of, set_cookie_of
from tests.unguarded import without_guards
from web.app import App, create_app
from web.middleware.guard import Guard, Kind
from web.router import Row
from web.routes import routes

CANARIES = [
    "Alice",
    "alice@example.com",
    "+49 30 canary",
    "Canary Team",
    "192.0.2.14",
    "Bobby",
    "bobby@example.com",
]
FIELDS = {
    "name": "Changed",
    "slug": "changed",
    "phone": "Changed",
    "email": "changed@example.com",
    "current_password": PASSWORD,
    "password": "changed-No.9 to it",
    "role": "admin",
    "team": "Changed",
}


@pytest.fixture
def passwords(cheap: Passwords) -> Passwords:
    return cheap


def unguarded(house: House) -> House:
    """Returns the same application with routes that lead directly to their endpoints."""
    app = App(without_guards(house.app.router.routes), house.app.user_middleware)
    app.state = house.app.state
    return replace(house, app=app)


def rows_for(*kinds: Kind) -> Iterator[tuple[str, Row]]:
    for row in routes:
        if row.kind in kinds:
            for method in row.by_method:
                yield method, row


async def address(house: House, row: Row) -> str:
    """Returns the route's URL path with the ids of Alice in it."""
    ((user_id, device),) = await house.rows(
        "SELECT user_id, sessions.id FROM sessions JOIN users ON users.id = user_id WHERE name = 'Alice'"
    )
    place = {
        "slug": "alice",
        "field": "name",
        "id": device if row.path.startswith("/devices") else user_id,
    }
    return re.sub(r"{(\w+)}", lambda match: place[match[1]], row.path)


async def everything(house: House) -> list[list[tuple]]:
    return [
        await house.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("users", "sessions")
    ]


async def open_door(house: House, person: Browser) -> Browser:
    """Returns a browser of the same user for the application without guards."""
    visitor = await unguarded(house).browser(person.name, person.email)
    visitor.cookie = person.cookie
    return visitor


@pytest.fixture
async def revoked(house: House, alice: Browser) -> Browser:
    """Returns a browser of Bobby with a correctly signed cookie of an ended session.

    The database contains data of Alice that Bobby may not see.
    """
    await alice.post("/account", {"phone": "+49 30 canary"})
    await house.change("UPDATE users SET team = 'Canary Team' WHERE name = 'Alice'")
    bobby = await house.member("Bobby")
    thief = await house.thief_of(bobby)
    await bobby.post("/logout")
    return thief


async def test_the_unguarded_house_has_no_guard_in_it(house: House) -> None:
    assert all(not isinstance(row.app, Guard) for row in unguarded(house).app.router.routes)
    assert all(isinstance(row.app, Guard) for row in house.app.router.routes)


@pytest.mark.guide("D12", "D16", "D29", "T1", "T14")
@pytest.mark.asvs("S01", "S04")
@pytest.mark.parametrize("who", ["stranger", "revoked"])
async def test_without_guards_nobody_without_a_live_session_sees_or_does_anything(
    house: House, revoked: Browser, who: str
) -> None:
    visitor = await open_door(house, revoked)
    cookie = revoked.cookie if who == "revoked" else None
    before = await everything(house)
    for method, row in rows_for(Kind.MEMBERS, Kind.ADMINS):
        path = await address(house, row)
        for headers in ({}, HTMX):
            visitor.cookie = cookie
            answer = await visitor.ask(
                method, path, FIELDS if method == "POST" else None, **headers
            )
            if path == "/handbook":
                assert answer.status_code == 200
            else:
                assert is_turned_away(answer, path), (method, path)
                assert bool(set_cookie_of(answer)) == (who == "revoked")
            assert not [
                canary for canary in CANARIES if canary in str(answer.headers) + answer.text
            ], path
    assert await everything(house) == before


def is_turned_away(answer: httpx.Response, path: str) -> bool:
    target = answer.headers.get("location") or answer.headers.get("hx-redirect")
    if path.startswith("/api/"):
        return (answer.status_code, target) == (401, None)
    return answer.status_code in (303, 401) and path_of(target) == "/login"


@pytest.mark.guide("D12", "D30", "D31", "T14")
@pytest.mark.asvs("S01", "S04")
async def test_without_guards_a_user_sees_and_does_nothing_of_the_administrators(
    house: House, revoked: Browser, bob: Browser
) -> None:
    visitor, before = await open_door(house, bob), await everything(house)
    for method, row in rows_for(Kind.ADMINS):
        path = await address(house, row)
        for headers in ({}, HTMX):
            answer = await visitor.ask(
                method, path, FIELDS if method == "POST" else None, **headers
            )
            assert answer.status_code == 403, path
            assert not [
                canary for canary in CANARIES if canary in str(answer.headers) + answer.text
            ], path
    assert await everything(house) == before
    assert await visitor.is_in()


@pytest.mark.guide("D12")
async def test_without_guards_those_who_may_still_can(
    house: House, bob: Browser, ada: Browser
) -> None:
    """Shows that the tests above do not pass only because everything is refused."""
    for person, pages in (
        (bob, ["/dashboard", "/devices", "/account"]),
        (ada, ["/admin/users", "/api/admin/users"]),
    ):
        visitor = await open_door(house, person)
        assert [(await visitor.get(page)).status_code for page in pages] == [200] * len(pages)


@pytest.mark.guide("D6", "D12")
async def test_the_handbook_is_the_one_page_that_then_opens_and_it_holds_nobodys_data(
    house: House, revoked: Browser
) -> None:
    visitor = await open_door(house, revoked)
    visitor.cookie, opened, before = None, {}, house.statements
    for method, row in rows_for(Kind.MEMBERS, Kind.ADMINS):
        answer = await visitor.ask(method, re.sub(r"{\w+}", "name", row.path))
        opened |= {row.path: answer} if answer.status_code == 200 else {}
    assert [*opened] == ["/handbook"]
    assert house.statements == before
    revoked_sees = (await revoked.get("/handbook")).text
    assert not [canary for canary in CANARIES if canary in opened["/handbook"].text + revoked_sees]


class Untouchable:
    """Raises an error at every access and records it."""

    def __init__(self) -> None:
        self.touched: list[str] = []

    def __getattr__(self, name: str) -> NoReturn:
        self.touched.append(name)
        raise AssertionError(f"the guard asked the database: {name}")


@pytest.fixture
def without_database(house: House) -> House:
    """Returns the same application on a database that raises an error at every access."""
    database: Any = Untouchable()
    store = replace(house.store, database=database)
    return replace(house, app=create_app(house.settings, store, house.clock), store=store)


@pytest.mark.guide("D1", "D5", "D7", "D9")
async def test_without_a_database_strangers_are_still_sent_to_log_in(
    house: House, revoked: Browser, without_database: House
) -> None:
    stranger = await without_database.browser("Charlie")
    for method, row in rows_for(Kind.MEMBERS, Kind.ADMINS):
        path = await address(house, row)
        for headers in ({}, HTMX):
            answer = await stranger.ask(
                method, path, FIELDS if method == "POST" else None, **headers
            )
            assert is_turned_away(answer, path), path
    assert without_database.store.database.touched == []


@pytest.mark.guide("D1", "D5", "D7", "D10")
async def test_without_a_database_members_are_still_sent_to_the_dashboard_and_their_forms_not_heard(
    bob: Browser, without_database: House
) -> None:
    member = await without_database.browser("Bob")
    member.cookie = bob.cookie
    for method, row in rows_for(Kind.GUESTS):
        path = row.path.replace("{field}", "name")
        page, fragment = (
            await member.ask(method, path, FIELDS),
            await member.ask(method, path, FIELDS, **HTMX),
        )
        if method == "GET":
            assert (page.status_code, page.headers["location"]) == (303, "/dashboard")
            assert (fragment.status_code, fragment.headers["hx-redirect"]) == (204, "/dashboard")
            assert without_database.store.database.touched == []
        else:
            assert [(answer.status_code, set_cookie_of(answer)) for answer in (page, fragment)] == [
                (500, {})
            ] * 2
            without_database.store.database.touched.clear()
    assert (await member.get("/handbook")).status_code == 200
    assert without_database.store.database.touched == []


@pytest.mark.asvs("S39")
async def test_without_a_database_nothing_of_anybodys_is_shown_and_nobody_is_logged_out(
    house: House, bob: Browser, without_database: House
) -> None:
    """Also checks that the replaced database records accesses."""
    member = await without_database.browser("Bob")
    member.cookie = bob.cookie
    for path in ("/dashboard", "/users/bob", "/admin/users", "/api/session"):
        answer = await member.get(path)
        assert (answer.status_code, set_cookie_of(answer), "Bob" in answer.text) == (500, {}, False)
    assert without_database.store.database.touched != []
    assert await bob.is_in()
