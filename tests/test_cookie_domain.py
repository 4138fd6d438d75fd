"""Tests of COOKIE_DOMAIN: the session cookie that sub-domains share, and a change of the setting."""

from collections.abc import Callable

import httpx
import pytest

from tests.browser_client import Browser
from tests.conftest import TestApp
from web.settings.environment import Environment, InvalidSetting
from web.settings.forward_settings import read_forward_settings

BASE_URL = "https://accounts.example.com"
SHARED = {"BASE_URL": BASE_URL, "COOKIE_DOMAIN": "example.com"}
HOST_ONLY = {"BASE_URL": BASE_URL, "COOKIE_DOMAIN": ""}
DAYS_7 = 7 * 86_400


def set_cookies(answer: httpx.Response) -> set[str]:
    """Returns the Set-Cookie headers without the values, except for those of the device."""
    lines = answer.headers.get_list("set-cookie")
    pairs = [(line.partition("="), line.partition("; ")[2]) for line in lines]
    return {f"{name}; {rest}" for (name, _, _), rest in pairs if "device" not in name}


def cookie_named(user: Browser, name: str) -> str:
    return next(cookie.value or "" for cookie in user.client.cookies.jar if cookie.name == name)


def deleted(name: str, domain: str = "") -> str:
    attributes = f"{name}; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
    return f"{attributes}; Domain={domain}" if domain else attributes


async def is_session(app: TestApp, header: str) -> bool:
    browser = await app.browser("Charlie")
    return (await browser.request("GET", "/api/session", Cookie=header)).status_code == 200


async def test_the_session_cookie_is_shared_with_sub_domains(make_app: Callable) -> None:
    app = await make_app(**SHARED)
    alice = await app.browser("Alice")
    answer = await alice.sign_up()
    assert set_cookies(answer) == {
        f"__Secure-session; Max-Age={DAYS_7}; Path=/; HttpOnly; SameSite=Lax; Secure; Domain=example.com",
        "__Host-sudo; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure",
    }
    assert "__Host-device=" in str(answer.headers)
    assert await alice.is_logged_in()


async def test_a_logout_deletes_the_shared_cookie(make_app: Callable) -> None:
    app = await make_app(**SHARED)
    alice = await app.sign_up_user("Alice")
    value = cookie_named(alice, "__Secure-session")
    answer = await alice.post("/logout")
    assert deleted("__Secure-session", "example.com") in set_cookies(answer)
    assert not await is_session(app, f"__Secure-session={value}")


async def test_a_second_shared_cookie_is_no_session(make_app: Callable) -> None:
    """A page of another sub-domain can set one with a longer path."""
    app = await make_app(**SHARED)
    alice = await app.sign_up_user("Alice")
    value = cookie_named(alice, "__Secure-session")
    assert await is_session(app, f"__Secure-session={value}")
    assert not await is_session(app, f"__Secure-session=planted; __Secure-session={value}")


@pytest.mark.parametrize(
    ("mode", "name", "other"),
    [(SHARED, "__Secure-session", "__Host-session"), (HOST_ONLY, "__Host-session", "__Secure-session")],
)  # fmt: skip
async def test_only_the_cookie_of_the_present_mode_is_a_session(
    make_app: Callable, mode: dict[str, str], name: str, other: str
) -> None:
    app = await make_app(**mode)
    value = cookie_named(await app.sign_up_user("Alice"), name)
    assert await is_session(app, f"{name}={value}")
    assert not await is_session(app, f"{other}={value}")
    assert not await is_session(app, f"session={value}")


async def test_a_login_deletes_the_cookie_of_the_other_mode(make_app: Callable) -> None:
    before = await make_app(**HOST_ONLY)
    alice = await before.sign_up_user("Alice")
    after = await make_app(before.path, **SHARED)
    browser = await after.browser("Alice")
    old = f"__Host-session={cookie_named(alice, '__Host-session')}"
    answer = await browser.request(
        "POST", "/login", {"email": alice.email, "password": alice.password}, Cookie=old
    )
    assert deleted("__Host-session") in set_cookies(answer)


async def test_a_logout_ends_the_session_of_the_other_mode_too(make_app: Callable) -> None:
    before = await make_app(**SHARED)
    alice = await before.sign_up_user("Alice")
    after = await make_app(before.path, **HOST_ONLY)
    browser = await after.browser("Alice")
    await browser.log_in()
    old = f"__Secure-session={cookie_named(alice, '__Secure-session')}"
    new = f"__Host-session={cookie_named(browser, '__Host-session')}"
    charlie = await after.browser("Charlie")
    answer = await charlie.request("POST", "/logout", Cookie=f"{old}; {new}")
    # The former domain is not known anymore.
    assert {
        deleted("__Host-session"),
        deleted("__Secure-session", "accounts.example.com"),
        deleted("__Secure-session", "example.com"),
    } <= set_cookies(answer)
    assert not await is_session(before, old)
    assert not await is_session(after, new)
    assert await after.count("sessions") == 0


async def test_a_renewal_sends_one_cookie_only(make_app: Callable) -> None:
    """nginx passes on the first Set-Cookie of a check only."""
    before = await make_app(**HOST_ONLY)
    old = cookie_named(await before.sign_up_user("Alice"), "__Host-session")
    app = await make_app(before.path, **SHARED)
    browser = await app.browser("Alice")
    await browser.log_in()
    app.clock.move(days=5)
    new = cookie_named(browser, "__Secure-session")
    charlie = await app.browser("Charlie")
    header = f"__Host-session={old}; __Secure-session={new}"
    answer = await charlie.request("GET", "/api/forward", Cookie=header)
    (line,) = answer.headers.get_list("set-cookie")
    assert (answer.status_code, line.startswith("__Secure-session=ey")) == (204, True)


async def test_a_form_of_a_sub_domain_is_refused(make_app: Callable) -> None:
    app = await make_app(**SHARED)
    alice = await app.sign_up_user("Alice")
    for header in ({"Sec-Fetch-Site": "same-site"}, {"Origin": "https://app.example.com"}):
        answer = await alice.post("/account", {"name": "Mallory"}, **header)
        assert answer.status_code == 403
    assert await app.rows("SELECT name FROM users") == [("Alice",)]


@pytest.mark.parametrize(
    ("base_url", "domain", "problem"),
    [
        (BASE_URL, "com", "two labels"),
        (BASE_URL, "example.org", "parent domain of accounts.example.com"),
        (BASE_URL, "ample.com", "parent domain"),
        (BASE_URL, "app.accounts.example.com", "parent domain"),
        (BASE_URL, ".example.com", "no valid host"),
        (BASE_URL, "example.com; Secure", "no valid host"),
        (BASE_URL, "*.example.com", "no valid host"),
        ("http://localhost:8000", "localhost", "loopback"),
        ("http://accounts.localhost", "accounts.localhost", "loopback"),
        ("https://192.0.2.7", "192.0.2.7", "domain name"),
        ("https://[2001:db8::1]", "example.com", "domain name"),
    ],
)
def test_another_domain_is_refused_at_the_start(base_url: str, domain: str, problem: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"^COOKIE_DOMAIN: .*{problem}"):
        read_forward_settings(Environment({"COOKIE_DOMAIN": domain}), base_url)


@pytest.mark.parametrize("domain", ["example.com", "EXAMPLE.com", "accounts.example.com"])
def test_the_host_itself_and_its_parents_are_accepted(domain: str) -> None:
    forward = read_forward_settings(Environment({"COOKIE_DOMAIN": domain}), BASE_URL)
    assert forward.cookie_domain == domain.lower()
