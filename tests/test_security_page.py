"""Tests of the security page: what protects the account, and what to do about it."""

from collections.abc import Callable

import pytest

from tests.browser_client import IPHONE, Browser, Element, read
from tests.conftest import TestApp
from tests.factor_rows import add_factors, app_row, code_rows, passkey_row


async def state_of(user: Browser, row: str) -> str:
    page = read(await user.get("/account/security"))
    (found,) = [item for item in page.all("li") if row in [name.text for name in item.all("h3")]]
    return " ".join(found.one("p").text.split())


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


async def test_the_security_page_costs_one_statement_and_one_for_passkeys(
    app: TestApp, alice: Browser
) -> None:
    before = app.statements
    assert (await alice.get("/account/security")).status_code == 200
    assert app.statements == before + 1
    await add_factors(app, alice.email, passkey_row(alice.email), app_row(alice.email))
    before = app.statements
    assert (await alice.get("/account/security")).status_code == 200
    assert app.statements == before + 2


async def test_the_fragment_is_a_part_of_the_page(alice: Browser) -> None:
    fragment = (await alice.get_fragment("/account/security")).text.split("</title>\n")[1]
    assert fragment in (await alice.get("/account/security")).text


async def test_each_row_has_its_state_and_one_action(app: TestApp, alice: Browser) -> None:
    page = read(await alice.get("/account/security"))
    assert links_of(page) == [
        "/account#password",
        "/account/passkeys",
        "/account#email",
        "/account/authenticator",
        "/account/passkeys",
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
    assert (await state_of(alice, "Password")).startswith("Changed today at 10:12 UTC")
    await app.change("UPDATE users SET verified_at = created_at, password_changed_at = NULL")
    assert await state_of(alice, "Email") == "Confirmed: alice@example.com"
    assert (await state_of(alice, "Password")).startswith(
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


async def test_the_last_use_of_the_password_is_shown(app: TestApp, alice: Browser) -> None:
    assert "Last used" not in await state_of(alice, "Password")
    app.clock.move(hours=1)
    await (await app.browser("Alice", user_agent=IPHONE)).log_in()
    assert (await state_of(alice, "Password")).endswith("Last used today at 10:12 UTC")


async def test_an_account_without_a_password_can_set_one(app: TestApp, alice: Browser) -> None:
    await app.change("UPDATE users SET password_hash = '!'")
    assert await state_of(alice, "Password") == "Not set"
    assert "Set a password" in read(await alice.get("/account/security")).text


async def test_each_passkey_has_a_row_with_its_use(app: TestApp, alice: Browser) -> None:
    assert (await state_of(alice, "Passkey")).startswith("None.")
    await add_factors(
        app,
        alice.email,
        passkey_row(alice.email, "iPhone", last_used_at="2026-11-24T09:02:00.000000+00:00"),
        passkey_row(alice.email, "Blue key", backed_up=False),
        passkey_row(alice.email, "Old key", rp_id="old.example"),
    )
    assert await state_of(alice, "iPhone") == (
        "Synced passkey, added today at 09:00 UTC Last used today at 09:02 UTC"
    )
    assert await state_of(alice, "Blue key") == (
        "Passkey on one device, added today at 09:00 UTC Not used yet"
    )
    assert await state_of(alice, "Old key") == "Doesn't work here: it was made for old.example."
    assert await state_of(alice, "Passkeys") == (
        "Each of your 2 passkeys also confirms a log-in with your password"
    )


async def test_the_passkeys_of_others_are_not_shown(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await add_factors(
        app, alice.email, passkey_row(alice.email), app_row(alice.email), *code_rows(alice.email)
    )
    assert "iPhone" in (await alice.get("/account/security")).text
    assert "iPhone" not in (await bob.get("/account/security")).text
    assert (await state_of(bob, "Authenticator app")).startswith("Off.")
    assert (await state_of(bob, "Recovery codes")).startswith("You get ten")


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_the_authenticator_app_has_a_row(make_app: Callable, strategy: str) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    await add_factors(app, alice.email, app_row(alice.email))
    assert await state_of(alice, "Authenticator app") == ("Set up today at 09:00 UTC Not used yet")
    await app.change("UPDATE totp SET last_used_at = '2026-11-24T09:02:00.000000+00:00'")
    assert (await state_of(alice, "Authenticator app")).endswith("Last used today at 09:02 UTC")


@pytest.mark.parametrize(
    ("left", "state", "is_warning"),
    [
        (10, "10 codes left Made today at 09:00 UTC", False),
        (4, "4 codes left Made today at 09:00 UTC", False),
        (3, "3 codes left Made today at 09:00 UTC", True),
        (1, "One code left Made today at 09:00 UTC", True),
        (0, "None left. Without one, you can't log in if you lose your device.", True),
    ],
)
async def test_the_page_warns_if_few_recovery_codes_are_left(
    app: TestApp, alice: Browser, left: int, state: str, is_warning: bool
) -> None:
    await add_factors(app, alice.email, app_row(alice.email), *code_rows(alice.email, left))
    assert await state_of(alice, "Recovery codes") == state
    page = read(await alice.get("/account/security"))
    (row,) = [item for item in page.all("li") if "Recovery codes" in item.text and item.all("h3")]
    assert ("todo" in row.one("p").attrs["class"]) == is_warning


@pytest.mark.parametrize(("days", "is_explained"), [("30", True), ("0", False)])
async def test_the_page_explains_remembered_browsers(
    make_app: Callable, days: str, is_explained: bool
) -> None:
    app = await make_app(REMEMBER_BROWSER_DAYS=days)
    alice = await app.sign_up_user("Alice")
    assert "need the second step for" not in (await alice.get("/account/security")).text
    await add_factors(app, alice.email, app_row(alice.email))
    text = read(await alice.get("/account/security")).text
    assert ("that browser doesn't need the second step for 30 days" in text) == is_explained


async def test_an_administrator_without_a_needed_second_step_is_asked(make_app: Callable) -> None:
    app = await make_app(REQUIRE_FACTOR="admins")
    ada, alice = await app.admin(), await app.sign_up_user("Alice")
    page = read(await ada.get("/account/security?required=1"))
    assert "Administrators here need a second step" in page.one(id="factor-required").text
    assert read(await alice.get("/account/security?required=1")).all(id="factor-required") == []
    await add_factors(app, ada.email, app_row(ada.email))
    assert read(await ada.get("/account/security?required=1")).all(id="factor-required") == []


async def test_a_site_at_an_ip_address_offers_no_passkeys(make_app: Callable) -> None:
    app = await make_app(BASE_URL="http://127.0.0.1:8000")
    alice = await app.sign_up_user("Alice")
    assert "passkey" not in read(await alice.get("/account/security")).one("main").text.lower()


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
