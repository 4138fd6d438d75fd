"""Tests of whole sequences of pages, with JavaScript and without."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live
from tests.browser.steps import (
    TAKEN,
    answer_dialog,
    button_of,
    expect_heading,
    expect_path,
    expect_summary,
    fill_sign_up,
    follow,
    log_in,
    log_out,
    sign_up,
    submit,
)
from tests.browser_client import PASSWORD
from web.brand import SITE_NAME

NAME = "Name must be at least 2 characters long."
EMAIL = "Please enter a valid email."
RULES = (
    "Be at least 8 characters long",
    "Contain at least one letter.",
    "Contain at least one number.",
    "Contain at least one special character.",
)


@pytest.fixture
def new_user(make_user: Callable[..., BrowserUser], javascript: bool) -> Callable[..., BrowserUser]:
    """Creates users with JavaScript enabled or disabled."""
    return lambda name, **options: make_user(name, java_script_enabled=javascript, **options)


@pytest.mark.guide("A8", "A12", "A13", "A20")
@pytest.mark.asvs("S110")
def test_sign_up_succeeds_after_every_error_is_corrected(new_user: Callable, live: Live) -> None:
    charlie = new_user("Charlie")
    charlie.page.goto("/signup")
    submit(charlie.page)
    expect_summary(charlie.page, "There is a problem", NAME, EMAIL, "Password must:", *RULES)
    fill_sign_up(charlie.page, "Charlie", "charlie@", "abc")
    submit(charlie.page)
    expect_summary(charlie.page, EMAIL, RULES[0], RULES[2], RULES[3])
    expect(charlie.page.locator("#error-summary")).not_to_contain_text(RULES[1])
    expect(charlie.page).to_have_title(f"Error: Create your account · {SITE_NAME}")
    expect(charlie.page.locator("#name")).to_have_value("Charlie")
    fill_sign_up(charlie.page, "Charlie", charlie.email)
    submit(charlie.page)
    expect_path(charlie.page, "/dashboard")
    expect(charlie.page.locator("[data-viewer-name]")).to_have_text("Charlie")
    assert (live.accounts_of(charlie.email), live.sessions_of(charlie.email)) == (1, 1)


@pytest.mark.guide("A22")
def test_an_email_can_sign_up_only_once(new_user: Callable, alice: BrowserUser, live: Live) -> None:
    charlie = new_user("Charlie")
    sign_up(charlie.page, "Charlie", f"  {alice.email.upper()} ", "another-No.7")
    expect_summary(charlie.page, TAKEN)
    expect(charlie.page.locator("#email-message")).to_contain_text(TAKEN)
    assert live.accounts_of(alice.email) == 1


@pytest.mark.guide("A20")
@pytest.mark.asvs("S110")
def test_login_needs_the_right_password(new_user: Callable, alice: BrowserUser) -> None:
    page = new_user("Alice").page
    page.goto("/login")
    log_in(page, alice.email, "not-the-1-password")
    expect_summary(page, "Email or password is incorrect.")
    expect(page).to_have_title(f"Error: Log in · {SITE_NAME}")
    expect(page.locator("#email")).to_have_value(alice.email)
    # The error belongs to the form and not to one field.
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)
    log_in(page, alice.email)
    expect_path(page, "/dashboard")
    expect(page.locator("[data-dashboard=user] [data-viewer-name]")).to_have_text("Alice")


def test_an_unknown_email_gets_the_error_of_a_wrong_password(new_user: Callable) -> None:
    charlie = new_user("Charlie")
    charlie.page.goto("/login")
    log_in(charlie.page, charlie.email)
    expect_summary(charlie.page, "Email or password is incorrect.")


def test_the_navigation_leads_to_every_page(new_user: Callable) -> None:
    alice = new_user("Alice", signed_up=True)
    alice.page.goto("/dashboard")
    for name in ("Devices", "Account", "Dashboard"):
        follow(alice.page, name)
        expect_path(alice.page, f"/{name.lower()}")
        current = alice.page.get_by_role("navigation", name="Main").locator("[aria-current=page]")
        expect(current).to_have_text([name])
    alice.page.get_by_role("link", name="Handbook", exact=True).click()
    expect_heading(alice.page, "Handbook")
    expect_path(alice.page, "/handbook")


def test_a_profile_change_keeps_the_input_after_errors(new_user: Callable) -> None:
    alice = new_user("Alice", signed_up=True)
    alice.page.goto("/account")
    alice.page.fill("#account-name", "A")
    alice.page.fill("#account-slug", "Not A Slug")
    submit(alice.page, "account-form")
    expect_summary(
        alice.page, NAME, "Use 2 to 40 characters: lowercase letters (a–z), digits and hyphens."
    )
    expect(alice.page.locator("#account-slug")).to_have_value("Not A Slug")
    alice.page.fill("#account-name", "Alice Grace")
    alice.page.fill("#account-slug", slug := alice.email.partition("@")[0].replace(".", "-"))
    alice.page.fill("#account-phone", "+44 20 7946 0000")
    submit(alice.page, "account-form")
    expect(alice.page.get_by_role("banner")).to_contain_text("Alice Grace")
    expect(alice.page.locator("#error-summary")).to_have_count(0)
    alice.page.goto(f"/users/{slug}")
    expect_heading(alice.page, "Alice Grace")
    expect(alice.page.locator("#main")).to_contain_text("+44 20 7946 0000")


def test_a_password_change_ends_only_the_other_sessions(new_user: Callable) -> None:
    alice = new_user("Alice", signed_up=True)
    phone = alice.in_second_browser()
    alice.page.goto("/account")
    alice.page.fill("#password-current_password", PASSWORD)
    alice.page.fill("#password-password", changed := "another engine No.8")
    submit(alice.page, "password-form")
    expect(alice.page.locator("#password-current_password")).to_have_value("")
    alice.page.goto("/dashboard")
    expect_path(alice.page, "/dashboard")
    phone.page.goto("/dashboard")
    expect_path(phone.page, "/login")
    log_in(phone.page, alice.email, changed)
    expect_path(phone.page, "/dashboard")


@pytest.mark.guide("C3", "C7")
@pytest.mark.asvs("S110")
def test_a_revoked_session_is_redirected_to_login(new_user: Callable) -> None:
    alice = new_user("Alice", signed_up=True)
    phone = alice.in_second_browser()
    phone.page.goto("/dashboard")
    alice.page.goto("/devices")
    expect(alice.page.locator("#device-count")).to_have_text("2")
    alice.page.locator("[data-device]:not([data-current=true]) button").click()
    expect(alice.page.locator("#device-count")).to_have_text("1")
    expect(alice.page.locator("[data-device]")).to_have_count(1)
    follow(phone.page, "Devices")
    expect_path(phone.page, "/login")
    expect(phone.page.locator("main")).to_contain_text("You've been logged out on this device.")


@pytest.mark.guide("C8")
def test_one_click_logs_out_everywhere(new_user: Callable, live: Live, javascript: bool) -> None:
    alice = new_user("Alice", signed_up=True)
    alice.in_second_browser()
    alice.page.goto("/devices")
    alice.page.locator('form[action$="/devices/revoke-all"] button').click()
    if javascript:
        answer_dialog(alice.page, "Log out everywhere")
    expect_path(alice.page, "/login")
    expect(alice.page.get_by_text("You've logged out everywhere.")).to_be_visible()
    assert live.sessions_of(alice.email) == 0


@pytest.mark.guide("B15")
@pytest.mark.asvs("S69", "S110")
def test_back_after_logout_shows_no_private_page(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice", signed_up=True)
    alice.page.goto("/dashboard")
    follow(alice.page, "Account")
    expect_heading(alice.page, "Account")
    log_out(alice.page)
    expect_path(alice.page, "/login")
    expect(alice.page.get_by_text("You've logged out.")).to_be_visible()
    assert live.sessions_of(alice.email) == 0
    for _ in range(2):
        alice.page.go_back()
        expect_path(alice.page, "/login")
        expect(button_of(alice.page, "login-form")).to_be_visible()
        assert alice.email not in alice.page.content()


@pytest.mark.asvs("S69")
def test_back_verifies_that_the_session_still_exists(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice", signed_up=True)
    alice.page.goto("/account")
    alice.page.goto("/handbook")
    live.end_sessions_of(alice.email)
    alice.page.go_back()
    expect_path(alice.page, "/login")
    assert alice.email not in alice.page.content()


@pytest.mark.guide("D10")
def test_a_logged_in_user_is_redirected_from_guest_pages(new_user: Callable) -> None:
    page = new_user("Alice", signed_up=True).page
    for path in ("/", "/login", "/signup"):
        page.goto(path)
        expect_path(page, "/dashboard")


@pytest.mark.guide("D1", "D26")
def test_the_menu_and_the_dashboard_follow_the_role(new_user: Callable) -> None:
    ada, alice = new_user("Ada", admin=True), new_user("Alice", signed_up=True)
    for user, role, link_count in ((ada, "admin", 1), (alice, "user", 0)):
        user.page.goto("/dashboard")
        expect(user.page.locator("[data-dashboard]")).to_have_attribute("data-dashboard", role)
        expect(user.page.get_by_role("link", name="People", exact=True)).to_have_count(link_count)


def test_login_returns_to_the_page_that_required_it(new_user: Callable, alice: BrowserUser) -> None:
    page = new_user("Alice").page
    page.goto("/devices?from=mail")
    expect_path(page, "/login")
    expect(page.locator("main")).to_contain_text("Log in to continue.")
    log_in(page, alice.email, "a-wrong-1")
    expect_summary(page, "Email or password is incorrect.")
    log_in(page, alice.email)
    expect(page).to_have_url(f"{alice.live.url}/devices?from=mail")


@pytest.mark.asvs("S110")
def test_login_reports_that_the_browser_blocks_cookies(
    new_user: Callable, alice: BrowserUser, live: Live
) -> None:
    page = new_user("Alice").page
    page.goto("/login")
    # The response is the one of a successful login, without its cookies.
    sent = [(b"location", b"/dashboard"), (b"hx-redirect", b"/dashboard")]
    has_scripts = page.evaluate("typeof htmx") == "object"
    live.faults.inject("/login", status=204 if has_scripts else 303, headers=sent)
    log_in(page, alice.email)
    expect(page.locator("main")).to_contain_text("Your browser blocks cookies")
    log_in(page, alice.email)
    expect_path(page, "/dashboard")
