"""Tests of the pages without user data, robots.txt and the well-known URLs."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import pytest

from tests.browser_client import Browser, read
from tests.conftest import TestApp
from tests.mail import enabled_outbox
from web.brand import LATCHKEY


async def test_the_front_page_links_to_sign_up_and_login(anonymous: Browser) -> None:
    page = read(await anonymous.get("/"))
    assert {"/signup", "/login"} <= {link.attrs["href"] for link in page.one("main").all("a")}
    assert "/login" in {link.attrs["href"] for link in page.one("header").all("a")}
    assert len(page.all("h1")) == 1


def form_of(answer: httpx.Response) -> str:
    """Returns the HTML of the form of a page that signs up or logs in with a password."""
    (form,) = re.findall(r"<form id=\"(?:login|signup)-form.*?</form>", answer.text, flags=re.S)
    return form


@pytest.mark.guide("A3")
@pytest.mark.parametrize(
    "settings",
    [{}, {"SESSION_REMEMBER_MAX": "90d"}, {"PASSWORD_POLICY": "length"}],
    ids=["default", "remember", "length"],
)
async def test_the_front_page_contains_the_sign_up_form(
    make_app: Callable, settings: dict[str, str]
) -> None:
    app = await make_app(**settings)
    anonymous = await app.browser("Charlie")
    front, signup = await anonymous.get("/"), await anonymous.get("/signup")
    assert form_of(front) == form_of(signup)
    assert 'id="signup-form"' in form_of(front)


@pytest.mark.parametrize("mode", ["invited", "closed"])
async def test_the_front_page_contains_the_log_in_form_without_open_sign_up(
    make_app: Callable, mode: str
) -> None:
    app = await make_app(mail=enabled_outbox(), SIGNUP=mode)
    anonymous = await app.browser("Charlie")
    front = await anonymous.get("/")
    assert form_of(front) == form_of(await anonymous.get("/login"))
    assert "/signup" not in front.text
    assert LATCHKEY.landing.closing_heading not in read(front).text


async def test_the_front_page_states_its_size(app: TestApp, anonymous: Browser) -> None:
    page = read(await anonymous.get("/"))
    paths = [
        *(script.attrs["src"] for script in page.all("script")),
        *(link.attrs["href"] for link in page.all("link")),
    ]
    answers = [await anonymous.get(path, Accept_Encoding="gzip") for path in ("/", *paths)]
    size = sum(int(answer.headers["content-length"]) for answer in answers)
    match = re.search(r"less than (\d+) kB", page.one("main").text)
    assert match
    stated = int(match[1])
    assert (stated - 4) * 1000 < size < stated * 1000


@pytest.mark.parametrize("path", ["/", "/signup", "/login", "/nowhere"])
async def test_ids_are_unique_and_every_mask_is_in_the_page(anonymous: Browser, path: str) -> None:
    html = (await anonymous.get(path)).text
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    masks = set(re.findall(r'mask="url\(#([^)]+)\)"', html))
    assert masks <= set(ids)
    assert bool(masks) == (path in ("/", "/signup"))


@pytest.mark.guide("D1")
@pytest.mark.parametrize("path", ["/", "/signup", "/login", "/robots.txt", "/nowhere"])
async def test_a_page_for_anonymous_users_costs_no_query(
    app: TestApp, anonymous: Browser, path: str
) -> None:
    before = app.statements
    await anonymous.get(path)
    await anonymous.get_fragment(path)
    assert app.statements == before


@pytest.mark.guide("D6", "D1")
async def test_the_handbook_is_equal_for_all_users_and_costs_no_query(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    before = app.statements
    alice_page, bob_page = await alice.get("/handbook"), await bob.get("/handbook")
    assert (alice_page.status_code, alice_page.text) == (200, bob_page.text)
    assert app.statements == before
    assert "Alice" not in alice_page.text


@pytest.mark.guide("D6", "D9")
async def test_the_handbook_requires_login(anonymous: Browser) -> None:
    answer = await anonymous.get("/handbook")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/handbook")


@pytest.mark.guide("D32")
async def test_the_layout_of_the_handbook_uses_only_the_claims(alice: Browser) -> None:
    assert "Your account" in read(await alice.get("/handbook")).one(id="me").text
    assert "Alice" in read(await alice.get("/dashboard")).one(id="me").text


async def test_robots_txt_disallows_the_api(anonymous: Browser) -> None:
    answer = await anonymous.get("/robots.txt")
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "text/plain; charset=utf-8",
    )
    assert "Disallow: /api/" in answer.text


def fields_of(answer: httpx.Response) -> dict[str, str]:
    """Returns the fields of a security.txt and checks that each occurs once (RFC 9116)."""
    pairs = [line.split(": ", 1) for line in answer.text.splitlines()]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


@pytest.mark.asvs("S114")
@pytest.mark.parametrize(
    ("settings", "contact", "origin"),
    [
        ({}, "mailto:security@localhost", "http://localhost:8000"),
        (
            {"BASE_URL": "https://door.example"},
            "mailto:security@door.example",
            "https://door.example",
        ),
        (
            {"SECURITY_CONTACT": "https://door.example/tell"},
            "https://door.example/tell",
            "http://localhost:8000",
        ),
    ],
)
async def test_security_txt_names_the_contact(
    make_app: Callable, settings: dict[str, str], contact: str, origin: str
) -> None:
    app = await make_app(**settings)
    anonymous = await app.browser("Charlie")
    before = app.statements
    for host in ("localhost", origin.partition("//")[2]):
        answer = await anonymous.get("/.well-known/security.txt", Host=host)
        assert (answer.status_code, answer.headers["content-type"]) == (
            200,
            "text/plain; charset=utf-8",
        )
        assert fields_of(answer) == {
            "Contact": contact,
            "Expires": "2027-10-20T00:00:00Z",
            "Preferred-Languages": "en",
            "Canonical": f"{origin}/.well-known/security.txt",
        }
    assert (app.statements, answer.headers.get("location")) == (before, None)


@pytest.mark.asvs("S114")
async def test_security_txt_expires_within_a_year_and_changes_daily(
    app: TestApp, anonymous: Browser
) -> None:
    expiries = set()
    for _ in range(30):
        answer = await anonymous.get("/.well-known/security.txt")
        expires = datetime.fromisoformat(fields_of(answer)["Expires"])
        assert timedelta(days=300) < expires - app.clock() < timedelta(days=365)
        expiries.add((app.clock().date(), expires))
        app.clock.move(hours=1)
    assert len(expiries) == len({day for day, _ in expiries}) == 2


@pytest.mark.asvs("S114", "S76")
async def test_security_txt_is_read_only(anonymous: Browser, alice: Browser, ada: Browser) -> None:
    for user in (anonymous, alice, ada):
        head, get = [
            await user.request(method, "/.well-known/security.txt") for method in ("HEAD", "GET")
        ]
        assert (head.status_code, head.headers, head.content) == (200, get.headers, b"")
        assert (await user.post("/.well-known/security.txt")).status_code == 405
        assert (await user.get_fragment("/.well-known/security.txt")).text == get.text


@pytest.mark.asvs("S114")
async def test_the_change_password_url_redirects_to_the_account(
    anonymous: Browser, alice: Browser
) -> None:
    for user in (anonymous, alice):
        answer = await user.get("/.well-known/change-password")
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
