"""Tests of roles that administrators add: their pages, permissions, rows of the route table, and the
commands `latchkey roles`.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from db.access import admin as administration
from db.access import roles
from db.errors import Forbidden, NotLoggedIn, RoleInUse, UnknownRole
from db.permissions import permissions_of, require
from db.sessions.lifecycle import require_right
from db.viewer import Admin, Viewer
from tests.browser_client import HTMX, PASSWORD, Browser, read
from tests.commands import run_command
from tests.confirmations import confirmed
from tests.conftest import SECRET, TestApp
from web.http.session import verify_session
from web.middleware.guard import RouteAccess
from web.router import AppRoute, Members, Requires

EDITOR = {"name": "editor", "label": "Editor", "permissions": "articles:write\narticles:read"}
REQUESTS = [
    ("/admin/roles", {**EDITOR, "name": "other"}),
    ("/admin/roles/editor", {"label": "Changed", "permissions": ""}),
    ("/admin/roles/editor/delete", {}),
]


async def stored_roles(app: TestApp) -> dict[str, tuple[str, list[str]]]:
    """Returns the label and the permissions of each role that is not built in."""
    found = {name: (label, []) for name, label in await app.rows("SELECT name, label FROM roles")}
    for role, permission in await app.rows(
        "SELECT role, permission FROM role_permissions ORDER BY permission"
    ):
        found[role][1].append(permission)
    return {name: found[name] for name in found if name not in ("user", "admin")}


async def role_of(app: TestApp, name: str) -> str:
    return (await app.rows(f"SELECT role FROM users WHERE name = '{name}'"))[0][0]


async def id_of(app: TestApp, name: str) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


async def entries(app: TestApp, event: str) -> list[tuple]:
    return await app.rows(f"SELECT outcome, detail FROM audit WHERE event = '{event}'")


@pytest.fixture
async def editor(app: TestApp, ada: Browser, alice: Browser) -> str:
    """Adds the role and gives it to Alice."""
    assert (await ada.post("/admin/roles", EDITOR)).status_code == 303
    await app.change_role(alice, "editor")
    return "editor"


# The page of the roles


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_an_administrator_adds_a_role(app: TestApp, ada: Browser, headers: dict) -> None:
    answer = await ada.post("/admin/roles", EDITOR, **headers)
    assert answer.status_code == (200 if headers else 303)
    assert await stored_roles(app) == {"editor": ("Editor", ["articles:read", "articles:write"])}
    page = read(answer if headers else await ada.get("/admin/roles"))
    row = page.one(data_role="editor")
    assert "Editor" in row.text and "articles:write" in row.text
    assert len(await entries(app, "role.create")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Editor"},
        {"name": "e"},
        {"name": "team-harbor"},
        {"name": "1st"},
        {"name": "x" * 41},
        {"name": "admin"},
        {"name": "user"},
        {"label": ""},
        {"label": "x" * 41},
        {"permissions": "write"},
        {"permissions": "Articles:write"},
        {"permissions": "articles:write articles:"},
        {"permissions": "a:" + "b" * 80},
        {"permissions": " ".join(f"a:b{number}" for number in range(101))},
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_an_invalid_role_is_refused_with_its_input(
    app: TestApp, ada: Browser, change: dict, headers: dict
) -> None:
    answer = await ada.post("/admin/roles", EDITOR | change, **headers)
    assert answer.status_code == 422
    (field,) = change
    assert "Error:" in read(answer).one(data_field=field).text
    assert await stored_roles(app) == {}
    assert await entries(app, "role.create") == []


async def test_the_name_of_a_role_is_unique(app: TestApp, ada: Browser) -> None:
    await ada.post("/admin/roles", EDITOR)
    answer = await ada.post("/admin/roles", EDITOR | {"label": "Second", "permissions": "a:b"})
    assert answer.status_code == 422
    assert await stored_roles(app) == {"editor": ("Editor", ["articles:read", "articles:write"])}


async def test_the_number_of_roles_is_bounded(app: TestApp, ada: Browser) -> None:
    for number in range(48):
        await app.change(
            f"INSERT INTO roles SELECT 'r{number}', 'R', created_at FROM roles WHERE name = 'user'"
        )
    assert (await ada.post("/admin/roles", EDITOR)).status_code == 422
    assert "editor" not in await stored_roles(app)


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_an_administrator_changes_label_and_permissions(
    app: TestApp, ada: Browser, editor: str, headers: dict
) -> None:
    fields = {"label": "Writer", "permissions": "articles:write, pages:write"}
    answer = await ada.post("/admin/roles/editor", fields, **headers)
    assert answer.status_code == (200 if headers else 303)
    assert await stored_roles(app) == {"editor": ("Writer", ["articles:write", "pages:write"])}
    ((outcome, detail),) = await entries(app, "role.edit")
    assert outcome == "done"
    assert '"added": "pages:write", "removed": "articles:read"' in detail
    # An absent field stays as it is, and an empty one is emptied.
    await ada.post("/admin/roles/editor", {"permissions": ""}, **headers)
    assert await stored_roles(app) == {"editor": ("Writer", [])}


async def test_a_change_of_a_role_that_changes_nothing_writes_no_entry(
    app: TestApp, ada: Browser, editor: str
) -> None:
    await ada.post("/admin/roles/editor", {"label": "Editor"})
    assert await entries(app, "role.edit") == []


async def test_built_in_roles_are_neither_renamed_nor_deleted(app: TestApp, ada: Browser) -> None:
    before = await app.rows("SELECT * FROM roles")
    for name in ("user", "admin"):
        await ada.post(f"/admin/roles/{name}", {"label": "Changed"})
        assert (await ada.post(f"/admin/roles/{name}/delete")).status_code == 404
    assert (await ada.post("/admin/roles/admin", {"permissions": "a:b"})).status_code == 404
    assert await app.rows("SELECT * FROM roles") == before
    assert await app.count("role_permissions") == 0
    # The role of every new user can have permissions.
    await ada.post("/admin/roles/user", {"permissions": "a:b"})
    assert await app.rows("SELECT * FROM role_permissions") == [("user", "a:b")]


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_role_is_deleted_when_nobody_has_it(
    app: TestApp, ada: Browser, alice: Browser, editor: str, headers: dict
) -> None:
    answer = await ada.post("/admin/roles/editor/delete", {}, **headers)
    assert (answer.status_code, "has this role" in answer.text) == (409, True)
    assert await stored_roles(app) != {}
    await app.change_role(alice, "user")
    answer = await ada.post("/admin/roles/editor/delete", {}, **headers)
    assert answer.status_code == (200 if headers else 303)
    assert await stored_roles(app) == {}
    assert await app.count("role_permissions") == 0
    assert len(await entries(app, "role.delete")) == 1


async def test_a_role_of_an_invitation_is_not_deleted(
    app: TestApp, ada: Browser, alice: Browser, editor: str
) -> None:
    await app.change_role(alice, "user")
    await app.change(
        "INSERT INTO invitations (id, token_hash, kid, email, role, team, invited_by, created_at,"
        " expires_at) SELECT 'i', 'h', 'k', 'x@example.com', 'editor', '', id, created_at,"
        " created_at FROM users LIMIT 1"
    )
    assert (await ada.post("/admin/roles/editor/delete")).status_code == 409
    assert "editor" in await stored_roles(app)


async def test_only_administrators_change_roles(
    app: TestApp, ada: Browser, alice: Browser, anonymous: Browser, editor: str
) -> None:
    before = await stored_roles(app)
    for path, fields in REQUESTS:
        for headers in ({}, HTMX):
            assert (await alice.post(path, fields, **headers)).status_code == 403
            assert (await anonymous.post(path, fields, **headers)).status_code in (303, 401)
            foreign = {**headers, "Sec_Fetch_Site": "cross-site"}
            assert (await ada.post(path, fields, **foreign)).status_code == 403
            other = fields | {"viewer": await id_of(app, "Alice")}
            assert (await ada.post(path, other, **headers)).status_code == 409
    assert await stored_roles(app) == before


async def test_a_demoted_administrator_changes_no_role(
    app: TestApp, admin: Admin, ada: Browser
) -> None:
    """The role is checked again in the transaction of the change."""
    await app.change_role(await app.admin("Grace"), "admin")
    await app.change_role(ada, "user")
    for change in (
        roles.create_role(confirmed(admin), "editor", "Editor", ()),
        roles.change_role(confirmed(admin), "user", None, ("a:b",)),
        roles.delete_role(confirmed(admin), "editor"),
    ):
        with pytest.raises(Forbidden):
            await change
    assert await stored_roles(app) == {}
    assert await app.count("role_permissions") == 0


async def test_a_page_of_an_unknown_role_is_404(ada: Browser) -> None:
    for path in ("/admin/roles/nobody", "/admin/roles/%00", "/admin/roles/Editor"):
        assert (await ada.get(path)).status_code == 404
        assert (await ada.post(path, {"label": "x"})).status_code == 404


# The roles of users


async def test_a_user_gets_only_a_role_that_exists(
    app: TestApp, ada: Browser, bob: Browser, editor: str
) -> None:
    path = f"/admin/users/{await id_of(app, 'Bob')}/role"
    for role in ("nobody", "team-x", "EDITOR", ""):
        for headers in ({}, HTMX):
            assert (await ada.post(path, {"role": role}, **headers)).status_code == 422, role
    assert await role_of(app, "Bob") == "user"
    page = read(await ada.get(f"/admin/users/{await id_of(app, 'Bob')}"))
    options = {option.attrs["value"] for option in page.one("select", name="role").all("option")}
    assert options == {"user", "admin", "editor"}
    assert (await ada.post(path, {"role": "editor"})).status_code == 303
    assert await role_of(app, "Bob") == "editor"


async def test_pages_and_api_show_the_label_of_a_role(
    ada: Browser, alice: Browser, bob: Browser, editor: str
) -> None:
    row = read(await ada.get("/admin/users?q=alice")).one(data_role="editor")
    assert "Editor" in row.text
    for user, path in ((alice, "/users/alice"), (bob, "/users/alice")):
        assert "Editor" in read(await user.get(path)).one(id="main").text, path
    profile = (await bob.get("/api/users/alice")).json()
    assert (profile["role"], profile["role_label"]) == ("editor", "Editor")
    assert (await alice.get("/api/session")).json()["user"]["role"] == "editor"
    assert "changed your role to editor" in (await alice.get("/account/activity")).text


async def test_the_cookie_of_a_role_is_accepted_and_renewed(
    app: TestApp, alice: Browser, editor: str
) -> None:
    assert app.store.keys.decode(alice.cookie)["role"] == "user"
    await alice.get("/dashboard")
    assert app.store.keys.decode(alice.cookie)["role"] == "editor"
    assert (await alice.get("/handbook")).status_code == 200
    assert await alice.is_logged_in()


@pytest.mark.parametrize("role", ["", "x", "Editor", "a" * 41, None, 7, ["user"], "a b"])
async def test_a_cookie_with_a_malformed_role_is_no_session(
    app: TestApp, alice: Browser, role: object
) -> None:
    claims = app.store.keys.decode(alice.cookie)
    alice.cookie = app.store.keys.encode({**claims, "role": role}).reveal()
    assert not await alice.is_logged_in()


async def test_a_deletion_and_a_grant_of_one_role_never_both_succeed(
    app: TestApp, admin: Admin, bob: Browser
) -> None:
    bob_id = await id_of(app, "Bob")
    for _ in range(5):
        await roles.create_role(confirmed(admin), "editor", "Editor", ("a:b",))
        outcomes = await asyncio.gather(
            administration.change_user_role(confirmed(admin), bob_id, "editor"),
            roles.delete_role(confirmed(admin), "editor"),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} in (
            {str, RoleInUse},
            {type(None), UnknownRole},
        )
        await app.change_role(bob, "user")
        await app.change("DELETE FROM roles WHERE name = 'editor'")


# A row of the route table for one role


async def show_name(request: Request) -> Response:
    return PlainTextResponse((await verify_session(request)).name)


@pytest.fixture
def desk(app: TestApp) -> AppRoute:
    """Adds a page for editors, whose endpoint checks no role."""
    route = Requires("editor", "/desk", get=show_name, post=show_name, name="desk")
    app.asgi_app.router.set_routes([*app.asgi_app.router.routes, route])
    return route


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_route_for_a_role_admits_it_and_administrators(
    app: TestApp,
    ada: Browser,
    alice: Browser,
    bob: Browser,
    anonymous: Browser,
    editor: str,
    desk: AppRoute,
    headers: dict,
) -> None:
    for send in (Browser.get, Browser.post):
        for user in (alice, ada):
            answer = await send(user, "/desk", **headers)
            assert (answer.status_code, answer.text) == (200, user.name)
        answer = await send(bob, "/desk", **headers)
        assert (
            answer.status_code,
            "Your role doesn't include this" in answer.text.replace("&#39;", "'"),
        ) == (403, True)
        assert (await send(anonymous, "/desk", **headers)).status_code == (401 if headers else 303)
    assert {*await entries(app, "access")} == {("refused", '{"needed": "editor"}')}


async def test_a_route_for_a_role_follows_the_database(
    app: TestApp, alice: Browser, editor: str, desk: AppRoute
) -> None:
    old_cookie = alice.cookie
    assert (await alice.get("/desk")).status_code == 200
    await app.change_role(alice, "user")
    assert (await alice.get("/desk")).status_code == 403
    await app.change_role(alice, "editor")
    alice.cookie = old_cookie
    assert (await alice.get("/desk")).status_code == 200
    await app.change("DELETE FROM sessions")
    assert (await alice.get("/desk")).status_code == 303


async def test_a_route_for_a_role_refuses_in_the_specified_order(
    alice: Browser, bob: Browser, editor: str, desk: AppRoute
) -> None:
    other = (await alice.get("/api/session")).json()["user"]["id"]
    json = {"Content-Type": "application/json"}
    assert (await bob.client.post("/desk", content=b"{}", headers=json)).status_code == 415
    assert (await bob.post("/desk", {"viewer": other})).status_code == 403
    mine = (await bob.get("/api/session")).json()["user"]["id"]
    assert (await alice.post("/desk", {"viewer": mine})).status_code == 409


def test_a_route_for_a_role_is_listed_with_it() -> None:
    assert Requires("editor", "/desk", get=show_name, name="desk").access_text == "requires editor"
    with pytest.raises(ValueError, match="/x"):
        AppRoute(RouteAccess.ROLE, "/x", get=show_name, name="x")
    with pytest.raises(ValueError, match="/x"):
        Members("/x", get=show_name, name="x", role="editor")


# Permissions


async def test_a_permission_follows_the_role_in_the_database(
    app: TestApp, alice: Browser, ada: Browser, bob: Browser, editor: str
) -> None:
    viewer = await app.viewer_of(alice)
    await require(viewer, "articles:write")
    assert await permissions_of(viewer) == ("articles:read", "articles:write")
    await require(await app.viewer_of(ada), "anything:else")
    assert await permissions_of(await app.viewer_of(ada)) == ("articles:read", "articles:write")
    assert await permissions_of(await app.viewer_of(bob)) == ()
    for denied, permission in (
        (viewer, "pages:write"),
        (await app.viewer_of(bob), "articles:read"),
    ):
        with pytest.raises(Forbidden):
            await require(denied, permission)
    await ada.post("/admin/roles/editor", {"permissions": "articles:read"})
    with pytest.raises(Forbidden):
        await require(viewer, "articles:write")


async def test_a_permission_is_checked_again_in_a_transaction(
    app: TestApp, alice: Browser, editor: str
) -> None:
    viewer = await app.viewer_of(alice)
    await app.change_role(alice, "user")
    with pytest.raises(Forbidden):
        await write_article(viewer)
    await app.change_role(alice, "editor")
    await write_article(viewer)
    await app.change("UPDATE users SET disabled_at = created_at WHERE name = 'Alice'")
    with pytest.raises(NotLoggedIn):
        await write_article(viewer)
    with pytest.raises(Forbidden):
        await require(viewer, "articles:write")


async def write_article(viewer: Viewer) -> None:
    async with viewer.store.transaction():
        await require_right(viewer)
        await require(viewer, "articles:write")


async def test_a_missing_permission_is_answered_with_403_and_an_entry(
    app: TestApp, bob: Browser, alice: Browser, editor: str
) -> None:
    async def write(request: Request) -> Response:
        await write_article(await verify_session(request))
        return PlainTextResponse("written")

    route = Members("/articles", post=write, name="articles")
    app.asgi_app.router.set_routes([*app.asgi_app.router.routes, route])
    assert (await alice.post("/articles")).text == "written"
    assert (await bob.post("/articles")).status_code == 403
    assert await entries(app, "access") == [("refused", '{"needed": "articles:write"}')]


# The command line


@pytest.fixture
def command(migrated: Path, tmp_path: Path) -> Callable:
    path = tmp_path / "roles.db"
    path.write_bytes(migrated.read_bytes())
    environ = {"SESSION_SECRET": SECRET, "DATABASE_URL": f"sqlite:///{path}"}
    return lambda *arguments, stdin="": run_command(*arguments, environ=environ, stdin=stdin)


def test_the_operator_manages_roles(command: Callable) -> None:
    assert command("roles", "create", "editor", "--label", "Editor").returncode == 0
    assert command("roles", "create", "editor", "--label", "Editor").returncode == 1
    assert command("roles", "create", "Editor", "--label", "Editor").returncode == 1
    assert command("roles", "grant", "editor", "articles:write").returncode == 0
    assert command("roles", "grant", "editor", "articles").returncode == 1
    assert command("roles", "grant", "admin", "articles:write").returncode == 1
    create = ("users", "create", "--email", "a@example.com", "--name", "Al", "--password-stdin")
    assert command(*create, "--role", "writer", stdin=PASSWORD).returncode == 1
    assert command(*create, "--role", "editor", stdin=PASSWORD).returncode == 0
    assert "editor" in command("users", "list").stdout
    listed = command("roles", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["user", "admin", "editor"]
    assert "1 user  articles:write" in listed[2]
    assert command("roles", "delete", "editor").stderr == (
        "latchkey: a user or an invitation has this role\n"
    )
    unknown = command("users", "role", "a@example.com", "writer")
    assert (unknown.returncode, "latchkey roles list" in unknown.stderr) == (1, True)
    assert command("users", "role", "a@example.com", "user").returncode == 0
    assert command("roles", "revoke", "editor", "articles:write").returncode == 0
    assert "articles:write" not in command("roles", "list").stdout
    assert command("roles", "delete", "editor").returncode == 0
    assert command("roles", "delete", "user").returncode == 1
