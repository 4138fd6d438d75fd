"""Tests of the JSON API: the account of the caller, the administration, and hostile bodies."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.browser_client import IPHONE, PASSWORD, Browser, set_cookie_of
from tests.conftest import TestApp
from tests.mail import deliver, enabled_outbox, receive

JSON = {"Content-Type": "application/json"}
UNREADABLE = [
    b"{",
    b"[]",
    b"null",
    b'"name"',
    b"\xff",
    b'{"name": "A", "name": "B"}',
    b'{"phone": NaN}',
    b'{"phone": -Infinity}',
    b'{"phone": ' + b"9" * 5_000 + b"}",
    b'{"phone": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
]
WRONG_VALUES: list[Any] = [
    None,
    7,
    True,
    [],
    ["Grace"],
    {},
    {"$ne": ""},
    "",
    " ",
    "\x00ab",
    "\ud800x",
]


async def id_of(app: TestApp, name: str) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


async def rows(app: TestApp) -> list[list[tuple]]:
    tables = ("users", "sessions", "roles", "role_permissions", "access_tokens")
    return [await app.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]


def is_a_problem(answer: httpx.Response, status: int) -> bool:
    return (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )


# The account of the caller


async def test_the_account_is_returned_and_changed(app: TestApp, alice: Browser) -> None:
    before = (await alice.get("/api/account")).json()
    assert before == {
        "id": await id_of(app, "Alice"),
        "name": "Alice",
        "email": "alice@example.com",
        "slug": "alice",
        "phone": "",
        "team": "",
        "role": "user",
        "verified": False,
    }
    answer = await alice.request("PATCH", "/api/account", {"name": " Grace ", "phone": "1"})
    assert (answer.status_code, answer.json()) == (200, before | {"name": "Grace", "phone": "1"})
    answer = await alice.request("PATCH", "/api/account", {"phone": ""})
    assert answer.json() == before | {"name": "Grace"}
    assert len(await app.rows("SELECT * FROM audit WHERE event = 'profile.change'")) == 2


async def test_a_profile_with_a_taken_slug_is_refused(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    answer = await alice.request("PATCH", "/api/account", {"name": "Grace", "slug": "bob"})
    assert is_a_problem(answer, 422)
    assert [*answer.json()["errors"]] == ["slug"]
    assert await app.rows("SELECT name FROM users ORDER BY name") == [("Alice",), ("Bob",)]


@pytest.mark.parametrize("field", ["name", "slug"])
async def test_a_wrong_value_is_refused_with_its_field(
    app: TestApp, alice: Browser, field: str
) -> None:
    before = await rows(app)
    for value in WRONG_VALUES:
        answer = await alice.request("PATCH", "/api/account", {field: value, "phone": "9"})
        assert (is_a_problem(answer, 422), [*answer.json()["errors"]]) == (True, [field]), value
    assert await rows(app) == before


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: body[:20].decode("latin-1"))
async def test_a_body_that_is_no_json_object_changes_nothing(
    app: TestApp, alice: Browser, ada: Browser, body: bytes
) -> None:
    before = await rows(app)
    for user, method, path in (
        (alice, "PATCH", "/api/account"),
        (ada, "PUT", f"/api/admin/users/{await id_of(app, 'Alice')}/team"),
        (ada, "POST", "/api/admin/roles"),
    ):
        answer = await user.client.request(method, path, content=body, headers=JSON)
        assert is_a_problem(answer, 422), path
    assert await rows(app) == before


async def test_a_body_of_another_type_or_size_is_refused(app: TestApp, alice: Browser) -> None:
    before = await rows(app)
    for content_type in (
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/jsonx",
        "",
    ):
        answer = await alice.client.patch(
            "/api/account", content=b'{"name": "X Y"}', headers={"Content-Type": content_type}
        )
        assert is_a_problem(answer, 415), content_type
    answer = await alice.client.patch("/api/account", content=b" " * 70_000, headers=JSON)
    assert is_a_problem(answer, 413)
    assert await rows(app) == before
    headers = {"Content-Type": "application/JSON; charset=utf-8"}
    answer = await alice.client.patch("/api/account", content=b'{"phone": "1"}', headers=headers)
    assert answer.status_code == 200


async def test_other_members_of_a_body_are_ignored(app: TestApp, alice: Browser) -> None:
    fields = {
        "phone": "1",
        "role": "admin",
        "team": "Harbor",
        "email": "x@example.com",
        "password_hash": "x",
        "verified": True,
        "id": "x",
    }
    ((before,),) = await app.rows("SELECT password_hash FROM users")
    assert (await alice.request("PATCH", "/api/account", fields)).status_code == 200
    columns = "phone, role, team, email, password_hash, verified_at"
    assert await app.rows(f"SELECT {columns} FROM users") == [
        ("1", "user", "", "alice@example.com", before, None)
    ]


async def test_a_body_of_another_viewer_changes_nothing(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    for viewer in (await id_of(app, "Bob"), "", 7, [await id_of(app, "Alice")]):
        fields = {"name": "Changed", "viewer": viewer}
        assert is_a_problem(await alice.request("PATCH", "/api/account", fields), 409), viewer
    assert await app.rows("SELECT name FROM users WHERE name = 'Changed'") == []


async def test_sessions_are_listed_and_ended(
    app: TestApp, alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    found = (await alice.get("/api/account/sessions")).json()["sessions"]
    assert [session["current"] for session in found] == [True, False]
    assert {*found[0]} == {
        *("id", "name", "device_type", "ip_address", "created_at", "last_seen_at", "current")
    }
    path = f"/api/account/sessions/{found[1]['id']}"
    assert is_a_problem(await bob.request("DELETE", path), 404)
    assert await alices_phone.is_logged_in()
    assert (await alice.request("DELETE", path)).json() == {"ended": 1}
    assert not await alices_phone.is_logged_in()
    answer = await alice.request("DELETE", f"/api/account/sessions/{found[0]['id']}")
    assert (answer.status_code, set_cookie_of(answer)["session"]["max-age"]) == (200, "0")
    assert await app.count("sessions") == 1


async def test_the_other_sessions_and_all_sessions_are_ended(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    answer = await alice.request("POST", "/api/account/sessions/revoke-others")
    assert (answer.json(), await alices_phone.is_logged_in()) == ({"ended": 1}, False)
    assert await alice.is_logged_in()
    await alices_phone.log_in()
    answer = await alice.request("POST", "/api/account/sessions/revoke-all")
    assert (answer.status_code, set_cookie_of(answer)["session"]["max-age"]) == (200, "0")
    assert not await alices_phone.is_logged_in()
    assert await app.count("sessions") == 0


async def test_the_activity_is_returned_in_pages(alice: Browser) -> None:
    await alice.request("PATCH", "/api/account", {"phone": "1"})
    answer = (await alice.get("/api/account/activity")).json()
    assert (answer["page"], answer["more"]) == (1, False)
    newest = answer["entries"][0]
    assert (newest["event"], newest["text"]) == (
        "profile.change",
        "You changed your profile: phone",
    )
    assert is_a_problem(await alice.get("/api/account/activity?page=x"), 422)


async def test_tokens_are_listed_without_their_value_and_deleted(
    app: TestApp, alice: Browser
) -> None:
    fields = {
        "name": "Backup",
        "days": "7",
        "scope-account:read": "y",
    }
    await alice.post("/account/tokens", fields)
    (token,) = (await alice.get("/api/account/tokens")).json()["tokens"]
    assert {*token} == {"id", "name", "scopes", "created_at", "expires_at", "last_used_at"}
    assert token["scopes"] == ["account:read"]
    answer = await alice.request("DELETE", f"/api/account/tokens/{token['id']}")
    assert (answer.status_code, await app.count("access_tokens")) == (200, 0)
    assert is_a_problem(await alice.request("POST", "/api/account/tokens", fields), 405)


# The administration


async def test_an_administrator_changes_a_user(app: TestApp, ada: Browser, alice: Browser) -> None:
    path = f"/api/admin/users/{await id_of(app, 'Alice')}"
    before = (await ada.get(path)).json()
    assert (before["name"], before["role_label"], before["disabled"]) == ("Alice", "User", False)
    await ada.request("POST", "/api/admin/roles", {"name": "editor", "label": "Editor"})
    answer = await ada.request("PUT", f"{path}/role", {"role": "editor"})
    assert answer.json() == before | {"role": "editor", "role_label": "Editor"}
    answer = await ada.request("PUT", f"{path}/team", {"team": "Harbor"})
    assert (answer.status_code, answer.json()["team"]) == (200, "Harbor")
    assert (await ada.request("POST", f"{path}/end-sessions")).json() == {"ended": 1}
    assert not await alice.is_logged_in()
    assert (await ada.request("POST", f"{path}/disable")).json()["disabled"] is True
    assert (await alice.log_in()).status_code == 422
    assert (await ada.request("POST", f"{path}/enable")).json()["disabled"] is False
    assert (await alice.log_in()).status_code == 303
    events = {"role.change", "team.change", "session.end-all", "account.disable", "account.enable"}
    assert events <= {event for (event,) in await app.rows("SELECT event FROM audit")}


async def test_an_invalid_change_of_a_user_is_refused(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    before, path = await rows(app), f"/api/admin/users/{await id_of(app, 'Alice')}"
    for action, fields, status in (
        ("role", {"role": "nobody"}, 422),
        ("role", {"role": ["admin"]}, 422),
        ("role", {}, 422),
        ("team", {"team": "x" * 41}, 422),
        ("team", {"team": None}, 422),
    ):
        answer = await ada.request("PUT", f"{path}/{action}", fields)
        assert is_a_problem(answer, status), fields
    own = f"/api/admin/users/{await id_of(app, 'Ada')}"
    assert is_a_problem(await ada.request("PUT", f"{own}/role", {"role": "user"}), 409)
    assert is_a_problem(await ada.request("POST", f"{own}/disable"), 409)
    for action in ("disable", "enable", "end-sessions"):
        answer = await ada.request("POST", f"/api/admin/users/{'A' * 22}/{action}")
        assert is_a_problem(answer, 404)
    assert await rows(app) == before


async def test_an_administrator_adds_and_deletes_an_account(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    ada = await app.admin()
    fields = {"name": "Grace", "email": " GRACE@example.com", "role": "user", "team": "Harbor"}
    answer = await ada.request("POST", "/api/admin/users", fields)
    added = answer.json()
    assert (answer.status_code, added["email"], added["team"]) == (
        200,
        "grace@example.com",
        "Harbor",
    )
    assert "added" in [message.message_type for message in await deliver(app)]
    path = f"/api/admin/users/{added['id']}"
    closed = (await ada.request("DELETE", path)).json()
    assert (closed["disabled"], closed["delete_at"]) == (True, "2026-12-01T09:12:00Z")
    kept = (await ada.request("POST", f"{path}/keep")).json()
    assert (kept["disabled"], kept["delete_at"]) == (True, None)


async def test_an_account_that_cannot_be_added_or_deleted_stays_as_it_is(
    app: TestApp, make_app: Callable, ada: Browser, alice: Browser
) -> None:
    before = await rows(app)
    good = {"name": "Grace", "email": "grace@example.com", "role": "user"}
    for change, field in (
        ({"email": alice.email}, "email"),
        ({"role": "owner"}, "role"),
        ({"name": ""}, "name"),
        ({"team": 7}, "team"),
    ):
        answer = await ada.request("POST", "/api/admin/users", good | change)
        assert (is_a_problem(answer, 422), [*answer.json()["errors"]]) == (True, [field])
    own = f"/api/admin/users/{await id_of(app, 'Ada')}"
    assert is_a_problem(await ada.request("DELETE", own), 422)
    assert is_a_problem(await ada.request("DELETE", f"/api/admin/users/{'A' * 22}"), 404)
    assert is_a_problem(await alice.request("DELETE", own), 403)
    assert is_a_problem(await alice.request("POST", "/api/admin/users", good), 403)
    assert await rows(app) == before


async def test_an_administrator_invites_by_the_api(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    ada = await app.admin()
    path, fields = "/api/admin/invitations", {"email": "grace@example.com", "role": "admin"}
    answer = await ada.request("POST", path, fields)
    (found,) = answer.json()["invitations"]
    assert found == {
        "id": found["id"],
        "email": "grace@example.com",
        "role": "admin",
        "team": "",
        "inviter": "Ada",
        "expires_at": "2026-12-01T09:12:00Z",
    }
    mail = await receive(app, "invite", "grace@example.com")
    assert mail.token is not None
    assert mail.token.reveal() not in answer.text
    app.clock.move(days=1)
    again = await ada.request("POST", f"{path}/{found['id']}/resend")
    assert again.json()["invitations"] == [found | {"expires_at": "2026-12-02T09:12:00Z"}]
    answer = await ada.request("DELETE", f"{path}/{found['id']}")
    assert (answer.json(), await app.count("invitations")) == ({"invitations": []}, 0)
    assert is_a_problem(await ada.request("DELETE", f"{path}/{found['id']}"), 404)


async def test_an_invitation_that_is_refused_invites_nobody(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    good = {"email": "grace@example.com", "role": "user"}
    for change, field in (({"email": alice.email}, "email"), ({"role": "owner"}, "role")):
        answer = await ada.request("POST", "/api/admin/invitations", good | change)
        assert (is_a_problem(answer, 422), [*answer.json()["errors"]]) == (True, [field])
    assert is_a_problem(await alice.request("POST", "/api/admin/invitations", good), 403)
    assert await app.count("invitations") == 0


async def test_an_administrator_changes_roles(app: TestApp, ada: Browser, alice: Browser) -> None:
    fields = {"name": "editor", "label": "Editor", "permissions": ["b:write", "a:read"]}
    answer = await ada.request("POST", "/api/admin/roles", fields)
    role = {
        "name": "editor",
        "label": "Editor",
        "user_count": 0,
        "invitation_count": 0,
        "permissions": ["a:read", "b:write"],
        "is_built_in": False,
    }
    assert (answer.status_code, answer.json()) == (200, role)
    names = [found["name"] for found in (await ada.get("/api/admin/roles")).json()["roles"]]
    assert names == ["user", "admin", "editor"]
    path = "/api/admin/roles/editor"
    answer = await ada.request("PATCH", path, {"permissions": ["c:read"]})
    assert answer.json() == role | {"permissions": ["c:read"]}
    await app.change_role(alice, "editor")
    assert is_a_problem(await ada.request("DELETE", path), 409)
    await app.change_role(alice, "user")
    assert (await ada.request("DELETE", path)).json() == {}
    assert is_a_problem(await ada.get(path), 404)


async def test_an_invalid_role_is_refused(app: TestApp, ada: Browser) -> None:
    before = await rows(app)
    for change in (
        {"name": "Editor"},
        {"name": "admin"},
        {"label": 7},
        {"permissions": ["a:b c:d"]},
        {"permissions": ["a"]},
        {"permissions": ["\ud800:b"]},
        {"permissions": [7]},
        {"permissions": {"a:b": True}},
        {"permissions": None},
    ):
        fields = {"name": "editor", "label": "Editor"} | change
        answer = await ada.request("POST", "/api/admin/roles", fields)
        assert (is_a_problem(answer, 422), [*answer.json()["errors"]]) == (True, [*change]), change
    assert await rows(app) == before


async def test_the_audit_log_is_returned_in_pages(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    answer = (await ada.get("/api/admin/audit?event=signup&outcome=done")).json()
    (entry,) = answer["entries"]
    assert (entry["event"], entry["target_name"], answer["more"]) == ("signup", "Alice", False)
    for query in ("page=0", "event=nothing", "outcome=x", "q=" + "x" * 255):
        assert is_a_problem(await ada.get(f"/api/admin/audit?{query}"), 422), query


async def test_a_write_without_a_session_or_from_another_site_changes_nothing(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    before = await rows(app)
    for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = await alice.request("PATCH", "/api/account", {"name": "Changed"}, **foreign)
        assert is_a_problem(answer, 403)
    answer = await anonymous.request("PATCH", "/api/account", {"name": "Changed"})
    assert is_a_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert await rows(app) == before


async def test_no_route_of_the_api_changes_a_password_or_an_email(
    app: TestApp, alice: Browser
) -> None:
    paths = [route.path for route in app.asgi_app.router.routes if route.path.startswith("/api/")]
    assert not [path for path in paths if "password" in path or "email" in path]
    phone = await app.browser("Alice", user_agent=IPHONE)
    fields = {"password": "new-No.9 to the sea", "current_password": PASSWORD}
    assert (await alice.request("PATCH", "/api/account", fields)).status_code == 200
    assert (await phone.log_in()).status_code == 303
