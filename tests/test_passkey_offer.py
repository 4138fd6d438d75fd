"""Tests of the offer of a passkey after a log-in with a password."""

from collections.abc import Callable

import pytest

from tests.browser_client import IPHONE, Browser, read
from tests.conftest import TestApp
from tests.factor_rows import add_factors, app_row, passkey_row


async def has_offer(user: Browser, path: str = "/dashboard") -> bool:
    return read(await user.get(path)).all(id="passkey-offer") != []


async def phone_of_alice(app: TestApp) -> Browser:
    """Returns another browser of Alice, directly after a log-in with her password."""
    await app.change("UPDATE users SET verified_at = created_at")
    phone = await app.browser("Alice", user_agent=IPHONE)
    assert (await phone.log_in()).status_code == 303
    return phone


@pytest.fixture(params=["database", "stateless"])
async def app(make_app: Callable, request: pytest.FixtureRequest) -> TestApp:
    return await make_app(SESSION_STRATEGY=request.param)


async def test_the_first_page_after_a_log_in_offers_a_passkey_once(
    app: TestApp, alice: Browser
) -> None:
    phone = await phone_of_alice(app)
    page = read(await phone.get("/dashboard"))
    offer = page.one(id="passkey-offer")
    assert "Log in faster and more safely next time" in offer.text
    assert not await has_offer(phone)


async def test_a_sign_up_makes_no_offer(alice: Browser) -> None:
    assert not await has_offer(alice)


async def test_administrators_get_the_offer_too(app: TestApp, ada: Browser) -> None:
    assert await has_offer(ada)
    assert not await has_offer(ada)


async def test_another_first_page_uses_up_the_offer(app: TestApp, alice: Browser) -> None:
    phone = await phone_of_alice(app)
    assert not await has_offer(phone, "/account/security")
    assert not await has_offer(phone)


async def test_the_offer_costs_no_statement(app: TestApp, alice: Browser) -> None:
    phone = await phone_of_alice(app)
    before = app.statements
    assert await has_offer(phone)
    first = app.statements - before
    assert not await has_offer(phone)
    assert app.statements - before == 2 * first


async def test_the_request_to_confirm_the_email_comes_first(app: TestApp, alice: Browser) -> None:
    phone = await app.browser("Alice", user_agent=IPHONE)
    await phone.log_in()
    page = read(await phone.get("/dashboard"))
    assert len(page.all(id="verify-banner")) == 1
    assert page.all(id="passkey-offer") == []


async def test_a_declined_offer_is_never_made_again(app: TestApp, alice: Browser) -> None:
    phone = await phone_of_alice(app)
    answer = await phone.post("/account/passkeys/decline")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert "You can add a passkey under Security" in (await phone.get("/dashboard")).text
    assert await app.rows("SELECT count(passkey_declined_at) AS n FROM users") == [(1,)]
    for _ in range(2):
        assert not await has_offer(await phone_of_alice(app))


async def test_declining_with_htmx_removes_the_card(app: TestApp, alice: Browser) -> None:
    phone = await phone_of_alice(app)
    answer = await phone.post_fragment("/account/passkeys/decline")
    page = read(answer)
    assert (answer.status_code, page.one(id="passkey-offer").text.strip()) == (200, "")
    assert "We won't ask again" in page.text
    assert "hidden" in page.one(id="passkey-offer").attrs


async def test_declining_twice_keeps_the_first_time(app: TestApp, alice: Browser) -> None:
    await alice.post("/account/passkeys/decline")
    first = await app.rows("SELECT passkey_declined_at FROM users")
    app.clock.move(hours=1)
    await alice.post("/account/passkeys/decline")
    assert await app.rows("SELECT passkey_declined_at FROM users") == first


async def test_a_user_declines_only_for_themselves(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await bob.post("/account/passkeys/decline")
    assert await has_offer(await phone_of_alice(app))


async def test_declining_needs_a_session(app: TestApp, alice: Browser, anonymous: Browser) -> None:
    answer = await anonymous.post("/account/passkeys/decline")
    assert (answer.status_code, "/login" in answer.headers["location"]) == (303, True)
    assert await app.rows("SELECT count(passkey_declined_at) AS n FROM users") == [(0,)]


async def test_an_account_with_a_passkey_gets_no_offer(make_app: Callable) -> None:
    app = await make_app()
    await app.sign_up_user("Alice")
    await app.change(passkey_row("alice@example.com"))
    assert not await has_offer(await phone_of_alice(app))


async def test_a_site_at_an_ip_address_makes_no_offer(make_app: Callable) -> None:
    app = await make_app(BASE_URL="http://127.0.0.1:8000")
    await app.sign_up_user("Alice")
    phone = await phone_of_alice(app)
    assert not await has_offer(phone)


async def test_the_request_for_a_second_step_replaces_the_offer(make_app: Callable) -> None:
    app = await make_app(REQUIRE_FACTOR="admins")
    ada = await app.admin()
    page = read(await ada.get("/dashboard"))
    assert page.all(id="passkey-offer") == []
    assert page.one(data_dashboard=True).attrs["data-dashboard"] == "user"
    assert "Administrators here need a second step" in page.one(id="factor-required").text


async def test_an_administrator_with_a_second_step_has_their_dashboard(make_app: Callable) -> None:
    app = await make_app(REQUIRE_FACTOR="admins")
    ada = await app.admin()
    assert (await ada.get("/admin/users")).headers["location"] == "/account/security?required=1"
    await add_factors(app, ada.email, app_row(ada.email))
    page = read(await ada.get("/dashboard"))
    assert page.one(data_dashboard=True).attrs["data-dashboard"] == "admin"
    assert (await ada.get("/admin/users")).status_code == 200
