"""Tests of personal access tokens: creation, use, scopes, expiry, and their end."""

import asyncio
import re
from collections.abc import Callable

import httpx
import pytest

from db.access import access_tokens, account, devices
from db.crypto.secret import Secret
from db.errors import Forbidden, InvalidToken
from db.maintenance.pruning import prune
from db.scopes import SCOPES
from db.sessions.access_tokens import TOKEN_PATTERN
from db.sessions.lifecycle import get_token_viewer, require_right
from db.store import Store
from db.viewer import Viewer
from tests.browser_client import HTMX, PASSWORD, Browser, read, set_cookie_of
from tests.confirmations import confirmed
from tests.conftest import TestApp
from tests.mail import enabled_outbox, receive
from web.routes import Members, routes

FORM = {"name": "Backup", "days": "30"}
CHOSEN = {"scope-account:read": "yes", "scope-account:write": "yes", "scope-users:read": "yes"}
UNKNOWN = "lk_" + "A" * 43 + "00000000"


async def create(user: Browser, *scopes: str, **fields: str) -> str:
    """Creates a token with the form and returns it."""
    chosen = {f"scope-{scope}": "yes" for scope in scopes} or CHOSEN
    answer = await user.post("/account/tokens", FORM | chosen | fields)
    assert answer.status_code == 200, answer.text
    return read(answer).one(id="new-token").text


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def call(
    app: TestApp, token: str, path: str = "/api/session", method: str = "GET", **options: object
) -> httpx.Response:
    """Sends a request of a program: with the token, and without a cookie."""
    program = await app.browser("Program")
    return await program.client.request(method, path, headers=bearer(token), **options)


async def entries(app: TestApp, event: str) -> list[tuple]:
    return await app.rows(f"SELECT outcome, detail FROM audit WHERE event = '{event}'")


# Creation


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_new_token_is_shown_once_and_works(
    app: TestApp, alice: Browser, headers: dict
) -> None:
    answer = await alice.post("/account/tokens", FORM | CHOSEN, **headers)
    token = read(answer).one(id="new-token").text
    assert (answer.status_code, bool(TOKEN_PATTERN.fullmatch(token))) == (200, True)
    assert answer.headers["cache-control"] == "no-store"
    assert (await call(app, token)).json()["user"]["name"] == "Alice"
    page = await alice.get("/account/tokens")
    assert (token in page.text, "Backup" in page.text) == (False, True)
    ((outcome, detail),) = await entries(app, "token.create")
    assert (outcome, "account:read account:write users:read" in detail) == ("done", True)
    assert "created the access token" in (await alice.get("/account/activity")).text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 41}, "name"),
        ({"days": "0"}, "days"),
        ({"days": "3650"}, "days"),
        ({"days": ""}, "days"),
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_an_invalid_form_creates_no_token(
    app: TestApp, alice: Browser, change: dict, field: str, headers: dict
) -> None:
    fields = FORM | {"scope-account:read": "yes"} | change
    answer = await alice.post("/account/tokens", fields, **headers)
    assert answer.status_code == 422
    assert read(answer).one(id="error-summary").all("li")
    assert 'id="new-token"' not in answer.text
    assert await app.count("access_tokens") == 0
    assert not [entry for entry in await entries(app, "token.create") if entry[0] == "done"]


async def test_a_token_without_a_scope_is_not_created(app: TestApp, alice: Browser) -> None:
    answer = await alice.post("/account/tokens", FORM)
    page = read(answer)
    assert answer.status_code == 422
    assert "Choose what the token may do." in page.one(id="error-summary").text
    assert "Choose what the token may do." in page.one(id="token-scopes-message").text
    assert page.one(id="token-name").attrs["aria-invalid"] == "false"
    assert await app.count("access_tokens") == 0


