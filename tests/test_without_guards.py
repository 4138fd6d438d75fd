"""Tests that no data leaks without the guards, and that the guards work without the database."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import httpx
import pytest

from db.crypto.passwords import Passwords
from tests.browser_client import HTMX, PASSWORD, Browser, path_of, set_cookie_of
from tests.conftest import TestApp
from tests.environment import SECRET, WITH_PROVIDERS
from tests.without_guards import without_guards
from web.app import App, create_app
from web.middleware.guard import Guard, RouteAccess
from web.router import AppRoute
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
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
def environ() -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", **WITH_PROVIDERS}


def unguarded(app: TestApp) -> TestApp:
    """Returns the same application with routes that lead directly to their endpoints."""
    asgi_app = App(without_guards(app.asgi_app.router.routes), app.asgi_app.user_middleware)
    asgi_app.state = app.asgi_app.state
    return replace(app, asgi_app=asgi_app)


def routes_with(*accesses: RouteAccess) -> Iterator[tuple[str, AppRoute]]:
    for route in routes:
        if route.access in accesses:
            for method in route.endpoints:
                yield method, route


async def path_for_alice(app: TestApp, route: AppRoute) -> str:
    """Returns the route's URL path with the ids of Alice in it."""
    ((user_id, device),) = await app.rows(
        "SELECT user_id, sessions.id FROM sessions JOIN users ON users.id = user_id WHERE name = 'Alice'"
    )
    parameters = {
        "slug": "alice",
        "field": "name",
        "role": "user",
        "provider": "work",
        "domain": "example.com",
        "session": device,
        "id": device if "/devices" in route.path or "/sessions/" in route.path else user_id,
    }
    return re.sub(r"{(\w+)}", lambda match: parameters[match[1]], route.path)


async def all_rows(app: TestApp) -> list[list[tuple]]:
    return [await app.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("users", "sessions")]


async def open_without_guards(app: TestApp, user: Browser) -> Browser:
    """Returns a browser of the same user for the application without guards."""
    browser = await unguarded(app).browser(user.name, user.email)
    browser.cookie = user.cookie
    return browser


@pytest.fixture
async def revoked(app: TestApp, alice: Browser) -> Browser:
    """Returns a browser of Bobby with a correctly signed cookie of an ended session.

    The database contains data of Alice that Bobby may not see.
    """
    await alice.post("/account", {"phone": "+49 30 canary"})
    await app.change("UPDATE users SET team = 'Canary Team' WHERE name = 'Alice'")
    bobby = await app.sign_up_user("Bobby")
    attacker = await app.attacker_with_cookie_of(bobby)
    await bobby.post("/logout")
    return attacker


async def test_the_application_without_guards_has_no_guard(app: TestApp) -> None:
    assert all(not isinstance(route.app, Guard) for route in unguarded(app).asgi_app.router.routes)
    assert all(isinstance(route.app, Guard) for route in app.asgi_app.router.routes)


@pytest.mark.guide("D12", "D16", "D29", "T1", "T14")
@pytest.mark.asvs("S01", "S04")
@pytest.mark.parametrize("caller", ["anonymous", "revoked"])
async def test_without_guards_only_a_live_session_gives_access(
    app: TestApp, revoked: Browser, caller: str
) -> None:
    browser = await open_without_guards(app, revoked)
    cookie = revoked.cookie if caller == "revoked" else None
    before = await all_rows(app)
    for method, route in routes_with(RouteAccess.MEMBERS, RouteAccess.ADMINS):
        path = await path_for_alice(app, route)
        for headers in ({}, HTMX):
            browser.cookie = cookie
            answer = await browser.request(
                method, path, FIELDS if method not in ("GET", "DELETE") else None, **headers
            )
            if path == "/handbook":
                assert answer.status_code == 200
            else:
                assert is_denied(answer, path), (method, path)
                assert bool(set_cookie_of(answer)) == (caller == "revoked")
            assert not [
                canary for canary in CANARIES if canary in str(answer.headers) + answer.text
            ], path
    assert await all_rows(app) == before


def is_denied(answer: httpx.Response, path: str) -> bool:
    target = answer.headers.get("location") or answer.headers.get("hx-redirect")
    if path.startswith("/api/"):
        return (answer.status_code, target) == (401, None)
    return answer.status_code in (303, 401) and path_of(target) == "/login"


