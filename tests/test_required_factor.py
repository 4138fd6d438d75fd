"""Tests of REQUIRE_FACTOR=admins."""

import re
from collections.abc import Callable

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from db.errors import NeedsFactor
from db.permissions import permissions_of, require
from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import HTMX, Browser
from tests.conftest import TestApp
from web.http.session import verify_session
from web.middleware.guard import RouteAccess
from web.router import Requires

SECURITY_PAGE = "/account/security?required=1"
FIELDS = {
    "role": "admin",
    "team": "Changed",
    "email": "eve@example.com",
    "name": "Eve",
    "sure": "on",
}


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"REQUIRE_FACTOR": "admins", "RETURN_TO": "https://app.example.com"}


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    app = await make_app()
    await app.change(
        "INSERT INTO roles SELECT 'editor', 'E', created_at FROM roles WHERE name = 'user'",
        "INSERT INTO role_permissions VALUES ('editor', 'articles:write')",
    )
    return app


async def show(request: Request) -> Response:
    return PlainTextResponse((await verify_session(request)).name)


def add_route(app: TestApp, role: str) -> None:
    route = Requires(role, f"/of-{role}", get=show, name=f"of-{role}")
    app.asgi_app.router.set_routes([*app.asgi_app.router.routes, route])


@pytest.fixture
async def factor(app: TestApp, ada: Browser) -> AuthenticatorApp:
    factor = await set_up_app(app, ada)
    assert (await factor.log_in(ada)).status_code == 303
    return factor


@pytest.mark.asvs("S104")
async def test_every_page_and_form_for_administrators_is_refused(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    ((user_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    before = await everything(app)
    rows = [route for route in app.asgi_app.router.routes if route.access is RouteAccess.ADMINS]
    assert len(rows) > 20
    for route in rows:
        path = re.sub(r"{(\w+)}", lambda name: "user" if name[1] == "role" else user_id, route.path)
        for method in route.endpoints:
            fields = None if method in ("GET", "DELETE") else FIELDS
            for headers in ({}, HTMX):
                answer = await ada.request(method, path, fields, **headers)
                target = answer.headers.get("location") or answer.headers.get("hx-redirect")
                if path.startswith("/api/"):
                    expected = (403, None)
                else:
                    expected = (403 if headers else 303, SECURITY_PAGE)
                assert (answer.status_code, target) == expected, (method, path)
    assert await everything(app) == before


async def everything(app: TestApp) -> list[list[tuple]]:
    tables = ("users", "sessions", "roles", "invitations")
    return [await app.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


@pytest.mark.asvs("S115")
@pytest.mark.parametrize("query", ["", "?role=admin", "?role=user"])
async def test_other_applications_do_not_see_such_an_administrator(
    ada: Browser, query: str
) -> None:
    answer = await ada.get(f"/api/forward{query}")
    assert answer.status_code == 403
    assert not any(name.startswith("remote-") for name in answer.headers)


@pytest.mark.asvs("S115")
async def test_such_an_administrator_gets_no_identity_token(ada: Browser) -> None:
    answer = await ada.post("/api/token", {"audience": "https://app.example.com"})
    assert (answer.status_code, "token" in answer.json()) == (403, False)


@pytest.mark.asvs("S115")
async def test_the_row_of_another_role_asks_such_an_administrator(
    app: TestApp, ada: Browser
) -> None:
    add_route(app, "editor")
    answer = await ada.get("/of-editor")
    assert (answer.status_code, answer.headers.get("location")) == (303, SECURITY_PAGE)


@pytest.mark.asvs("S115")
async def test_such_an_administrator_has_no_permissions(app: TestApp, ada: Browser) -> None:
    viewer = await app.viewer_of(ada)
    assert await permissions_of(viewer) == ()
    with pytest.raises(NeedsFactor):
        await require(viewer, "articles:write")


@pytest.mark.asvs("S115")
async def test_such_an_administrator_sees_profiles_as_other_users_do(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    assert "alice@example.com" not in (await ada.get("/users/alice")).text
    assert (await ada.get("/api/users/alice")).json()["email"] is None


@pytest.mark.asvs("S115")
async def test_a_promoted_user_needs_a_second_step_for_the_new_rights(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    assert (await bob.get("/api/forward")).status_code == 204
    await app.change_role(bob, "admin")
    assert (await bob.get("/api/forward")).status_code == 403
    assert (await bob.get("/admin/users")).headers["location"] == SECURITY_PAGE
    assert "alice@example.com" not in (await bob.get("/users/alice")).text


@pytest.mark.asvs("S115")
async def test_an_administrator_with_a_second_step_has_all_rights(
    app: TestApp, alice: Browser, ada: Browser, factor: AuthenticatorApp
) -> None:
    add_route(app, "editor")
    assert (await ada.get("/of-editor")).text == "Ada"
    assert (await ada.get("/api/forward")).headers["remote-role"] == "admin"
    viewer = await app.viewer_of(ada)
    await require(viewer, "articles:write")
    assert await permissions_of(viewer) == ("articles:write",)
    assert (await ada.get("/api/users/alice")).json()["email"] == "alice@example.com"