async def test_only_administrators_can_give_admin_scopes(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    assert "scope-admin:read" not in (await alice.get("/account/tokens")).text
    token = await create(alice, "account:read", "admin:read", "admin:write", "root")
    assert await app.rows("SELECT scopes FROM access_tokens") == [("account:read",)]
    assert (await call(app, token, "/api/admin/users")).status_code == 403
    token = await create(ada, "admin:read")
    assert (await call(app, token, "/api/admin/users")).status_code == 200
    viewer = await app.viewer_of(alice)
    with pytest.raises(Forbidden):
        await access_tokens.create_token(confirmed(viewer), name="x", scopes=["admin:read"], days=7)


async def test_the_number_of_tokens_is_bounded(app: TestApp, alice: Browser) -> None:
    viewer = await app.viewer_of(alice)
    outcomes = await asyncio.gather(
        *[
            access_tokens.create_token(
                confirmed(viewer), name=f"{n}", scopes=["account:read"], days=7
            )
            for n in range(23)
        ],
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Secret) for outcome in outcomes) == 20
    answer = await alice.post("/account/tokens", FORM | CHOSEN)
    assert (answer.status_code, "too many access tokens" in answer.text) == (422, True)
    assert await app.count("access_tokens") == 20
    app.clock.move(days=8)  # Expired tokens do not count, even before they are pruned.
    assert (await alice.log_in()).status_code == 303
    assert await create(alice)


async def test_a_mail_reports_a_new_token(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    await create(alice)
    assert not await app.rows("SELECT id FROM outbox WHERE kind = 'token'")  # not confirmed
    await app.change("UPDATE users SET verified_at = created_at")
    token = await create(alice)
    message = await receive(app, "token")
    assert message.token is not None
    assert token not in str(message.facts)


# The header


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_a_token_is_accepted_in_both_strategies(make_app: Callable, strategy: str) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    token = await create(alice)
    assert (await call(app, token, "/api/account")).json()["email"] == "alice@example.com"
    answer = await call(app, token, "/api/account", "PATCH", json={"name": "Grace"})
    assert (answer.status_code, answer.json()["name"]) == (200, "Grace")
    await alice.post("/devices/revoke-all")
    assert (await call(app, token)).status_code == 401


async def test_a_token_is_verified_by_one_statement(app: TestApp, alice: Browser) -> None:
    token = await create(alice)
    await call(app, token)
    before = app.statements
    await call(app, token)
    assert app.statements == before + 1
    await call(app, "lk_" + "A" * 43 + "00000000")  # The checksum is wrong.
    assert app.statements == before + 1


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        f"Bearer {UNKNOWN}",
        "bearer é",
        "BEARER  lk_",
        "Bearer lk_" + "A" * 4000,
    ],
)
async def test_a_wrong_token_is_refused_and_the_cookie_ignored(
    app: TestApp, alice: Browser, value: str
) -> None:
    answer = await alice.client.get(
        "/api/session", headers={"Authorization": value.encode("latin-1")}
    )
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert set_cookie_of(answer) == {}
    assert await alice.is_logged_in()


async def test_an_altered_or_doubled_token_is_refused(app: TestApp, alice: Browser) -> None:
    token = await create(alice)
    for wrong in (
        token[:-1],
        token + "0",
        token.upper(),
        token.replace("lk_", "lk-"),
        f" x{token}",
    ):
        assert (await call(app, wrong)).status_code == 401, wrong
    headers = [("Authorization", f"Bearer {token}")] * 2
    assert (await alice.client.get("/api/session", headers=headers)).status_code == 401
    assert (await call(app, token)).status_code == 200


