"""Searches responses and log lines for marked values of private columns and settings."""

import logging
import re
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx
import pytest

from db.crypto.passwords import Passwords
from tests.browser_client import HTMX, PASSWORD, Browser
from tests.conftest import SECRET, TestApp
from tests.mail import change_email, enabled_outbox, link_field, open_link, receive
from web.router import AppRoute

NAMES = ("Alice", "Bob", "Ada", "Grace")
# No user sees these values, not even their own.
NEVER_SHOWN = ("password_hash", "token_hash", "sid", "user_agent", "secret")
TYPED = "typed-canary-No.9"


@dataclass
class Canary:
    """A marked value with its type and its user."""

    canary_type: str
    user_name: str
    value: str


def marked(canary_type: str, name: str) -> str:
    n = NAMES.index(name)
    return {
        "email": f"{name.lower()}.canary@example.com",
        "phone": f"+49 canary phone {name}",
        "user_agent": f"Mozilla/5.0 (X11; Linux x86_64) canary-agent-{name}/1.0",
        "address": f"203.0.113.{77 + n}",
        "password_hash": f"canary-hash-of-{name}",
    }[canary_type]


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
async def users(app: TestApp, anonymous: Browser) -> dict[str, Browser]:
    """Creates the users: Grace is in Alice's team, Bob is in none, and Ada is an admin."""
    browsers = {}
    for name in NAMES:
        browsers[name] = await app.sign_up_user(
            name, email=marked("email", name), user_agent=marked("user_agent", name)
        )
        await browsers[name].post("/account", {"phone": marked("phone", name)})
        await app.change(
            f"UPDATE users SET password_hash = '{marked('password_hash', name)}' WHERE name = '{name}'"
        )
        condition = f"WHERE user_id = (SELECT id FROM users WHERE name = '{name}')"
        await app.change(f"UPDATE sessions SET address = '{marked('address', name)}' {condition}")
    await app.change("UPDATE users SET team = 'Harbour' WHERE name IN ('Alice', 'Grace')")
    await app.change("UPDATE users SET role = 'admin' WHERE name = 'Ada'")
    return browsers | {"anonymous": anonymous}


@pytest.fixture
async def canaries(app: TestApp, users: dict[str, Browser]) -> list[Canary]:
    """Returns the values of all private columns, the session ids in the cookies, and the secret."""
    columns = "users.name, email, phone, password_hash, token_hash, sessions.id AS session_id, user_agent, address"
    found = [
        Canary("secret", "the application", SECRET),
        Canary("secret", "the application", "7Jq2vX0pLw9sRz4T"),
    ]
    for name, *values in await app.rows(
        f"SELECT {columns} FROM users JOIN sessions ON users.id = user_id"
    ):
        canary_types = (
            "email",
            "phone",
            "password_hash",
            "token_hash",
            "session_id",
            "user_agent",
            "address",
        )
        found += [
            Canary(canary_type, name, value)
            for canary_type, value in zip(canary_types, values, strict=True)
        ]
        found.append(Canary("sid", name, app.store.keys.decode(users[name].cookie)["sid"]))
    return found


def is_hidden_from(name: str, canary: Canary) -> bool:
    """Returns whether the user with this name must not see the value."""
    if canary.canary_type in NEVER_SHOWN or canary.user_name == name:
        return canary.canary_type in NEVER_SHOWN
    if name == "Ada":
        # Administrators revoke sessions by their ids, and the export of the audit log has them.
        return canary.canary_type not in ("email", "phone", "session_id")
    return not (canary.canary_type == "phone" and {name, canary.user_name} == {"Alice", "Grace"})


