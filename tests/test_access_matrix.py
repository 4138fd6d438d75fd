"""Compares the response to every type of caller on every route with the committed access matrix.

Each route is called as a page and as an htmx request, and every change of stored data is recorded.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from db.crypto.passwords import Passwords
from db.sessions.claimants import make_claim
from tests.browser_client import HTMX, IPHONE, PASSWORD, Browser
from tests.conftest import TestApp
from tests.dns_server import serving_dns
from tests.environment import SECRET, WITH_PROVIDERS
from tests.lying_provider import LyingProvider
from tests.organizations import DOMAIN, bind
from web.middleware.guard import RouteAccess

TABLE = Path(__file__).parent / "access_matrix.txt"
ACTORS = ("anonymous", "claimant", "revoked", "disabled", "user", "admin")
NEW = "another-No.7 by the sea"
FIELDS = {
    "/signup": {"name": "Zoe", "email": "zoe@example.com", "password": PASSWORD},
    "/signup/check/{field}": {"name": "Zoe"},
    "/login": {"email": "grace@example.com", "password": PASSWORD},
    "/account": {"name": "Changed"},
    "/account/check/{field}": {"name": "Changed"},
    "/language": {"language": "de"},
    "/account/language": {"language": "de"},
    "/account/email": {"email": "changed@example.com"},
    "/forgot": {"email": "grace@example.com"},
    "/account/password": {"current_password": PASSWORD, "password": NEW},
    "/admin/users/{id}/delete": {"sure": "yes"},
    "/admin/add": {"name": "Zoe", "email": "zoe@example.com", "role": "user"},
    "/admin/invitations": {"email": "zoe@example.com", "role": "user"},
    "/admin/users/{id}/role": {"role": "admin"},
    "/admin/users/{id}/team": {"team": "Changed"},
    "/api/account": {"name": "Changed"},
    "/api/admin/users/{id}/role": {"role": "admin"},
    "/api/admin/users/{id}/team": {"team": "Changed"},
    "/api/admin/roles": {"name": "writer", "label": "Writer"},
    "/api/admin/users": {"name": "Hedy", "email": "hedy@example.com", "role": "user"},
    "/api/admin/invitations": {"email": "hedy@example.com", "role": "user"},
    "/api/admin/roles/{role}": {"label": "Changed"},
    "/account/tokens": {
        "name": "Backup",
        "days": "30",
        "scope-account:read": "yes",
    },
    "/account/identities": {"provider": "work"},
    "/admin/roles": {"name": "writer", "label": "Writer"},
    "/admin/roles/{role}": {"label": "Changed"},
}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
TABLES = (
    "roles",
    "users",
    "sessions",
    "access_tokens",
    "invitations",
    "passkeys",
    "totp",
    "recovery_codes",
    "identities",
    "organizations",
)  # Each table refers only to those before it.


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    with serving_dns() as dns:
        settings = {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", "DNS_SERVER": dns.address}
        yield settings | WITH_PROVIDERS


@pytest.fixture
async def actors(
    app: TestApp, anonymous: Browser, alice: Browser, bob: Browser, ada: Browser
) -> dict[str, Browser]:
    """Returns one browser for each type of caller, by name.

    The requests name the page, the device and the account of Bob, who makes no request himself.
    """
    browsers = {"anonymous": anonymous, "user": alice, "admin": ada}
    browsers["claimant"] = await claimant_of(app, alice)
    browsers["revoked"] = await app.sign_up_user("Grace")
    browsers["disabled"] = await app.sign_up_user("Dorothy")
    await replace(await app.browser("Alice"), user_agent=IPHONE).log_in()
    await app.change(
        "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = 'Grace')"
    )
    await app.change("UPDATE users SET disabled_at = created_at WHERE name IN ('Dorothy', 'Bob')")
    await app.change(
        "INSERT INTO roles SELECT 'editor', 'Editor', created_at FROM roles WHERE name = 'user'"
    )
    await bind(app.store, LyingProvider(port=9), is_verified=False)
    for table in TABLES:
        await app.change(f"CREATE TABLE {table}_before AS SELECT * FROM {table}")
    return browsers


async def claimant_of(app: TestApp, user: Browser) -> Browser:
    """Returns a browser whose user has verified the password, and owes the second step."""
    browser = await app.browser("Alice")
    claim = make_claim(
        app.store,
        (await app.viewer_of(user)).id,
        read_at=app.clock(),
        sessions_ended_at=None,
        next_page="",
        is_remembered=False,
    )
    cookie = claim.cookie.value.reveal()
    browser.client.cookies.set("claim", cookie, domain="localhost.local", path="/")
    return browser


async def path_for_bob(app: TestApp, route: Route) -> str:
    """Returns the path of a route with Bob's identifiers in it."""
    ((bob, device),) = await app.rows(
        "SELECT user_id, sessions.id FROM sessions JOIN users ON users.id = user_id WHERE name = 'Bob'"
    )
    parameters = {
        "field": "name",
        "slug": "bob",
        "role": "editor",
        "session": device,
        "provider": "work",
        "domain": DOMAIN,
        "id": device if "/devices" in route.path or "/sessions/" in route.path else bob,
    }
    parameters["token"] = "A" * 43
    parameters["name"] = app.asgi_app.state.assets.url("app.css").rpartition("/")[2]
    return re.sub(r"{(\w+)}", lambda match: parameters[match[1]], route.path)


