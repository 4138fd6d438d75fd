"""Tests of the security headers, which every response has."""

from collections.abc import Callable

import httpx
import pytest

from tests.browser_client import HTMX, Browser, read
from tests.conftest import TestApp

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
REQUIRED_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), "
    "publickey-credentials-get=(self), publickey-credentials-create=(self)",
}


@pytest.fixture
async def answers(
    app: TestApp, alice: Browser, ada: Browser, anonymous: Browser
) -> dict[str, httpx.Response]:
    """Returns one response of each type, by name."""
    json_headers = {"Content-Type": "application/json"}
    asset = read(await anonymous.get("/")).one("link", rel="stylesheet").attrs["href"]
    found = {
        "page": await anonymous.get("/"),
        "form": await anonymous.get("/login"),
        "members' page": await alice.get("/dashboard"),
        "administrators' page": await ada.get("/dashboard"),
        "user list": await ada.get("/admin/users"),
        "account": await alice.get("/account"),
        "profile": await alice.get("/users/ada"),
        "handbook": await alice.get("/handbook"),
        "fragment": await alice.get_fragment("/devices"),
        "json": await alice.get("/api/session"),
        "health": await anonymous.get("/healthz"),
        "asset": await anonymous.get(asset),
        "204": await alice.post_fragment("/login"),
        "303": await anonymous.get("/dashboard"),
        "401": await anonymous.get_fragment("/dashboard"),
        "401 json": await anonymous.get("/api/session"),
        "403": await alice.post("/logout", **{"Sec-Fetch-Site": "cross-site"}),
        "404": await anonymous.get("/nowhere"),
        "404 asset": await anonymous.get("/static/nothing.css"),
        "405": await anonymous.request("PUT", "/login"),
        "409": await alice.post("/devices/revoke-others", {"viewer": "nobody"}),
        "413": await anonymous.post("/login", {"email": "x" * 70_000}),
        "415": await anonymous.client.post("/login", content=b"{}", headers=json_headers),
        "422": await anonymous.post("/login"),
        "422 fragment": await anonymous.post_fragment("/signup"),
        "check": await anonymous.post("/signup/check/name", {"name": "x"}),
        "431": await anonymous.get("/", Cookie="x" * 20_000),
    }
    await app.change("ALTER TABLE users RENAME TO renamed_users")
    found["500"] = await alice.get("/dashboard")
    found["500 json"] = await alice.get("/api/session")
    assert [
        name
        for name, answer in found.items()
        if name[:3].isdigit() and str(answer.status_code) != name[:3]
    ] == []
    return found


@pytest.mark.asvs("S67", "S74")
@pytest.mark.guide("D35")
async def test_every_response_has_all_security_headers(answers: dict[str, httpx.Response]) -> None:
    for name, answer in answers.items():
        assert {
            header: answer.headers.get(header) for header in REQUIRED_HEADERS
        } == REQUIRED_HEADERS, name
        assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.asvs("S69")
@pytest.mark.guide("B15")
async def test_only_static_files_are_cacheable(
    answers: dict[str, httpx.Response],
) -> None:
    cacheable = {
        name for name, answer in answers.items() if answer.headers["cache-control"] != "no-store"
    }
    assert cacheable == {"asset"}


@pytest.mark.asvs("S71")
async def test_vary_names_the_headers_that_change_a_response(
    answers: dict[str, httpx.Response],
) -> None:
    for name in answers.keys() - {"asset"}:
        varies = {part.strip().lower() for part in answers[name].headers["vary"].split(",")}
        assert {"hx-request", "hx-history-restore-request"} <= varies, name


@pytest.mark.asvs("S89")
async def test_responses_do_not_reveal_the_software(answers: dict[str, httpx.Response]) -> None:
    for name, answer in answers.items():
        assert not {"server", "x-powered-by"} & set(answer.headers), name
    for name in ("500", "500 json"):
        assert not any(
            word in answers[name].text
            for word in ("Traceback", "sqlite", "renamed_users", "SELECT", ".py")
        )
    assert read(answers["500"]).one(**{"class": "note"}).one(**{"class": "mono"}).text.isalnum()