async def request_everything(
    app: TestApp, user: Browser
) -> AsyncIterator[tuple[str, httpx.Response]]:
    """Requests every GET route, every live check and every type of error, as a page and as a
    fragment.
    """
    ids = dict(await app.rows("SELECT name, id FROM users"))
    devices = [device for (device,) in await app.rows("SELECT id FROM sessions")]
    gets = [f"/users/{name.lower()}" for name in NAMES] + [
        f"/api/users/{name.lower()}" for name in NAMES
    ]
    gets += [path for path in paths_of(app) if "{" not in path]
    gets += [
        "/admin/users?q=canary&sort=email",
        "/admin/users?sort=login&page=9",
        "/api/admin/users?q=canary",
    ]
    gets += [
        "/nowhere",
        "/api/nowhere",
        "/users/nobody",
        "/login?next=/devices&ended=1",
        "/api/admin/users?page=x",
    ]
    posts = [
        ("/account", {"name": ""}),
        ("/account", {"slug": "bob"}),
        ("/account", {"viewer": ids["Grace"]}),
    ]
    posts += [
        ("/account/password", {"current_password": TYPED, "password": f"{TYPED}x"}),
        ("/dashboard", {}),
    ]
    posts += [
        ("/account/password", {"current_password": TYPED, "password": "x"}),
        ("/api/session", {}),
    ]
    posts += [
        (f"/account/check/{field}", {field: "x"}) for field in ("name", "slug", "phone", "email")
    ]
    posts += [
        (f"/signup/check/{field}", {field: "x"}) for field in ("name", "email", "password", "role")
    ]
    posts += [
        ("/signup", {"email": marked("email", "Bob"), "password": TYPED}),
        ("/login", {"password": TYPED}),
    ]
    posts += [
        ("/login", {"email": "nobody@example.com", "password": TYPED}),
        ("/account", {"phone": "x" * 99}),
    ]
    posts += [
        (f"/admin/users/{ids['Ada']}/role", {"role": "user"}),
        ("/admin/users/nobody/disable", {}),
    ]
    posts += [
        (f"/admin/users/{ids['Bob']}/role", {"role": "x"}),
        (f"/admin/users/{ids['Bob']}/team", {"team": ""}),
    ]
    posts += [(f"/devices/{device}x/revoke", {}) for device in devices]
    for headers in ({}, HTMX):
        for path in gets:
            yield path, await user.get(path, **headers)
        for path, fields in posts:
            answer = await user.post(path, fields, **headers)
            yield path, answer if path != "/signup" else without_typed_email(answer, fields)
        yield "foreign", await user.post("/account", {}, **headers, Sec_Fetch_Site="cross-site")
        yield (
            "no form",
            await user.client.post("/login", content=b"{}", headers={"Content-Type": "text/plain"}),
        )
        yield "too large", await user.client.post("/account", content=b"x" * 70_000)


def paths_of(app: TestApp) -> list[str]:
    return [
        route.path
        for route in app.asgi_app.router.routes
        if isinstance(route, AppRoute) and "GET" in route.endpoints
    ]


def without_typed_email(answer: httpx.Response, typed: dict[str, str]) -> httpx.Response:
    """Removes the typed email from the response, because the form shows the user's own input."""
    text = answer.text.replace(f'value="{typed["email"]}"', "")
    return httpx.Response(answer.status_code, text=text, headers={})


def visible_text(answer: httpx.Response) -> str:
    """Returns the text of a response without its cookies, which are tested separately."""
    headers = [f"{name}: {value}" for name, value in answer.headers.items() if name != "set-cookie"]
    return "\n".join([*headers, answer.text])


@pytest.mark.guide("D4", "D22", "D23", "D34", "T12")
@pytest.mark.asvs("S86", "S88")
@pytest.mark.parametrize("name", ["anonymous", "Alice", "Bob", "Ada"])
async def test_responses_contain_no_private_values_of_others(
    app: TestApp, users: dict, canaries: list[Canary], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG, "latchkey")
    hidden = [canary for canary in canaries if is_hidden_from(name, canary)]
    statuses = set()
    async for path, answer in request_everything(app, users[name]):
        statuses.add(answer.status_code)
        leaks = [canary for canary in hidden if canary.value in visible_text(answer)]
        assert leaks == [], path
        assert TYPED not in visible_text(answer), path
    assert statuses >= (
        {200, 303, 401, 404, 415, 422}
        if name == "anonymous"
        else {200, 204, 303, 404, 405, 409, 413, 422}
    )
    assert not [canary for canary in canaries if canary.value in log_of(caplog)]


