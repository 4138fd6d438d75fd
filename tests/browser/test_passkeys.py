"""Tests of passkeys in Chromium, with the virtual authenticator of the DevTools protocol."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.authenticators import VirtualAuthenticator, make_authenticator
from tests.browser.conftest import BrowserUser
from tests.browser.pages import assert_accessible, overflowing
from tests.browser.steps import listen, settle

PAGE = "/account/passkeys"
BUTTON = "#passkey-form button"


@pytest.fixture
def authenticator(alice: BrowserUser) -> VirtualAuthenticator:
    return make_authenticator(alice.page)


def add_passkey(page: Page, *, is_first: bool = True) -> None:
    page.goto(PAGE)
    if is_first:
        page.check("#saved")
    page.click(BUTTON)
    expect(page.locator("[data-passkey]").first).to_be_visible()


def test_a_passkey_is_created(alice: BrowserUser, authenticator: VirtualAuthenticator) -> None:
    page = alice.page
    page.goto(PAGE)
    expect(page.locator("[data-code]")).to_have_count(10)
    page.check("#saved")
    page.fill("#name", "Test key")
    page.click(BUTTON)
    expect(page.locator("#passkeys [data-passkey]")).to_have_count(1)
    expect(page.locator("#passkeys")).to_contain_text("Test key")
    expect(page.locator(".flash")).to_have_text("Passkey added.")
    expect(page.locator("[data-code]")).to_have_count(0)
    assert len(authenticator.credentials()) == 1
    assert_accessible(page)
    assert overflowing(page) == []


def test_the_page_works_after_a_navigation_without_a_reload(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    page.goto("/account/security")
    page.evaluate("url => htmx.ajax('GET', url, {target: '#main', push: 'true'})", PAGE)
    expect(page.locator(BUTTON)).to_be_visible()
    page.check("#saved")
    page.click(BUTTON)
    expect(page.locator("#passkeys [data-passkey]")).to_have_count(1)


def test_no_passkey_is_created_before_the_codes_are_saved(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    page.goto(PAGE)
    codes = page.locator("[data-code]").all_inner_texts()
    page.click(BUTTON)
    expect(page.locator("#saved-message")).to_contain_text("Save the codes, then tick this box.")
    assert authenticator.credentials() == []
    assert page.locator("[data-code]").all_inner_texts() == codes
    page.check("#saved")
    page.click(BUTTON)
    expect(page.locator("#passkeys [data-passkey]")).to_have_count(1)


def test_one_device_gets_one_passkey(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    add_passkey(page)
    page.click(BUTTON)
    expect(page.locator("[data-passkey-message]")).to_have_text(
        "This device already has a passkey for your account."
    )
    assert len(authenticator.credentials()) == 1


def test_a_removed_passkey_is_removed_from_the_authenticator(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    add_passkey(page)
    page.click("[data-passkey] .danger")
    page.click("#confirm [value=yes]")
    expect(page.locator("#passkey-list")).to_contain_text("You have no passkeys.")
    expect(page.locator("[data-code]")).to_have_count(10)
    page.wait_for_timeout(200)
    assert authenticator.credentials() == []
    page.check("#saved")
    page.click(BUTTON)
    expect(page.locator("#passkeys [data-passkey]")).to_have_count(1)


def test_a_passkey_is_renamed(alice: BrowserUser, authenticator: VirtualAuthenticator) -> None:
    page = alice.page
    add_passkey(page)
    page.click("[data-passkey] summary")
    page.fill("[data-passkey] [name=name]", "My phone")
    page.click("[data-passkey] details button")
    expect(page.locator("#passkeys h2")).to_have_text("My phone")
    expect(page.locator(".toast")).to_contain_text("Passkey renamed.")


def log_out(page: Page) -> None:
    page.context.clear_cookies(name="session")
    page.context.clear_cookies(name="sudo")


def test_the_email_field_logs_in_with_a_passkey(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    add_passkey(page)
    log_out(page)
    page.goto("/login?next=/devices")
    page.wait_for_url("**/devices")
    expect(page.locator("#devices")).to_be_visible()


def test_the_button_logs_in_while_the_field_offers_passkeys(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    add_passkey(page)
    log_out(page)
    authenticator.set_presence(is_simulated=False)
    page.goto("/login")
    settle(page)
    assert page.url.endswith("/login")
    authenticator.set_presence(is_simulated=True)
    page.click(BUTTON)
    page.wait_for_url("**/dashboard")


def test_the_field_offers_passkeys_after_a_failed_log_in(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    add_passkey(page)
    log_out(page)
    authenticator.set_presence(is_simulated=False)
    page.goto("/login")
    page.fill("#email", alice.email)
    page.fill("#password", "wrong-No.9")
    page.click("#login-form .primary")
    expect(page.locator("#error-summary")).to_be_visible()
    authenticator.set_presence(is_simulated=True)
    page.click(BUTTON)
    page.wait_for_url("**/dashboard")


def test_a_refused_verification_gives_a_plain_message(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    add_passkey(page)
    log_out(page)
    authenticator.set_verified(is_verified=False)
    page.goto("/login")
    page.click(BUTTON)
    expect(page.locator("[data-passkey-message]")).to_contain_text("Nothing was chosen.")
    authenticator.set_verified(is_verified=True)
    page.click(BUTTON)
    page.wait_for_url("**/dashboard")


def test_an_unknown_passkey_is_removed_from_the_authenticator(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    add_passkey(page)
    log_out(page)
    alice.live.change("DELETE FROM passkeys")
    authenticator.set_presence(is_simulated=False)
    page.goto("/login")
    settle(page)
    authenticator.set_presence(is_simulated=True)
    page.click(BUTTON)
    expect(page.locator("#passkey-form #error-summary")).to_contain_text(
        "This passkey doesn't open an account here."
    )
    page.wait_for_timeout(200)
    assert authenticator.credentials() == []
    expect(page.locator(BUTTON)).to_be_visible()
    assert_accessible(page)
    assert overflowing(page) == []


def test_the_offer_is_renewed_before_its_challenge_expires(
    alice: BrowserUser, authenticator: VirtualAuthenticator
) -> None:
    page = alice.page
    add_passkey(page)
    log_out(page)
    authenticator.set_presence(is_simulated=False)
    page.clock.install()
    page.goto("/login")
    page.wait_for_function("() => !document.querySelector('#passkey-form button').hidden")
    sent = listen(page)
    challenge = page.get_attribute("[name=challenge]", "value")
    with page.expect_response("**/login/passkey"):
        page.clock.fast_forward("04:30")
    expect(page.locator("[name=challenge]")).not_to_have_value(challenge or "")
    assert sent.fetched() == ["/login/passkey"]


def test_the_log_in_page_without_javascript(open_page: Callable[..., Page]) -> None:
    page = open_page(java_script_enabled=False)
    page.goto("/login")
    expect(page.locator(BUTTON)).to_be_hidden()
    # Playwright turns scripts off without telling the parser, which then shows no <noscript>.
    sentence = "Passkeys need JavaScript. Log in with your password instead."
    assert sentence in page.locator("noscript").inner_html()


def test_the_page_without_javascript_shows_no_codes(
    make_user: Callable[..., BrowserUser],
) -> None:
    alice = make_user("Alice", java_script_enabled=False)
    alice.sign_up()
    page = alice.page
    page.goto(PAGE)
    expect(page.locator("[data-code]").first).to_be_hidden()
    expect(page.locator("#passkey-form")).to_be_hidden()
    assert "Passkeys need JavaScript." in page.locator("noscript").inner_html()


def test_an_ip_address_gives_a_plain_message(
    open_page: Callable[..., Page], expected_errors: list[str]
) -> None:
    page = open_page()
    page.goto("/login")
    url = page.url.replace("localhost", "127.0.0.1")
    expected_errors.append("requested http://127.0.0.1")
    page.goto(url)
    button = page.locator(BUTTON)
    if button.is_visible():
        button.click()
    expect(page.locator("[data-passkey-message]")).to_have_text(
        "Passkeys of this site work at localhost only. Open it there."
    )
    expect(button).to_be_hidden()


def test_a_browser_without_passkeys_says_so(alice: BrowserUser) -> None:
    page = alice.page
    page.add_init_script("delete window.PublicKeyCredential")
    page.goto(PAGE)
    expect(page.locator("[data-passkey-message]")).to_have_text(
        "This browser doesn't support passkeys."
    )
    expect(page.locator(BUTTON)).to_be_hidden()
    page.goto("/handbook")


def test_a_page_with_a_passkey_form_loads_little_javascript(page: Page) -> None:
    sizes = []
    page.on(
        "response",
        lambda answer: (
            sizes.append(answer.request.sizes()["responseBodySize"])
            if answer.request.resource_type == "script"
            else None
        ),
    )
    page.goto("/login", wait_until="networkidle")
    assert len(sizes) == 3
    assert sum(sizes) <= 20_000
