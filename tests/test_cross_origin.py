"""Tests of the CSRF protection: unsafe requests from other origins are refused."""

import pytest

from tests.browser_client import HTMX, PASSWORD, Browser, read, set_cookie_of
from tests.conftest import TestApp
from web.router import AppRoute

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8000"},
    {"Sec-Fetch-Site": "nonsense"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost"},
    {"Origin": "https://localhost:8000"},
    {"Origin": "http://localhost:8000.evil.example"},
    {"Origin": "http://evil.example:8000", "Host": "evil.example:8000"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    {"Origin": "https://evil.example", "Referer": "http://localhost:8000/devices"},
]
SAME_ORIGIN = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8000"},
    {"Origin": "http://localhost:8000"},
    {},
]


def unsafe_paths(app: TestApp) -> list[str]:
    routes = [
        route
        for route in app.asgi_app.router.routes
        if isinstance(route, AppRoute) and "POST" in route.endpoints
    ]
    return [
        route.path.replace("{field}", "name").replace("{id}", "x").replace("{slug}", "x")
        for route in routes
    ]


@pytest.mark.asvs("S31")
@pytest.mark.guide("D35")
async def test_requests_from_another_site_change_nothing(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    before = app.statements
    for headers in FOREIGN:
        for path in unsafe_paths(app):
            for user in (alice, anonymous):
                answer = await user.request(
                    "POST",
                    path,
                    {"name": "Zoe", "email": "zoe@example.com", "password": PASSWORD},
                    **headers,
                )
                assert (answer.status_code, set_cookie_of(answer)) == (403, {}), (path, headers)
    assert app.statements == before
    assert (await app.count("users"), await app.count("sessions")) == (1, 1)
    assert await alice.is_logged_in()


@pytest.mark.asvs("S03", "S31")
async def test_a_form_for_another_host_changes_nothing(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    """After DNS rebinding the browser takes the attacker's page for a page of this site."""
    before, fields = (
        app.statements,
        {"name": "Zoe", "email": "zoe@example.com", "password": PASSWORD},
    )
    for path in unsafe_paths(app):
        for user in (alice, anonymous):
            answer = await user.post(path, fields, Host="evil.example")
            assert (answer.status_code, set_cookie_of(answer)) == (400, {}), path
    assert app.statements == before
    assert (await app.count("users"), await app.count("sessions")) == (1, 1)
    assert await alice.is_logged_in()


@pytest.mark.asvs("S31")
async def test_another_site_cannot_log_a_browser_in(app: TestApp, alice: Browser) -> None:
    for headers in FOREIGN:
        victim = await app.browser("Alice")
        await victim.request(
            "POST", "/login", {"email": "alice@example.com", "password": PASSWORD}, **headers
        )
        assert victim.cookie is None


@pytest.mark.asvs("S31")
@pytest.mark.parametrize("headers", SAME_ORIGIN)
async def test_same_origin_and_non_browser_requests_are_accepted(
    app: TestApp, anonymous: Browser, headers: dict
) -> None:
    fields = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}
    assert (await anonymous.request("POST", "/signup", fields, **headers)).status_code == 303
    assert (await anonymous.request("POST", "/logout", **headers)).status_code == 303
    assert await app.count("sessions") == 0


@pytest.mark.asvs("S31")
async def test_repeated_origin_headers_are_refused_if_one_is_foreign(
    app: TestApp, alice: Browser
) -> None:
    for name, values in (
        ("Sec-Fetch-Site", ("same-origin", "cross-site")),
        ("Origin", ("http://localhost:8000", "https://evil.example")),
    ):
        for pair in (values, values[::-1]):
            answer = await alice.client.post("/logout", headers=[(name, value) for value in pair])
            assert answer.status_code == 403
    assert await alice.is_logged_in()


async def test_a_foreign_origin_is_logged_once_beside_the_base_url(
    alice: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    for origin in ("https://localhost:8000", "https://localhost:8000", "https://evil.example"):
        await alice.request("POST", "/account", {"name": "Zoe"}, Origin=origin)
    assert [record.getMessage() for record in caplog.records] == [
        "a form from https://localhost:8000 was refused: BASE_URL is http://localhost:8000",
        "a form from https://evil.example was refused: BASE_URL is http://localhost:8000",
    ]
    for number in range(40):
        await alice.request("POST", "/account", {"name": "Zoe"}, Origin=f"https://{number}.example")
    assert len(caplog.records) == 10


async def test_a_refused_cross_origin_request_is_explained(alice: Browser) -> None:
    for headers in ({}, HTMX):
        answer = await alice.request(
            "POST", "/logout", **{"Sec-Fetch-Site": "cross-site", **headers}
        )
        assert read(answer).one("h1").text == "This came from another site"


@pytest.mark.asvs("S31", "S32")
async def test_another_site_can_link_to_pages(alice: Browser, anonymous: Browser) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert (await alice.get("/dashboard", **foreign)).status_code == 200
    assert (await anonymous.get("/login", **foreign)).status_code == 200


@pytest.mark.asvs("S75")
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8000"])
async def test_scripts_of_another_site_cannot_read_responses(alice: Browser, origin: str) -> None:
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answers = [
        await alice.get(path, Origin=origin)
        for path in ("/api/session", "/dashboard", "/healthz", "/nowhere")
    ]
    answers.append(await alice.request("OPTIONS", "/api/session", **preflight))
    answers.append(await alice.request("OPTIONS", "/login", **preflight))
    assert [
        name for answer in answers for name in answer.headers if name.startswith("access-control")
    ] == []


@pytest.mark.asvs("S75")
async def test_only_form_bodies_are_accepted(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    body = b"email=alice@example.com&password=" + PASSWORD.encode()
    for content_type in (
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=x",
        "",
        "text/html",
    ):
        for user, path in (
            (anonymous, "/login"),
            (anonymous, "/signup"),
            (anonymous, "/signup/check/email"),
            (alice, "/devices/revoke-all"),
            (alice, "/devices/revoke-others"),
        ):
            answer = await user.client.post(
                path, content=body, headers={"Content-Type": content_type}
            )
            assert answer.status_code == 415, (path, content_type)
    assert anonymous.cookie is None
    assert await alice.is_logged_in()


async def test_an_empty_body_needs_no_content_type(alice: Browser, alices_phone: Browser) -> None:
    assert (await alice.client.post("/devices/revoke-others")).status_code == 303
    assert [await alice.is_logged_in(), await alices_phone.is_logged_in()] == [True, False]