@pytest.mark.guide("D4", "D34")
async def test_the_search_finds_values_that_a_user_may_see(
    app: TestApp, users: dict, canaries: list[Canary]
) -> None:
    """The values that a user may see are found, so the test above would find the others as well."""
    seen: dict[str, set[tuple[str, str]]] = {}
    for name in ("Alice", "Bob", "Ada"):
        text = "\n".join(
            [visible_text(answer) async for _, answer in request_everything(app, users[name])]
        )
        seen[name] = {
            (canary.canary_type, canary.user_name) for canary in canaries if canary.value in text
        }
    own = ("email", "phone", "address", "session_id")
    assert seen["Alice"] == {("phone", "Grace"), *[(canary_type, "Alice") for canary_type in own]}
    assert seen["Bob"] == {(canary_type, "Bob") for canary_type in own}
    assert seen["Ada"] >= {
        (canary_type, name) for canary_type in ("email", "phone") for name in NAMES
    }


def log_of(caplog: pytest.LogCaptureFixture) -> str:
    """Returns every line of the application's log, with tracebacks."""
    formatter = logging.Formatter("%(message)s")
    return "\n".join(
        formatter.format(record) for record in caplog.records if record.name == "latchkey"
    )


@pytest.mark.guide("D34")
@pytest.mark.asvs("S88", "S89", "S90", "S48")
async def test_a_server_error_shows_a_reference_and_logs_no_secret(
    app: TestApp, users: dict, canaries: list[Canary], caplog: pytest.LogCaptureFixture
) -> None:
    """The table of sessions is renamed while the application runs."""
    caplog.set_level(logging.DEBUG, "latchkey")
    await app.change("ALTER TABLE sessions RENAME TO renamed_sessions")
    for path, fields in (
        ("/dashboard", None),
        ("/api/session", None),
        ("/account", {"phone": TYPED}),
    ):
        answer = await users["Alice"].request("POST" if fields else "GET", path, fields)
        assert answer.status_code == 500
        assert not [canary for canary in canaries if canary.value in visible_text(answer)]
        assert not re.search(r"Traceback|SELECT|sqlite|\.py|no such table", answer.text)
    fields = {"name": "Charlie", "email": "charlie.canary@example.com", "password": TYPED}
    assert (await users["anonymous"].post("/signup", fields)).status_code == 500
    log = log_of(caplog)
    assert "reference" in log
    assert not [canary for canary in canaries if canary.value in log]
    assert not [
        typed
        for typed in (
            TYPED,
            "charlie.canary",
            *[browser.cookie for browser in users.values() if browser.cookie],
        )
        if typed in log
    ]


# A stolen database


@pytest.fixture
async def stored_values(app: TestApp, alice: Browser, ada: Browser) -> list[str]:
    """Returns every value in the database, as an attacker with a copy of its files reads it."""
    rows = [
        row for table in ("users", "sessions") for row in await app.rows(f"SELECT * FROM {table}")
    ]
    return [str(value) for row in rows for value in row if value]


@pytest.mark.asvs("S86")
@pytest.mark.guide("C1", "C2")
async def test_no_stored_value_works_as_a_cookie(
    app: TestApp, stored_values: list[str], anonymous: Browser
) -> None:
    for value in stored_values:
        for cookie in (value, f"{value}.{value}.{value}", f"eyJhbGciOiJub25lIn0.{value}."):
            anonymous.cookie = cookie.encode("ascii", "ignore").decode()
            answer = await anonymous.get("/api/session")
            assert answer.status_code == 401, value


@pytest.mark.asvs("S86")
async def test_no_stored_value_works_as_a_session_id(
    app: TestApp, stored_values: list[str], alice: Browser
) -> None:
    """An attacker who could sign cookies would need the session id; only its digest is stored."""
    claims = app.store.keys.decode(alice.cookie)
    attacker = await app.browser("Charlie")
    for value in stored_values:
        attacker.cookie = app.store.keys.encode({**claims, "sid": value}).reveal()
        assert not await attacker.is_logged_in(), value
    attacker.cookie = app.store.keys.encode(claims).reveal()
    assert await attacker.is_logged_in(), "the session id itself is accepted"


