"""Tests of BASE_PATH: every URL of a response is inside of it, and every user flow works there."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest

from tests.browser_client import HTMX, IPHONE, PASSWORD, Browser, read, set_cookie_of
from tests.conftest import TestApp
from tests.mail import deliver, enabled_outbox, link_field, receive, url_of
from web.mail.rendering import MailRenderer
from web.mail.samples import make_samples
from web.rendering.assets import STATIC
from web.router import AppRoute
from web.routes import routes

PREFIX = "/accounts"
URL_HEADERS = ("location", "hx-redirect", "hx-location", "hx-push-url", "hx-replace-url", "link")
URL_ATTRIBUTES = re.compile(
    r"href|src|srcset|action|formaction|poster|cite|data|"
    r"(data-)?hx-(get|post|put|patch|delete|push-url|replace-url)"
)
SEGMENTS = sorted({route.path.split("/")[1] for route in routes} - {""})
# A path of this program without BASE_PATH, in any text.
BARE_PATH = re.compile(rf"(?<![\w.~-])/({'|'.join(map(re.escape, SEGMENTS))})\b")
# Their URLs at the root have tests of their own.
WITH_OTHER_URLS = ("api-openapi", "security-txt")
# These end the session, so a crawl requests them last.
LAST = ("devices-revoke", "account-delete", "devices-revoke-all", "logout")


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"BASE_PATH": PREFIX}


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


def outside(app: TestApp, answer: httpx.Response) -> Iterator[str]:
    """Yields every URL of a response that is not inside of BASE_PATH."""
    for name in URL_HEADERS:
        if name in answer.headers and not is_inside(app, answer.headers[name]):
            yield f"{name}: {answer.headers[name]}"
    for name, cookie in set_cookie_of(answer).items():
        # The prefix `__Host-` requires the path `/`.
        if cookie["path"] != "/":
            yield f"the path of {name} is {cookie['path']}"
    if "html" in answer.headers.get("content-type", ""):
        for element in read(answer):
            for name, value in element.attrs.items():
                is_url = URL_ATTRIBUTES.fullmatch(name) and value not in ("true", "false")
                if is_url and element.tag != "path" and not is_inside(app, value):
                    yield f"<{element.tag} {name}={value}>"
    yield from outside_text(app, answer.text)


def outside_text(app: TestApp, text: str) -> Iterator[str]:
    rest = text
    for own in (f"{app.settings.public_url}/", app.settings.public_url, f"{PREFIX}/"):
        rest = rest.replace(own, "")
    if app.settings.base_url in rest:
        yield app.settings.base_url
    yield from (match[0] for match in BARE_PATH.finditer(rest))


def is_inside(app: TestApp, url: str) -> bool:
    """Returns whether a URL is inside of BASE_PATH, or is no URL of this site."""
    # The last two open an authenticator app, and contain the file with the recovery codes.
    if url.startswith(("#", "otpauth://totp/", "data:text/plain;")):
        return True
    local = url.removeprefix(app.settings.base_url)
    return urlsplit(local).path.startswith(f"{PREFIX}/") and not urlsplit(local).netloc


def crawled(app: TestApp, bob: str, device: str) -> Iterator[tuple[str, str]]:
    """Yields the method and the path of every route, those that end the session at the end."""
    values = {"field": "name", "slug": "bob", "token": "A" * 43, "name": "app.css", "role": "user"}
    table = [route for route in app.asgi_app.router.routes if isinstance(route, AppRoute)]
    for route in sorted(table, key=lambda route: route.name in LAST):
        found = values | {
            "id": device if route.path.startswith("/devices") else bob,
            "session": device,
        }
        for method in route.endpoints:
            if route.name not in WITH_OTHER_URLS:
                yield method, re.sub(r"{(\w+)}", lambda match: found[match[1]], route.path)  # noqa: B023


@pytest.mark.parametrize("actor", ["anonymous", "user", "admin"])
async def test_no_response_has_a_url_outside_of_the_base_path(
    app: TestApp, actor: str, bob: Browser, alice: Browser, ada: Browser, anonymous: Browser
) -> None:
    browser = {"anonymous": anonymous, "user": alice, "admin": ada}[actor]
    ((user_id, device),) = await app.rows(
        "SELECT user_id, sessions.id FROM sessions JOIN users ON users.id = user_id WHERE name = 'Bob'"
    )
    found, statuses = [], set()
    for method, path in crawled(app, user_id, device):
        for headers in ({}, HTMX):
            answer = await browser.request(
                method, path, {} if method == "POST" else None, **headers
            )
            statuses.add(answer.status_code)
            found += [(method, path, url) for url in outside(app, answer)]
    assert found == []
    assert {200, 303, 404} <= statuses


@pytest.mark.parametrize("fragment", [False, True])
async def test_no_error_has_a_url_outside_of_the_base_path(
    app: TestApp, make_app: Callable, alice: Browser, anonymous: Browser, fragment: bool
) -> None:
    headers = HTMX if fragment else {}
    viewer = {"viewer": "AAAAAAAAAAAAAAAAAAAAAA"}
    answers = [
        await alice.get("/nowhere", **headers),
        await alice.get("/admin/users", **headers),
        await alice.request("PUT", "/account", **headers),
        await alice.post("/account", {"name": ""}, **headers),
        await alice.post("/account", viewer, **headers),
        await alice.post("/account", {"name": "x" * 70_000}, **headers),
        await alice.request(
            "POST", "/account", {"name": "x"}, Content_Type="text/plain", **headers
        ),
        await alice.post("/account", {}, Origin="https://evil.example", **headers),
        await alice.get("/account", Host="evil.example", **headers),
        await alice.get("/reset", **headers),
        await alice.get("/account", Document_Viewer="another", **headers),
        await alice.get("/account", X_Padding="x" * 17_000, **headers),
    ]
    limited = await make_app(app.path, RATE_LIMITS="enforce")
    guest = await limited.browser("Charlie")
    answers += [await guest.log_in("wrong") for _ in range(12)]
    away = await make_app(unreachable=True)
    stopped = await away.browser("Alice")
    stopped.cookie = alice.cookie
    answers += [await stopped.get("/dashboard", **headers), await stopped.get("/readyz")]
    found = [(answer.status_code, url) for answer in answers for url in outside(app, answer)]
    assert found == []
    statuses = {answer.status_code for answer in answers}
    assert statuses >= {400, 403, 404, 405, 409, 410, 413, 415, 422, 429, 431, 503}


@pytest.mark.parametrize("sample", make_samples(), ids=lambda sample: sample.message_type)
async def test_no_mail_has_a_url_outside_of_the_base_path(app: TestApp, sample) -> None:
    content = MailRenderer(app.settings).render(sample)
    urls = re.findall(r"https?://[^\s\"<>]*\w", content.text + content.html)
    assert urls and all(is_inside(app, f"{url}/") for url in urls), urls
    assert not [*outside_text(app, content.text), *outside_text(app, content.html)]


@pytest.mark.parametrize("name", ["app.js", "logged-in.js", "app.css"])
def test_no_script_or_style_contains_the_path_of_a_route(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.findall(rf"[\"'`(]/(?:{'|'.join(map(re.escape, SEGMENTS))})\b", text)
    assert not re.findall(r"url\(\s*[\"']?/", text)


async def test_the_openapi_document_names_the_server_with_the_base_path(
    app: TestApp, anonymous: Browser
) -> None:
    document = (await anonymous.get("/api/openapi.json")).json()
    assert document["servers"] == [{"url": app.settings.public_url}]
    assert (await anonymous.get("/api/session")).status_code == 401


# Requests outside of the base path


@pytest.mark.parametrize(
    "path",
    ["/", "/login", "/dashboard", "/accountsx/login", "/Accounts/login", "/x/accounts/login"],
)
async def test_a_request_outside_of_the_base_path_is_not_found(
    app: TestApp, alice: Browser, path: str
) -> None:
    cookie = alice.cookie
    answer = await alice.get(f"{app.settings.base_url}{path}")
    assert (answer.status_code, answer.text) == (404, "Not found\n")
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert alice.cookie == cookie


@pytest.mark.parametrize("path", ["/login", "/accounts/accounts/login", "//accounts/login"])
async def test_a_log_in_outside_of_the_base_path_starts_no_session(
    app: TestApp, alice: Browser, path: str
) -> None:
    phone = replace(await app.browser("Alice"), user_agent=IPHONE)
    sessions = await app.count("sessions")
    fields = {"email": alice.email, "password": PASSWORD}
    answer = await phone.post(f"{app.settings.base_url}{path}", fields)
    assert (answer.status_code, phone.cookie) == (404, None)
    assert await app.count("sessions") == sessions


@pytest.mark.parametrize(
    "header",
    ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Script-Name", "Script-Name"],
)
async def test_no_header_changes_the_path(app: TestApp, anonymous: Browser, header: str) -> None:
    for value in ("/accounts", "/accounts/dashboard", "/"):
        guarded = await anonymous.get("/admin/users", **{header: value})
        assert guarded.headers["location"] == "/accounts/login?next=/accounts/admin/users"
        bare = await anonymous.get(f"{app.settings.base_url}/login", **{header: value})
        assert bare.status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/robots.txt", 200),
        ("/.well-known/security.txt", 200),
        ("/.well-known/change-password", 303),
        ("/.well-known/nowhere", 404),
    ],
)
async def test_urls_of_the_host_are_answered_at_its_root_too(
    app: TestApp, anonymous: Browser, path: str, status: int
) -> None:
    at_root = await anonymous.get(f"{app.settings.base_url}{path}")
    inside = await anonymous.get(path)
    assert (at_root.status_code, inside.status_code) == (status, status)
    assert at_root.content == inside.content
    if status == 303:
        assert at_root.headers["location"] == "/accounts/account"


async def test_security_txt_names_both_of_its_urls(app: TestApp, anonymous: Browser) -> None:
    lines = (await anonymous.get("/.well-known/security.txt")).text.splitlines()
    base_url = app.settings.base_url
    assert [line for line in lines if line.startswith("Canonical: ")] == [
        f"Canonical: {base_url}/accounts/.well-known/security.txt",
        f"Canonical: {base_url}/.well-known/security.txt",
    ]


async def test_robots_txt_disallows_the_api_inside_of_the_base_path(anonymous: Browser) -> None:
    assert "Disallow: /accounts/api/\n" in (await anonymous.get("/robots.txt")).text


async def test_the_base_path_without_a_slash_redirects_to_the_front_page(
    app: TestApp, anonymous: Browser
) -> None:
    answer = await anonymous.get(f"{app.settings.base_url}/accounts")
    assert (answer.status_code, answer.headers["location"]) == (308, "/accounts/")
    assert (await anonymous.get("/")).status_code == 200


# Stories


async def test_a_user_signs_up_and_sees_the_dashboard(app: TestApp) -> None:
    user = await app.browser("Alice")
    answer = await user.sign_up()
    assert (answer.status_code, answer.headers["location"]) == (303, "/accounts/dashboard")
    assert set_cookie_of(answer)["session"]["path"] == "/"
    page = read(await user.get("/dashboard"))
    assert page.one("a", href="/accounts/dashboard", aria_current="page")


async def test_a_live_check_is_sent_to_the_base_path(anonymous: Browser) -> None:
    email = read(await anonymous.get("/signup")).one("input", id="email")
    assert email.attrs["data-hx-post"] == "/accounts/signup/check/email"
    answer = await anonymous.post_fragment("/signup/check/email", {"email": "x"})
    assert "Please enter a valid email." in answer.text


@pytest.mark.parametrize(
    ("target", "page"),
    [
        ("/accounts/devices", "/accounts/devices"),
        ("/accounts/admin/users?q=a&page=2", "/accounts/admin/users?q=a&page=2"),
        ("/devices", "/accounts/dashboard"),
        ("/accounts", "/accounts/dashboard"),
        ("/accountsx/devices", "/accounts/dashboard"),
        ("/accounts/accounts/devices", "/accounts/dashboard"),
        ("//evil.example/accounts/devices", "/accounts/dashboard"),
        ("/accounts//evil.example", "/accounts/dashboard"),
        ("/accounts/../evil", "/accounts/dashboard"),
    ],
)
async def test_log_in_leads_only_to_a_page_inside_of_the_base_path(
    app: TestApp, alice: Browser, target: str, page: str
) -> None:
    phone = await app.browser("Alice")
    answer = await phone.log_in(next=target)
    assert (answer.status_code, answer.headers["location"]) == (303, page)


async def test_a_fragment_request_returns_to_its_page_after_log_in(
    app: TestApp, anonymous: Browser
) -> None:
    page = f"{app.settings.public_url}/account"
    answer = await anonymous.get_fragment("/devices", HX_Current_URL=page)
    assert answer.headers["hx-redirect"] == "/accounts/login?next=/accounts/account"


async def test_navigation_by_htmx_stays_inside_of_the_base_path(alice: Browser) -> None:
    menu = read(await alice.get("/dashboard")).one("nav", aria_label="Main")
    link = menu.one("a", href="/accounts/account")
    assert link.attrs["data-hx-get"] == "/accounts/account"
    assert (await alice.get_fragment("/account")).status_code == 200


async def test_a_device_is_logged_out(app: TestApp, alice: Browser, alices_phone: Browser) -> None:
    page = read(await alice.get("/devices"))
    (form,) = (
        form for form in page.all("form") if form.attrs.get("action", "").endswith("/revoke")
    )
    url = f"{app.settings.base_url}{form.attrs['action']}"
    answer = await alice.post(url)
    assert (answer.status_code, answer.headers["location"]) == (303, "/accounts/devices")
    assert not await alices_phone.is_logged_in()


async def test_log_out_clears_the_cache_and_not_the_storage_of_the_host(alice: Browser) -> None:
    answer = await alice.post("/logout")
    assert answer.headers["location"] == "/accounts/login"
    assert answer.headers["clear-site-data"] == '"cache"'
    assert not await alice.is_logged_in()


async def test_the_link_of_a_mail_leads_to_a_new_password(app: TestApp, alice: Browser) -> None:
    await alice.post("/forgot", {"email": alice.email})
    message = await receive(app, "reset")
    link = MailRenderer(app.settings).render(message).link
    assert link == f"{app.settings.base_url}/accounts{url_of(message)}"
    opened = await alice.get(link)
    assert (opened.status_code, opened.headers["location"]) == (303, "/accounts/reset")
    assert set_cookie_of(opened)["link"]["path"] == "/"
    fields = link_field(message) | {"password": "another-No.7 by the sea"}
    answer = await alice.post("/reset", fields)
    assert answer.headers["location"] == "/accounts/reset?done=1"
    assert (await alice.log_in("another-No.7 by the sea")).status_code == 303
    await deliver(app)


@pytest.mark.asvs("S34")
@pytest.mark.parametrize(
    ("page", "target"),
    [(f"{PREFIX}/login", f"{PREFIX}/login"), ("/login", f"{PREFIX}/"), ("/", f"{PREFIX}/")],
)
async def test_a_choice_of_the_language_leads_to_no_page_of_a_neighbor(
    app: TestApp, anonymous: Browser, page: str, target: str
) -> None:
    referer = f"{app.settings.base_url}{page}"
    answer = await anonymous.post("/language", {"language": "de"}, Referer=referer)
    assert (answer.status_code, answer.headers["location"]) == (303, target)