async def restore_tables(app: TestApp) -> None:
    for table in reversed(TABLES):
        await app.change(f"DELETE FROM {table}")
    for table in TABLES:
        await app.change(f"INSERT INTO {table} SELECT * FROM {table}_before")


async def has_changed(app: TestApp) -> bool:
    """Returns whether a row of TABLES was inserted, deleted or changed, with one query."""
    pairs = [pair for t in TABLES for pair in ((t, f"{t}_before"), (f"{t}_before", t))]
    differences = [
        f"EXISTS (SELECT * FROM {one} EXCEPT SELECT * FROM {other})" for one, other in pairs
    ]
    return bool(await app.count(f"(SELECT 1) AS one WHERE {' OR '.join(differences)}"))


def summarize(answer: httpx.Response) -> str:
    """Returns the status and the target of a redirect, such as `303>/login`.

    `-cookie` and `+cookie` are appended for a session cookie that is deleted or set.
    """
    target = answer.headers.get("location") or answer.headers.get("hx-redirect")
    cookie = next(
        (line for line in answer.headers.get_list("set-cookie") if line.startswith("session=")), ""
    )
    change = "" if not cookie else "-cookie" if "Max-Age=0" in cookie else "+cookie"
    path = re.sub(r"/[\w-]{22}$", "/{id}", urlsplit(target).path) if target else ""
    return f"{answer.status_code}{'>' + path if target else ''}{change}"


async def cell(app: TestApp, actor: Browser, method: str, route: Route) -> str:
    """Returns the responses to a page request and to an htmx request.

    A star marks a request that changed stored data.
    """
    path, results = await path_for_bob(app, route), []
    cookies = [*actor.client.cookies.jar]
    for headers in ({}, HTMX):
        answer = await actor.request(
            method, path, FIELDS.get(route.path) if method in UNSAFE else None, **headers
        )
        changed = await has_changed(app)
        results.append(summarize(answer) + ("*" if changed else ""))
        if changed:
            await restore_tables(app)
        actor.client.cookies.clear()
        for cookie in cookies:
            actor.client.cookies.jar.set_cookie(cookie)
    return results[0] if results[0] == results[1] else " ".join(results)


def routes_of(app: TestApp) -> Iterator[tuple[str, Route]]:
    """Yields the method and the route of everything that the application serves, declared or not.

    HEAD is omitted because it is GET without a body.
    """
    for route in app.asgi_app.router.routes:
        for method in sorted((route.methods or {"ANY"}) - {"HEAD"}):
            yield method, route


async def lines_of(app: TestApp, actors: dict[str, Browser], *wanted: Route) -> list[str]:
    lines = []
    for method, route in routes_of(app):
        if not wanted or route in wanted:
            access = route.access_text if hasattr(route, "access") else "UNDECLARED"
            if app.asgi_app.router.needs_confirmation(await path_for_bob(app, route), method):
                access += ", sudo"
            lines.append(f"{method} {route.path} ({access})")
            lines += [
                f"    {name:9} {await cell(app, actors[name], method, route)}" for name in ACTORS
            ]
    return lines