@pytest.mark.asvs("S86")
async def test_no_stored_value_works_as_a_password(
    app: TestApp, stored_values: list[str], alice: Browser
) -> None:
    laptop = await app.browser("Alice")
    for value in stored_values:
        assert (await laptop.log_in(value)).status_code == 422, value
    assert (await laptop.log_in()).status_code == 303


@pytest.mark.asvs("S86", "S48")
async def test_database_files_hold_no_password_cookie_or_secret(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    await alice.post("/account/password", {"current_password": PASSWORD, "password": TYPED})
    stored = app.stored()
    assert b"alice@example.com" in stored
    claims = [app.store.keys.decode(user.cookie) for user in (alice, alices_phone)]
    for secret in (
        PASSWORD,
        TYPED,
        SECRET,
        alice.cookie,
        alices_phone.cookie,
        *[claim["sid"] for claim in claims],
    ):
        assert secret.encode() not in stored


@pytest.mark.asvs("S87")
async def test_tokens_are_random(app: TestApp) -> None:
    """Checks 1,000 tokens of each length: no token occurs twice, and every bit is set about half
    the time.
    """
    for size in (16, 32):
        tokens = [app.store.token(size) for _ in range(1_000)]
        assert len(set(tokens)) == len(tokens)
        assert {len(token) for token in tokens} == {-(-size * 4 // 3)}
        numbers = [int.from_bytes(decode(token)) for token in tokens]
        for bit in range(size * 8):
            # The interval has a width of eight standard deviations to either side.
            assert 370 < sum(number >> bit & 1 for number in numbers) < 630


def decode(token: str) -> bytes:
    return urlsafe_b64decode(token + "=" * (-len(token) % 4))


@pytest.mark.asvs("S87")
async def test_ids_and_session_ids_are_random_tokens(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    ids = [
        row[0]
        for table in ("users", "sessions")
        for row in await app.rows(f"SELECT id FROM {table}")
    ]
    sids = [app.store.keys.decode(user.cookie)["sid"] for user in (alice, bob)]
    assert len({*ids, *sids}) == 6
    assert ({len(decode(value)) for value in ids}, {len(decode(value)) for value in sids}) == (
        {16},
        {32},
    )
    assert not set(sids) & set(ids)


@pytest.mark.guide("D34")
@pytest.mark.asvs("S96")
@pytest.mark.parametrize("show", [repr, str, lambda value: f"{value}"])
async def test_settings_store_and_viewer_do_not_print_secrets(
    app: TestApp, alice: Browser, show: Callable[[object], str]
) -> None:
    viewer = await app.viewer_of(alice)
    for item in (app.settings, app.store, app.store.keys, viewer, app.asgi_app.state):
        try:
            text = show(item)
        except TypeError as raised:
            text = str(raised)
        assert not [secret for secret in (SECRET, app.path.name, PASSWORD) if secret in text]


@pytest.mark.asvs("S86", "S90")
async def test_no_token_of_a_link_is_stored_or_logged(
    make_app: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    app = await make_app(mail=enabled_outbox())
    alice, anonymous = await app.sign_up_user("Alice"), await app.browser("Charlie")
    used = [await receive(app, "verify")]
    await open_link(alice, used[0])
    await alice.post("/verify", link_field(used[0]))
    await change_email(app, alice, "alice.new@example.com")
    used += [await receive(app, "change"), await receive(app, "moved")]
    await open_link(anonymous, used[-1])
    await anonymous.post("/not-me", {"sure": "yes", **link_field(used[-1])})
    used.append(await receive(app, "locked"))
    await open_link(anonymous, used[-1])
    await anonymous.post("/reset", {"password": TYPED, **link_field(used[-1])})
    await anonymous.post("/forgot", {"email": "alice@example.com"})
    unused = await receive(app, "reset")
    assert await app.count("audit") >= 6
    stored = app.stored()
    for message in (*used, unused):
        assert message.token is not None
        assert message.token.reveal().encode() not in stored
        assert message.token.reveal() not in caplog.text