@pytest.mark.guide("D12", "D30", "D31", "T14")
@pytest.mark.asvs("S01", "S04")
async def test_without_guards_a_user_has_no_access_to_administration(
    app: TestApp, revoked: Browser, bob: Browser
) -> None:
    browser, before = await open_without_guards(app, bob), await all_rows(app)
    for method, route in routes_with(RouteAccess.ADMINS):
        path = await path_for_alice(app, route)
        for headers in ({}, HTMX):
            answer = await browser.request(
                method, path, FIELDS if method not in ("GET", "DELETE") else None, **headers
            )
            assert answer.status_code == 403, path
            assert not [
                canary for canary in CANARIES if canary in str(answer.headers) + answer.text
            ], path
    assert await all_rows(app) == before
    assert await browser.is_logged_in()


@pytest.mark.guide("D12")
async def test_without_guards_permitted_users_still_have_access(
    app: TestApp, bob: Browser, ada: Browser
) -> None:
    """Shows that the tests above do not pass only because everything is refused."""
    for user, pages in (
        (bob, ["/dashboard", "/devices", "/account"]),
        (ada, ["/admin/users", "/api/admin/users"]),
    ):
        browser = await open_without_guards(app, user)
        assert [(await browser.get(page)).status_code for page in pages] == [200] * len(pages)


@pytest.mark.guide("D6", "D12")
async def test_without_guards_only_the_handbook_is_public_and_has_no_user_data(
    app: TestApp, revoked: Browser
) -> None:
    browser = await open_without_guards(app, revoked)
    browser.cookie, public, before = None, {}, app.statements
    for method, route in routes_with(RouteAccess.MEMBERS, RouteAccess.ADMINS):
        answer = await browser.request(method, re.sub(r"{\w+}", "name", route.path))
        public |= {route.path: answer} if answer.status_code == 200 else {}
    assert [*public] == ["/handbook"]
    assert app.statements == before
    revoked_text = (await revoked.get("/handbook")).text
    assert not [canary for canary in CANARIES if canary in public["/handbook"].text + revoked_text]


class FailingDatabase:
    """Raises an error at every access and records it."""

    def __init__(self) -> None:
        self.accesses: list[str] = []

    def __getattr__(self, name: str) -> NoReturn:
        self.accesses.append(name)
        raise AssertionError(f"the guard accessed the database: {name}")


@pytest.fixture
def without_database(app: TestApp) -> TestApp:
    """Returns the same application on a database that raises an error at every access."""
    database: Any = FailingDatabase()
    store = replace(app.store, database=database)
    return replace(app, asgi_app=create_app(app.settings, store, app.clock), store=store)


@pytest.mark.guide("D1", "D5", "D7", "D9")
async def test_guards_redirect_anonymous_users_to_login_without_a_database(
    app: TestApp, revoked: Browser, without_database: TestApp
) -> None:
    anonymous = await without_database.browser("Charlie")
    for method, route in routes_with(RouteAccess.MEMBERS, RouteAccess.ADMINS):
        path = await path_for_alice(app, route)
        for headers in ({}, HTMX):
            answer = await anonymous.request(
                method, path, FIELDS if method not in ("GET", "DELETE") else None, **headers
            )
            assert is_denied(answer, path), path
    assert without_database.store.database.accesses == []


@pytest.mark.guide("D1", "D5", "D7", "D10")
async def test_guards_redirect_users_to_the_dashboard_without_a_database(
    bob: Browser, without_database: TestApp
) -> None:
    user = await without_database.browser("Bob")
    user.cookie = bob.cookie
    for method, route in routes_with(RouteAccess.GUESTS):
        path = route.path.replace("{field}", "name").replace("{provider}", "work")
        page, fragment = (
            await user.request(method, path, FIELDS),
            await user.request(method, path, FIELDS, **HTMX),
        )
        if method == "GET":
            assert (page.status_code, page.headers["location"]) == (303, "/dashboard")
            assert (fragment.status_code, fragment.headers["hx-redirect"]) == (204, "/dashboard")
            assert without_database.store.database.accesses == []
        else:
            assert [(answer.status_code, set_cookie_of(answer)) for answer in (page, fragment)] == [
                (500, {})
            ] * 2
            without_database.store.database.accesses.clear()
    assert (await user.get("/handbook")).status_code == 200
    assert without_database.store.database.accesses == []


@pytest.mark.asvs("S39")
async def test_without_a_database_no_user_data_is_shown_and_no_user_logged_out(
    app: TestApp, bob: Browser, without_database: TestApp
) -> None:
    """Also checks that the replaced database records accesses."""
    user = await without_database.browser("Bob")
    user.cookie = bob.cookie
    for path in ("/dashboard", "/users/bob", "/admin/users", "/api/session"):
        answer = await user.get(path)
        assert (answer.status_code, set_cookie_of(answer), "Bob" in answer.text) == (500, {}, False)
    assert without_database.store.database.accesses != []
    assert await bob.is_logged_in()
