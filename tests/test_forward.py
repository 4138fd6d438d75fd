"""Tests of the check of forwarded requests: the answer to a reverse proxy, and its headers."""

from collections.abc import Callable
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from tests.browser_client import Browser, set_cookie_of
from tests.conftest import TestApp

RETURN_TO = "/app,https://app.example.com"
IDENTITY = ("Remote-User", "Remote-Email", "Remote-Name", "Remote-Role", "Remote-Groups")
FORWARDED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "app.example.com",
    "X-Forwarded-Uri": "/items?page=2",
}


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "RETURN_TO": RETURN_TO}


def identity_of(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in IDENTITY if name in answer.headers}


async def confirm_email(app: TestApp, user: Browser) -> None:
    await app.change(f"UPDATE users SET verified_at = created_at WHERE name = '{user.name}'")


async def test_a_live_session_is_answered_with_the_identity(app: TestApp, alice: Browser) -> None:
    await confirm_email(app, alice)
    answer = await alice.get("/api/forward")
    ((user_id,),) = await app.rows("SELECT id FROM users")
    assert (answer.status_code, answer.content) == (204, b"")
    assert identity_of(answer) == {
        "Remote-User": user_id,
        "Remote-Email": "alice@example.com",
        "Remote-Name": "Alice",
        "Remote-Role": "user",
        "Remote-Groups": "user",
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_the_check_answers_head_as_get(app: TestApp, alice: Browser) -> None:
    answer = await alice.request("HEAD", "/api/forward")
    assert (answer.status_code, "remote-user" in answer.headers) == (204, True)


@pytest.mark.asvs("S121")
async def test_an_unconfirmed_email_is_not_sent(app: TestApp, alice: Browser) -> None:
    answer = await alice.get("/api/forward")
    assert answer.status_code == 204
    assert "remote-email" not in answer.headers


async def test_headers_sent_by_the_client_do_not_change_the_identity(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    true = identity_of(await alice.get("/api/forward"))
    forged = identity_of(await ada.get("/api/forward"))
    assert identity_of(await alice.get("/api/forward", **forged)) == true


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("Zoë Ångström", "Zo%C3%AB %C3%85ngstr%C3%B6m"),
        ("100% Bob", "100%25 Bob"),
        ('O"Neil, Jr.', 'O"Neil, Jr.'),
        ("李小龙", "%E6%9D%8E%E5%B0%8F%E9%BE%99"),
    ],
)
async def test_a_name_is_percent_encoded_where_it_is_not_ascii(
    app: TestApp, name: str, sent: str
) -> None:
    user = await app.sign_up_user(name, email="zoe@example.com")
    value = (await user.get("/api/forward")).headers["remote-name"]
    assert (value, unquote(value)) == (sent, name)


@pytest.mark.asvs("S120")
async def test_control_characters_cannot_end_a_header(app: TestApp, alice: Browser) -> None:
    """Fields refuse these characters, but a row may come from elsewhere."""
    await app.change("UPDATE users SET name = 'A' || '\r\n' || 'Remote-Role: admin'")
    answer = await alice.get("/api/forward")
    assert answer.headers["remote-name"] == "A%0D%0ARemote-Role: admin"
    assert answer.headers.get_list("remote-role") == ["user"]