@pytest.mark.asvs("S68")
@pytest.mark.guide("D35")
async def test_html_contains_no_inline_code(answers: dict[str, httpx.Response]) -> None:
    for name, answer in answers.items():
        if answer.headers.get("content-type", "").startswith("text/html"):
            for element in read(answer):
                names = " ".join(element.attrs)
                assert "hx-on" not in names, name
                assert not any(
                    attribute.startswith("on") or attribute == "style"
                    for attribute in element.attrs
                ), name
                assert "[" not in element.attrs.get("data-hx-trigger", ""), name
                assert not any(
                    value.lower().startswith(("javascript:", "js:"))
                    for value in element.attrs.values()
                )
                assert element.tag not in ("style", "base", "iframe", "object")
                assert element.tag != "script" or (element.attrs["src"], element.text) == (
                    element.attrs["src"],
                    "",
                )


@pytest.mark.asvs("S106")
async def test_nothing_is_loaded_from_another_origin(answers: dict[str, httpx.Response]) -> None:
    for answer in answers.values():
        urls = [
            element.attrs.get(name, "/")
            for element in read(answer)
            for name in ("src", "href", "action")
        ]
        assert [url for url in urls if not url.startswith(("/", "#")) or url.startswith("//")] == []


@pytest.mark.asvs("S74")
@pytest.mark.parametrize(
    ("base_url", "setting", "hsts"),
    [
        ("https://latchkey.example", "", "max-age=31536000"),
        ("https://latchkey.example", "subdomains", "max-age=31536000; includeSubDomains"),
        ("https://latchkey.example", "off", None),
        ("https://localhost:8443", "subdomains", None),
        ("https://127.0.0.1", "", None),
        ("http://localhost:8000", "", None),
    ],
)
async def test_hsts_is_sent_for_the_own_host_and_never_for_localhost(
    make_app: Callable, base_url: str, setting: str, hsts: str | None
) -> None:
    app = await make_app(BASE_URL=base_url, HSTS=setting)
    anonymous = await app.browser("Charlie")
    for path in ("/", "/dashboard", "/nowhere"):
        assert (await anonymous.get(path)).headers.get("strict-transport-security") == hsts


@pytest.mark.parametrize(
    ("changes", "hsts"),
    [
        ({"HSTS_MAX_AGE": "1h"}, "max-age=3600"),
        ({"HSTS_MAX_AGE": "600", "HSTS": "subdomains"}, "max-age=600; includeSubDomains"),
        ({"HSTS_MAX_AGE": "0"}, "max-age=0"),
    ],
)
async def test_hsts_has_the_max_age_of_its_setting(
    make_app: Callable, changes: dict[str, str], hsts: str
) -> None:
    app = await make_app(BASE_URL="https://latchkey.example", **changes)
    answer = await (await app.browser("Charlie")).get("/")
    assert answer.headers["strict-transport-security"] == hsts


async def test_csp_settings_add_sources_to_their_directives(make_app: Callable) -> None:
    app = await make_app(
        CSP_IMG_SRC="https://cdn.example.com, data:",
        CSP_FONT_SRC="self",
        CSP_FRAME_SRC="https://Video.example.com:8443,https://bücher.example:443",
    )
    policy = (await (await app.browser("Charlie")).get("/nowhere")).headers[
        "content-security-policy"
    ]
    expected = CSP.replace("img-src 'self'", "img-src 'self' https://cdn.example.com data:")
    assert policy == (
        f"{expected}; font-src 'self'; "
        "frame-src 'self' https://video.example.com:8443 https://xn--bcher-kva.example"
    )


@pytest.mark.asvs("S71")
async def test_a_history_restore_request_returns_the_whole_page(alice: Browser) -> None:
    restore = {**HTMX, "HX-History-Restore-Request": "true"}
    for path in ("/dashboard", "/devices", "/handbook", "/nowhere"):
        page, restored = await alice.get(path), await alice.get(path, **restore)
        assert (restored.status_code, restored.text) == (page.status_code, page.text)


@pytest.mark.asvs("S72")
async def test_a_history_restore_request_without_a_session_redirects(anonymous: Browser) -> None:
    answer = await anonymous.get_fragment("/devices", **{"HX-History-Restore-Request": "true"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/devices")
