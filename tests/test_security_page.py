"""Tests of the security page: what protects the account, and what to do about it."""

from collections.abc import Callable

import pytest

from tests.browser_client import IPHONE, Browser, Element, read
from tests.conftest import TestApp


async def state_of(user: Browser, row: str) -> str:
    page = read(await user.get("/account/security"))
    (found,) = [item for item in page.all("li") if row in [name.text for name in item.all("h3")]]
    return found.one("p").text


def links_of(page: Element) -> list[str]:
    return [
        link.attrs["href"] for row in page.all("ul", **{"class": "checks"}) for link in row.all("a")
    ]


async def test_an_anonymous_user_is_redirected_to_login(anonymous: Browser) -> None:
    answer = await anonymous.get("/account/security")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/login?next=/account/security",
    )


async def test_the_security_page_costs_one_statement(app: TestApp, alice: Browser) -> None:
    before = app.statements
    assert (await alice.get("/account/security")).status_code == 200
    assert app.statements == before + 1


async def test_the_fragment_is_a_part_of_the_page(alice: Browser) -> None:
    fragment = (await alice.get_fragment("/account/security")).text.split("</title>\n")[1]
    assert fragment in (await alice.get("/account/security")).text


async def test_each_row_has_its_state_and_one_action(app: TestApp, alice: Browser) -> None:
    page = read(await alice.get("/account/security"))
    assert links_of(page) == [
        "/account#password",
        "/account#email",
        "/devices",
        "/account/tokens",
    ]
    assert await state_of(alice, "Email") == "Not confirmed: alice@example.com"
    assert await state_of(alice, "Devices") == "Only this device"
    assert await state_of(alice, "Access tokens") == "None. Programs can't act as you."
    app.clock.move(days=1)
    assert await state_of(alice, "Password") == (
        "Set yesterday at 09:12 UTC, when the account was created"
    )


async def test_the_states_follow_changes(app: TestApp, alice: Browser, bob: Browser) -> None:
    app.clock.move(hours=1)
    await (await app.browser("Alice", user_agent=IPHONE)).log_in()
    assert await state_of(alice, "Devices") == (
        "2 devices, newest: Safari on iPhone, today at 10:12 UTC"
    )
    fields = {"current_password": alice.password, "password": "another-No.7 by the sea"}
    assert (await alice.post("/account/password", fields)).status_code == 303
    assert await state_of(alice, "Password") == "Changed today at 10:12 UTC"
    await app.change("UPDATE users SET verified_at = created_at, password_changed_at = NULL")
    assert await state_of(alice, "Email") == "Confirmed: alice@example.com"
    assert await state_of(alice, "Password") == (
        "Set. The date of its last change is not recorded."
    )
    assert await state_of(bob, "Devices") == "Only this device"


async def test_access_tokens_are_counted_with_their_last_use(app: TestApp, alice: Browser) -> None:
    fields = {"name": "Backup", "scope-account:read": "yes", "days": "30"}
    answer = await alice.post("/account/tokens", fields)
    assert await state_of(alice, "Access tokens") == "One token, never used"
    token = read(answer).one(id="new-token").text
    await app.change("UPDATE access_tokens SET last_used_at = '2026-11-24T09:02:00.000000+00:00'")
    assert await state_of(alice, "Access tokens") == "One token, last used 10 minutes ago"
    assert token not in (await alice.get("/account/security")).text


async def test_the_end_of_the_session_is_shown(app: TestApp, alice: Browser) -> None:
    sentence = "Stays logged in until {}. Visits after {} extend that."
    assert await state_of(alice, "This device") == sentence.format(
        "1 December 2026", "27 November 2026"
    )
    app.clock.move(days=4)
    assert await state_of(alice, "This device") == sentence.format(
        "5 December 2026", "1 December 2026"
    )
    for _ in range(6):
        app.clock.move(days=4)
        last = await state_of(alice, "This device")
    assert last == "Stays logged in until 24 December 2026. Then log in again."


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_log_out_everywhere_works_from_the_security_page(
    make_app: Callable, strategy: str
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    phone = await app.browser("Alice", user_agent=IPHONE)
    await phone.log_in()
    form = read(await alice.get("/account/security")).one("form", action="/devices/revoke-all")
    viewer = form.one("input", name="viewer").attrs["value"]
    answer = await alice.post("/devices/revoke-all", {"viewer": viewer})
    assert answer.headers["location"] == "/login"
    assert not await phone.is_logged_in()


async def test_stateless_sessions_have_no_row_for_devices(make_app: Callable) -> None:
    app = await make_app(SESSION_STRATEGY="stateless")
    alice = await app.sign_up_user("Alice")
    page = read(await alice.get("/account/security"))
    assert "/devices" not in links_of(page)
    assert "Devices" not in [name.text for name in page.all("h3")]