@pytest.mark.parametrize(
    ("team", "group"),
    [
        ("sales", "team-sales"),
        ("R&D", "team-R&D"),
        ("R, D", "team-R%2C%20D"),
        ("x,admin", "team-x%2Cadmin"),
        ("研究", "team-%E7%A0%94%E7%A9%B6"),
    ],
)
async def test_groups_contain_the_role_and_the_team(
    app: TestApp, alice: Browser, ada: Browser, team: str, group: str
) -> None:
    ((alice_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    await ada.post(f"/admin/users/{alice_id}/team", {"team": team})
    assert (await alice.get("/api/forward")).headers["remote-groups"] == f"user,{group}"


async def test_a_revoked_session_is_refused_at_the_next_request(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    await alices_phone.post("/devices/revoke-others")
    answer = await alice.get("/api/forward")
    assert (answer.status_code, identity_of(answer)) == (401, {})
    # Otherwise the log-in page would take the cookie for a session.
    assert set_cookie_of(answer)["session"]["max-age"] == "0"


async def test_a_disabled_account_is_refused_at_the_next_request(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    ((alice_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    await ada.post(f"/admin/users/{alice_id}/disable")
    answer = await alice.get("/api/forward")
    assert (answer.status_code, identity_of(answer)) == (401, {})


@pytest.mark.asvs("S37")
async def test_a_changed_role_counts_at_the_next_request(app: TestApp, ada: Browser) -> None:
    await app.create("Grace", "admin")
    assert (await ada.get("/api/forward?role=admin")).status_code == 204
    await app.change_role(ada, "user")
    answer = await ada.get("/api/forward?role=admin")
    assert (answer.status_code, identity_of(answer)) == (403, {})
    assert (await ada.get("/api/forward")).headers["remote-role"] == "user"


async def test_a_database_that_is_unavailable_lets_no_request_pass(
    make_app: Callable, app: TestApp, alice: Browser
) -> None:
    broken = await make_app(app.path, unreachable=True)
    browser = await broken.attacker_with_cookie_of(alice)
    answer = await browser.get("/api/forward")
    assert (answer.status_code, identity_of(answer), set_cookie_of(answer)) == (503, {}, {})


@pytest.mark.parametrize(
    ("query", "user_status", "admin_status"),
    [
        ("role=admin", 403, 204),
        ("role=user", 204, 204),
        ("role=editor", 403, 204),
        ("role=editor&role=user", 204, 204),
        ("role=", 403, 204),
    ],
)
async def test_another_role_is_refused_and_administrators_pass(
    alice: Browser, ada: Browser, query: str, user_status: int, admin_status: int
) -> None:
    answer = await alice.get(f"/api/forward?{query}")
    assert (answer.status_code, identity_of(answer) == {}) == (user_status, user_status == 403)
    assert (await ada.get(f"/api/forward?{query}")).status_code == admin_status


async def test_a_request_without_a_session_gets_the_login_url(anonymous: Browser) -> None:
    answer = await anonymous.get("/api/forward", **FORWARDED)
    assert (answer.status_code, identity_of(answer)) == (401, {})
    assert answer.headers["content-type"] == "application/problem+json"
    url = urlsplit(answer.headers["x-login-url"])
    assert url._replace(query="").geturl() == "http://localhost:8000/login"
    assert parse_qs(url.query) == {"next": ["https://app.example.com/items?page=2"]}


@pytest.mark.parametrize(
    ("forwarded", "target"),
    [
        ({"X-Forwarded-Uri": "/app/a?b=c"}, "/app/a?b=c"),
        ({"X-Forwarded-Host": "localhost:8000", "X-Forwarded-Uri": "/app"}, "/app"),
        ({**FORWARDED, "X-Forwarded-Host": "app.example.com:443"}, "https://app.example.com/items?page=2"),
        ({**FORWARDED, "X-Forwarded-Host": "APP.example.com"}, "https://app.example.com/items?page=2"),
        ({"X-Forwarded-Uri": "/other"}, None),
        ({**FORWARDED, "X-Forwarded-Proto": "http"}, None),
        ({**FORWARDED, "X-Forwarded-Host": "app.example.com:8443"}, None),
        ({**FORWARDED, "X-Forwarded-Host": "app.example.com.evil.example"}, None),
        ({**FORWARDED, "X-Forwarded-Host": "evil.example/app.example.com"}, None),
        ({**FORWARDED, "X-Forwarded-Host": "app.example.com@evil.example"}, None),
        ({**FORWARDED, "X-Forwarded-Uri": "@evil.example/"}, None),
        ({**FORWARDED, "X-Forwarded-Uri": "//evil.example/"}, None),
        ({**FORWARDED, "X-Forwarded-Uri": "/a/../../b"}, None),
        ({}, None),
    ],
)  # fmt: skip
async def test_the_login_url_leads_back_only_to_allowed_urls(
    anonymous: Browser, forwarded: dict[str, str], target: str | None
) -> None:
    headers = {"X-Forwarded-Proto": "http", **forwarded}
    answer = await anonymous.get("/api/forward", **headers)
    query = parse_qs(urlsplit(answer.headers["x-login-url"]).query)
    assert query == ({} if target is None else {"next": [target]})


async def test_a_navigation_is_redirected_on_request(anonymous: Browser) -> None:
    answer = await anonymous.get(
        "/api/forward?login=redirect", **FORWARDED, **{"Sec-Fetch-Mode": "navigate"}
    )
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("http://localhost:8000/login?next=https%3A//app.")


async def test_a_fetch_is_refused_instead_of_redirected(anonymous: Browser) -> None:
    answer = await anonymous.get("/api/forward?login=redirect", **{"Sec-Fetch-Mode": "cors"})
    assert answer.status_code == 401


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_a_session_in_use_is_renewed_and_its_cookie_is_sent(
    make_app: Callable, strategy: str
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    for _ in range(3):
        app.clock.move(days=5)
        answer = await alice.get("/api/forward")
        assert answer.status_code == 204
        # nginx passes on the first Set-Cookie only.
        assert [line[:8] for line in answer.headers.get_list("set-cookie")] == ["session="]


@pytest.mark.parametrize(("strategy", "statements"), [("database", 2), ("stateless", 3)])
async def test_the_check_takes_few_statements(
    make_app: Callable, strategy: str, statements: int
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    before = app.statements
    await alice.get("/api/forward")
    assert app.statements - before == statements


async def test_the_check_and_the_keys_accept_the_name_of_a_container(
    app: TestApp, alice: Browser
) -> None:
    """Traefik cannot set Host, and applications read the keys without the public host name."""
    for path, status in (("/api/forward", 204), ("/.well-known/jwks.json", 200)):
        assert (await alice.get(path, Host="latchkey:8000")).status_code == status
    assert (await alice.get("/api/session", Host="latchkey:8000")).status_code == 400


async def test_checks_of_requests_are_not_rate_limited(make_app: Callable) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    statuses = {(await alice.get("/api/forward")).status_code for _ in range(200)}
    assert statuses == {204}


@pytest.mark.parametrize("query", ["roles=admin", "ROLE=admin", "login=yes", "role=user&x="])
async def test_a_mistake_in_the_query_of_the_proxy_lets_no_request_pass(
    alice: Browser, query: str
) -> None:
    answer = await alice.get(f"/api/forward?{query}")
    assert (answer.status_code, identity_of(answer)) == (422, {})