async def test_the_token_counts_and_not_the_cookie(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    token = await create(alice)
    answer = await bob.client.get("/api/session", headers=bearer(token))
    assert answer.json()["user"]["name"] == "Alice"
    other = {"Document-Viewer": "the id of a third user, which is compared with cookies only"}
    answer = await bob.client.get("/api/session", headers=bearer(token) | other)
    assert answer.status_code == 200
    # Other schemes are not for this program.
    answer = await bob.client.get("/api/session", headers={"Authorization": "Basic eDp5"})
    assert answer.json()["user"]["name"] == "Bob"


async def test_pages_do_not_accept_tokens(app: TestApp, alice: Browser, ada: Browser) -> None:
    tokens = await create(alice), await create(ada, *SCOPES)
    before = await app.rows("SELECT * FROM users ORDER BY id")
    for token in tokens:
        for method, path, fields in (
            ("GET", "/dashboard", None),
            ("GET", "/account/tokens", None),
            ("GET", "/admin/users", None),
            ("POST", "/account", {"name": "Changed"}),
            ("POST", "/account/tokens", FORM | CHOSEN),
            ("POST", "/account/password", {"current_password": PASSWORD, "password": "new-No.9x"}),
            ("POST", "/account/email", {"email": "n@example.com"}),
        ):
            answer = await call(app, token, path, method, data=fields)
            assert (answer.status_code, answer.headers.get("location", "")[:6]) in (
                (303, "/login"),
                (404, ""),
            ), path
    assert await app.rows("SELECT * FROM users ORDER BY id") == before
    assert await app.count("access_tokens") == 2


async def test_a_token_changes_no_password_and_creates_no_token(
    app: TestApp, alice: Browser
) -> None:
    """The data access layer refuses it too, whatever routes there are."""
    token = await create(alice)
    viewer = await get_token_viewer(app.store, Secret(token))
    before = await app.rows("SELECT password_hash FROM users")
    with pytest.raises(Forbidden):
        await account.change_password(
            viewer, current=Secret(PASSWORD), new=Secret("new-No.9 to the sea")
        )
    with pytest.raises(Forbidden):
        await access_tokens.create_token(
            confirmed(viewer), name="x", scopes=["account:read"], days=7
        )
    assert await app.rows("SELECT password_hash FROM users") == before
    assert await app.count("access_tokens") == 1


async def test_a_token_in_a_browser_of_another_site_is_refused(
    app: TestApp, alice: Browser
) -> None:
    token = await create(alice)
    for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = await alice.client.patch(
            "/api/account", json={"name": "Changed"}, headers=bearer(token) | foreign
        )
        assert answer.status_code == 403
    assert await app.rows("SELECT name FROM users") == [("Alice",)]


async def test_wrong_tokens_are_limited_per_client_and_valid_ones_are_not(
    make_app: Callable,
) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    token = await create(await app.sign_up_user("Alice"))
    statuses = [(await call(app, UNKNOWN)).status_code for _ in range(32)]
    assert statuses == [401] * 30 + [429] * 2
    assert (await call(app, token)).status_code == 200


# Scopes


def test_every_route_of_the_api_declares_its_scope() -> None:
    """A new route must either name a scope or be listed here."""
    without = {row.path for row in routes if row.path.startswith("/api/") and not row.token_scope}
    assert without == {"/api/openapi.json", "/api/forward", "/api/token"}
    needed = {
        f"{row.token_scope}:{'read' if method == 'GET' else 'write'}"
        for row in routes
        if row.token_scope
        for method in row.endpoints
    }
    assert needed == set(SCOPES)
    assert not [row.path for row in routes if row.token_scope and row.path[:5] != "/api/"]
    with pytest.raises(ValueError, match="/x"):
        Members("/x", get=routes[0].endpoints["GET"], name="x", scope="account")


async def test_a_token_is_limited_to_its_scopes(app: TestApp, ada: Browser) -> None:
    ada_id = (await app.viewer_of(ada)).id
    tokens = {scope: await create(ada, scope) for scope in SCOPES}
    before = await app.rows("SELECT * FROM users")
    for row in routes:
        if row.token_scope:
            path = re.sub(r"{\w+}", "A" * 22, row.path.replace("{slug}", "ada"))
            path = path.replace("/users/" + "A" * 22, f"/users/{ada_id}")
            for method in row.endpoints:
                needed = f"{row.token_scope}:{'read' if method == 'GET' else 'write'}"
                for scope, token in tokens.items():
                    if scope != needed:
                        answer = await call(app, token, path, method)
                        assert answer.status_code == 403, (method, path, scope)
                        assert answer.headers["www-authenticate"] == (
                            f'Bearer error="insufficient_scope", scope="{needed}"'
                        )
                if method == "GET":
                    answer = await call(app, tokens[needed], path)
                    assert answer.status_code in (200, 404), path
    assert await app.rows("SELECT * FROM users") == before
    assert await app.count("access_tokens") == len(tokens)


async def test_an_admins_token_without_admin_read_sees_no_emails(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    emails = []
    for scopes in (("users:read",), ("users:read", "admin:read")):
        answer = await call(app, await create(ada, *scopes), "/api/users/alice")
        emails.append((answer.status_code, answer.json()["email"]))
    assert emails == [(200, None), (200, alice.email)]


async def test_an_admin_scope_follows_the_role_in_the_database(
    app: TestApp, ada: Browser, bob: Browser
) -> None:
    await app.admin("Grace")
    token = await create(ada, "admin:read", "admin:write")
    bob_id = (await app.viewer_of(bob)).id
    assert (await call(app, token, f"/api/admin/users/{bob_id}/disable", "POST")).status_code == 200
    await app.change_role(ada, "user")
    path = f"/api/admin/users/{bob_id}/enable"
    assert (await call(app, token, path, "POST")).status_code == 403
    assert (await call(app, token, "/api/admin/users")).status_code == 403
    assert await app.rows("SELECT id FROM users WHERE disabled_at IS NOT NULL") != []


# The end of a token


async def test_a_token_ends_when_it_expires(app: TestApp, alice: Browser) -> None:
    token = await create(alice, days="7")
    app.clock.move(days=6, hours=23)
    assert (await call(app, token)).status_code == 200
    app.clock.move(hours=1)
    assert (await call(app, token)).status_code == 401
    await prune(app.store)
    assert await app.count("access_tokens") == 0


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_user_deletes_a_token(app: TestApp, alice: Browser, headers: dict) -> None:
    token, other = await create(alice), await create(alice, name="Other")
    ((token_id,),) = await app.rows("SELECT id FROM access_tokens WHERE name = 'Backup'")
    answer = await alice.post(f"/account/tokens/{token_id}/revoke", {}, **headers)
    assert answer.status_code == (200 if headers else 303)
    assert (await call(app, token)).status_code == 401
    assert (await call(app, other)).status_code == 200
    assert len(await entries(app, "token.revoke")) == 1
    assert (await alice.post(f"/account/tokens/{token_id}/revoke")).status_code == 404


async def test_a_token_of_another_user_is_not_found(
    app: TestApp, alice: Browser, ada: Browser, bob: Browser
) -> None:
    token = await create(alice)
    ((token_id,),) = await app.rows("SELECT id FROM access_tokens")
    for user in (bob, ada):
        for path, method in (
            (f"/account/tokens/{token_id}/revoke", "POST"),
            (f"/api/account/tokens/{token_id}", "DELETE"),
        ):
            existing = await user.request(method, path)
            unknown = await user.request(method, path.replace(token_id, "A" * 22))
            assert (existing.status_code, existing.text) == (404, unknown.text)
        assert "Backup" not in (await user.get("/account/tokens")).text
    assert (await call(app, token)).status_code == 200


async def change_password(app: TestApp, alice: Browser, ada: Browser) -> None:
    fields = {"current_password": PASSWORD, "password": "another-No.7 by the sea"}
    assert (await alice.post("/account/password", fields)).status_code == 303


async def log_out_everywhere(app: TestApp, alice: Browser, ada: Browser) -> None:
    await alice.post("/devices/revoke-all")


async def log_out_everywhere_by_api(app: TestApp, alice: Browser, ada: Browser) -> None:
    await alice.post("/api/account/sessions/revoke-all")


async def end_sessions_as_admin(app: TestApp, alice: Browser, ada: Browser) -> None:
    await ada.post(f"/admin/users/{(await app.viewer_of(alice)).id}/end-sessions")


async def disable_and_enable(app: TestApp, alice: Browser, ada: Browser) -> None:
    user_id = (await app.viewer_of(alice)).id
    await ada.post(f"/admin/users/{user_id}/disable")
    await ada.post(f"/admin/users/{user_id}/enable")


async def delete_account(app: TestApp, alice: Browser, ada: Browser) -> None:
    await app.change("DELETE FROM users WHERE name = 'Alice'")


@pytest.mark.parametrize(
    "end",
    [
        change_password,
        log_out_everywhere,
        log_out_everywhere_by_api,
        end_sessions_as_admin,
        disable_and_enable,
        delete_account,
    ],
)
async def test_what_ends_all_sessions_deletes_the_tokens_of_the_account(
    app: TestApp, alice: Browser, ada: Browser, end: Callable
) -> None:
    token, other = await create(alice), await create(ada)
    assert (await call(app, token)).status_code == 200
    await end(app, alice, ada)
    assert (await call(app, token)).status_code == 401
    assert (await call(app, other)).status_code == 200


async def test_a_log_out_and_a_new_role_keep_the_tokens(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    token = await create(alice)
    await alice.post("/devices/revoke-others")
    await app.change_role(alice, "admin")
    await alice.post("/logout")
    assert (await call(app, token)).json()["user"]["role"] == "admin"


async def test_a_disabled_user_has_no_access_with_a_token(app: TestApp, alice: Browser) -> None:
    token = await create(alice)
    await app.change("UPDATE users SET disabled_at = created_at")
    assert (await call(app, token)).status_code == 401


async def test_a_deleted_token_changes_nothing_in_a_transaction(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    """The token is checked again in the transaction of the change."""
    viewer = await get_token_viewer(app.store, Secret(await create(alice)))
    admin_token = await create(ada, "admin:write")
    await app.change("DELETE FROM access_tokens WHERE scopes <> 'admin:write'")
    for change in (
        account.change_profile(viewer, name="Changed"),
        devices.revoke_all(viewer),
        access_tokens.revoke_token(viewer, "x"),
    ):
        with pytest.raises(InvalidToken):
            await change
    await app.change("DELETE FROM access_tokens")
    with pytest.raises(InvalidToken):
        await write(viewer.store, viewer)
    assert (await call(app, admin_token)).status_code == 401
    assert await app.rows("SELECT name FROM users ORDER BY name") == [("Ada",), ("Alice",)]
    assert await alice.is_logged_in()


async def write(store: Store, viewer: Viewer) -> None:
    async with store.transaction():
        await require_right(viewer)


async def test_a_use_and_a_deletion_at_the_same_time_leave_no_half_change(
    app: TestApp, alice: Browser
) -> None:
    session = await app.viewer_of(alice)
    for number in range(5):
        viewer = await get_token_viewer(app.store, Secret(await create(alice)))
        name = f"Alice {number}"
        outcomes = await asyncio.gather(
            account.change_profile(viewer, name=name),
            access_tokens.revoke_token(session, viewer.token_id),
            return_exceptions=True,
        )
        assert outcomes[1] is None
        changed = await app.rows(f"SELECT name FROM users WHERE name = '{name}'") != []
        assert (outcomes[0] is True) == changed or isinstance(outcomes[0], InvalidToken)
        assert isinstance(outcomes[0], InvalidToken) or changed


# What is stored


async def test_the_last_use_is_written_every_few_minutes(app: TestApp, alice: Browser) -> None:
    token = await create(alice)
    assert "Never used" in (await alice.get("/account/tokens")).text
    seen = []
    for minutes in (0, 4, 2):
        app.clock.move(minutes=minutes)
        await call(app, token)
        seen += await app.rows("SELECT last_used_at FROM access_tokens")
    assert [at[11:16] for (at,) in seen] == ["09:12", "09:12", "09:18"]
    assert "Last used" in (await alice.get("/account/tokens")).text


async def test_a_token_works_while_the_database_rejects_writes(make_app: Callable) -> None:
    token = await create(await (await make_app()).sign_up_user("Alice"))
    app = await make_app(lock_timeout=0.2)  # the same database
    with app.locked():
        assert (await call(app, token)).status_code == 200


async def test_an_entry_names_the_token_that_acted(app: TestApp, alice: Browser) -> None:
    token = await create(alice)
    await call(app, token, "/api/account", "PATCH", json={"name": "Grace"})
    ((token_id,),) = await app.rows("SELECT id FROM access_tokens")
    query = "SELECT session_id FROM audit WHERE event = 'profile.change'"
    assert await app.rows(query) == [(token_id,)]


@pytest.mark.asvs("S86", "S90")
async def test_no_access_token_is_stored_or_logged(
    app: TestApp, alice: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = await create(alice)
    await call(app, token)
    await call(app, token, "/api/nothing")
    await app.change("ALTER TABLE sessions RENAME TO renamed_sessions")
    assert (await call(app, token, "/api/account/sessions")).status_code == 500
    secret = token.removeprefix("lk_")[:43]
    assert secret.encode() not in app.stored()
    assert secret not in caplog.text
    for (value,) in await app.rows("SELECT token_hash FROM access_tokens"):
        assert (await call(app, value)).status_code == 401
        assert (await call(app, f"lk_{value[:43]}{value[-8:]}")).status_code == 401