@pytest.mark.guide("D12", "D29", "D30", "D31", "T1", "T14")
@pytest.mark.asvs("S04", "S01", "S37")
async def test_every_route_responds_as_the_access_matrix_says(
    app: TestApp, actors: dict[str, Browser], tmp_path: Path
) -> None:
    lines = await lines_of(app, actors)
    (tmp_path / TABLE.name).write_text("\n".join(lines) + "\n")
    differences = [
        *unified_diff(TABLE.read_text().splitlines(), lines, "committed", "found", lineterm="", n=6)
    ]
    assert differences == [], "\n".join(
        [*differences, f"If the change is intended: cp {tmp_path / TABLE.name} {TABLE}"]
    )


@pytest.mark.asvs("S04")
async def test_an_undeclared_route_appears_in_the_access_matrix(
    app: TestApp, actors: dict[str, Browser]
) -> None:
    async def show_undeclared(request: object) -> PlainTextResponse:
        return PlainTextResponse("the wine")

    undeclared = Route("/undeclared", show_undeclared)
    app.asgi_app.router.set_routes([*app.asgi_app.router.routes, undeclared])
    lines = await lines_of(app, actors, undeclared)
    assert lines == ["GET /undeclared (UNDECLARED)", *[f"    {name:9} 200" for name in ACTORS]]
    assert not set(lines[:1]) & set(TABLE.read_text().splitlines())


@pytest.mark.asvs("S04")
def test_the_access_matrix_denies_callers_without_a_session() -> None:
    """Checks the committed file itself, because a mistake could have been committed with it."""
    table = re.findall(
        r"^(\w+) (\S+) \((\w+)(?:, sudo)?\)\n((?:    .*\n)+)", TABLE.read_text(), re.M
    )
    assert len(table) > 25
    for method, path, access, rows in table:
        cells = dict(line.split(maxsplit=1) for line in rows.splitlines())
        assert [*cells] == [*ACTORS]
        if access in (RouteAccess.MEMBERS.value, RouteAccess.ADMINS.value):
            for caller in ("anonymous", "claimant", "revoked", "disabled"):
                denied = re.fullmatch(
                    r"(303>/login(-cookie)? )?401(>/login)?(-cookie)?", cells[caller]
                )
                assert denied or (path == "/handbook" and caller != "anonymous"), (
                    method,
                    path,
                    caller,
                )
        if access == RouteAccess.ADMINS.value:
            assert cells["user"] == "403", (method, path)
        if method == "GET":
            assert "*" not in rows, f"GET {path} changes something"


@pytest.mark.asvs("S05")
@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_another_users_device_responds_like_an_unknown_one(
    app: TestApp, actors: dict[str, Browser], headers: dict[str, str]
) -> None:
    ((device,),) = await app.rows(
        "SELECT sessions.id FROM sessions JOIN users ON users.id = user_id AND name = 'Bob'"
    )
    for name in ("user", "admin"):
        existing, unknown = [
            await actors[name].post(f"/devices/{id}/revoke", {}, **headers)
            for id in (device, "A" * len(device))
        ]
        assert (existing.status_code, existing.text, existing.headers) == (
            404,
            unknown.text,
            unknown.headers,
        )
    assert not await has_changed(app)


@pytest.mark.guide("D35", "D30")
@pytest.mark.asvs("S31")
@pytest.mark.parametrize(
    "foreign",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8001"},
    ],
)
async def test_every_post_route_refuses_forms_of_another_site(
    app: TestApp, actors: dict[str, Browser], foreign: dict[str, str]
) -> None:
    for method, route in routes_of(app):
        if method in UNSAFE:
            for name in ("anonymous", "user", "admin"):
                for headers in ({}, HTMX):
                    path = await path_for_bob(app, route)
                    answer = await actors[name].request(
                        method, path, FIELDS.get(route.path), **foreign, **headers
                    )
                    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), (
                        route.path
                    )
    assert not await has_changed(app)
