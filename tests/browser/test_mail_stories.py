"""Tests of whole sequences of pages and mails, with JavaScript and without.

Users find the mails in the development mailbox.
"""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live, wait_until
from tests.browser.steps import (
    button_of,
    expect_heading,
    expect_path,
    expect_summary,
    log_in,
    log_out,
    sign_up,
    submit,
)
from tests.browser_client import PASSWORD

NEW = "another engine No.8"
DEAD = "This link was used already, has expired, or was replaced by a newer mail."


@pytest.fixture
def new_user(make_user: Callable[..., BrowserUser], javascript: bool) -> Callable[..., BrowserUser]:
    """Creates users with JavaScript enabled or disabled."""
    return lambda name, **options: make_user(name, java_script_enabled=javascript, **options)


def open_mail(page: Page, live: Live, message_type: str, email: str) -> None:
    """Opens the link of a mail in the mailbox, as its recipient would."""
    live.link(message_type, email)  # This waits until the mail is written.
    page.goto("/dev/mailbox")
    row = page.locator(f"[data-mail][data-type={message_type}]").filter(has_text=email).first
    row.get_by_role("link").click()
    page.get_by_role("link", name="Open the link").click()


def confirm(user: BrowserUser) -> None:
    """Confirms the email of a user who has just signed up."""
    open_mail(user.page, user.live, "verify", user.email)
    submit(user.page, "verify-form")
    expect(user.page.get_by_text("Email confirmed.")).to_be_visible()


def is_verified(live: Live, email: str) -> bool:
    rows = live.rows(f"SELECT verified_at FROM users WHERE email = '{email}'")
    return rows[0][0] is not None


@pytest.mark.asvs("S110")
def test_a_new_user_finds_the_mail_one_click_from_the_banner(
    new_user: Callable, live: Live
) -> None:
    alice = new_user("Alice")
    sign_up(alice.page, "Alice", alice.email)
    expect_path(alice.page, "/dashboard")
    banner = alice.page.locator("#verify-banner")
    expect(banner).to_contain_text(f"Confirm your email: we sent a link to {alice.email}.")
    live.link("verify", alice.email)
    banner.get_by_role("link", name="Open the mailbox").click()
    alice.page.locator("[data-mail]").filter(has_text=alice.email).get_by_role("link").click()
    expect_heading(alice.page, "Confirm your email")
    alice.page.get_by_role("link", name="Open the link").click()
    expect_path(alice.page, "/verify")
    assert alice.page.url.endswith("/verify")
    expect(alice.page.locator("main")).to_contain_text(alice.email)
    assert not is_verified(live, alice.email)
    submit(alice.page, "verify-form")
    expect_path(alice.page, "/dashboard")
    expect(alice.page.get_by_text("Email confirmed.")).to_be_visible()
    expect(alice.page.locator("#verify-banner")).to_have_count(0)
    assert is_verified(live, alice.email)


def test_the_banner_sends_another_link(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice", signed_up=True)
    first = live.link("verify", alice.email)
    alice.page.goto("/account")
    alice.page.locator("#resend").click()
    expect(alice.page.get_by_text("We sent a new link.")).to_be_visible()
    expect(alice.page.locator("#verify-banner")).to_be_visible()
    wait_until(lambda: live.link("verify", alice.email) != first)
    alice.page.goto(first)
    expect(alice.page.locator("main")).to_contain_text(DEAD)
    confirm(alice)


def test_an_anonymous_user_confirms_the_email_by_logging_in(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice", signed_up=True)
    log_out_everywhere = alice.page
    log_out_everywhere.goto("/dashboard")
    log_out(log_out_everywhere)
    expect_path(alice.page, "/login")
    open_mail(alice.page, live, "verify", alice.email)
    expect(alice.page.get_by_text("Log in to confirm your email.")).to_be_visible()
    log_in(alice.page, alice.email)
    expect_path(alice.page, "/dashboard")
    expect(alice.page.get_by_text("Email confirmed.")).to_be_visible()
    assert is_verified(live, alice.email)


@pytest.mark.asvs("S110", "S15")
def test_a_forgotten_password_is_replaced_by_a_link(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice")
    live.create("Alice", alice.email)
    phone = new_user("Alice")
    phone.email = alice.email
    phone.log_in()
    page = alice.page
    page.goto("/login")
    page.get_by_role("link", name="Forgot your password?").click()
    expect_path(page, "/forgot")
    submit(page, "forgot-form")
    expect_summary(page, "Please enter a valid email.")
    page.fill("#email", alice.email)
    submit(page, "forgot-form")
    expect_heading(page, "Check your inbox")
    expect(page.locator("main")).to_contain_text("If an account has this email")
    open_mail(page, live, "reset", alice.email)
    expect_path(page, "/reset")
    expect(page.locator("main")).to_contain_text(alice.email)
    page.fill("#password", "abc")
    submit(page, "reset-form")
    expect_summary(page, "Password must:")
    page.fill("#password", NEW)
    submit(page, "reset-form")
    expect(
        page.get_by_text("Every device was logged out. Log in with your new password.")
    ).to_be_visible()
    phone.page.goto("/dashboard")
    expect_path(phone.page, "/login")
    page.get_by_role("main").get_by_role("link", name="Log in").click()
    log_in(page, alice.email, PASSWORD)
    expect_summary(page, "Email or password is incorrect.")
    log_in(page, alice.email, NEW)
    expect_path(page, "/dashboard")


def test_a_used_link_offers_a_new_one(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice")
    live.create("Alice", alice.email)
    alice.page.goto("/forgot")
    alice.page.fill("#email", alice.email)
    submit(alice.page, "forgot-form")
    expect_heading(alice.page, "Check your inbox")
    first = live.link("reset", alice.email)
    tabs = [alice.page, alice.page.context.new_page()]
    for tab in tabs:
        tab.goto(first)
        tab.fill("#password", NEW)
    submit(tabs[0], "reset-form")
    expect(tabs[0].get_by_text("Log in with your new password.")).to_be_visible()
    submit(tabs[1], "reset-form")
    expect(tabs[1].locator("main")).to_contain_text(DEAD)
    tabs[1].get_by_role("link", name="Ask for a new link").click()
    expect_path(tabs[1], "/forgot")


@pytest.mark.asvs("S110")
def test_the_old_email_undoes_a_change_of_email(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice", signed_up=True)
    confirm(alice)
    old, new = alice.email, f"new.{alice.email}"
    page = alice.page
    page.goto("/account")
    page.fill("#email-email", new)
    submit(page, "email-form")
    expect(page.locator("#pending-email")).to_contain_text(f"We sent a link to {new}.")
    open_mail(page, live, "change", new)
    expect_heading(page, "Confirm your new email")
    expect(page.locator("main")).to_contain_text(new)
    submit(page, "change-form")
    expect_path(page, "/account")
    expect(page.get_by_text("Email changed.")).to_be_visible()
    expect(page.locator("main")).to_contain_text(f"You log in as {new}.")

    mailbox = new_user("Charlie").page
    open_mail(mailbox, live, "moved", old)
    expect_heading(mailbox, "Lock this account?")
    expect(mailbox.locator("main")).to_contain_text(old)
    submit(mailbox, "not-me-form")
    expect_summary(mailbox, "Tick the box if this wasn't you.")
    mailbox.check("#sure")
    submit(mailbox, "not-me-form")
    expect(mailbox.get_by_text("the old password no longer works.")).to_be_visible()
    page.goto("/dashboard")
    expect_path(page, "/login")
    open_mail(mailbox, live, "locked", old)
    mailbox.fill("#password", NEW)
    submit(mailbox, "reset-form")
    mailbox.get_by_role("main").get_by_role("link", name="Log in").click()
    log_in(mailbox, old, NEW)
    expect_path(mailbox, "/dashboard")


def test_a_change_of_email_can_be_canceled(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice", signed_up=True)
    new = f"new.{alice.email}"
    alice.page.goto("/account")
    alice.page.fill("#email-email", new)
    submit(alice.page, "email-form")
    link = live.link("change", new)
    alice.page.get_by_role("button", name="Cancel the change").click()
    expect(alice.page.get_by_text("Your email stays as it is.")).to_be_visible()
    expect(alice.page.locator("#pending-email")).to_have_count(0)
    alice.page.goto(link)
    expect(alice.page.locator("main")).to_contain_text(DEAD)


def test_the_link_of_another_account_offers_to_log_out(new_user: Callable, live: Live) -> None:
    alice, bob = (new_user(name, signed_up=True) for name in ("Alice", "Bob"))
    open_mail(bob.page, live, "verify", alice.email)
    expect(bob.page.locator("main")).to_contain_text("This link belongs to another account.")
    bob.page.get_by_role("main").get_by_role("button", name="Log out").click()
    expect_path(bob.page, "/login")
    open_mail(bob.page, live, "verify", alice.email)
    log_in(bob.page, alice.email)
    expect(bob.page.get_by_text("Email confirmed.")).to_be_visible()


@pytest.mark.asvs("S73")
def test_the_token_is_never_in_the_url_or_the_history(alice: BrowserUser, live: Live) -> None:
    alice.page.goto("/dashboard")
    link = live.link("verify", alice.email)
    token = link.rpartition("/")[2]
    sent: list[str] = []
    alice.page.on("request", lambda request: sent.append(str(request.all_headers())))
    alice.page.goto(link)
    expect_path(alice.page, "/verify")
    alice.page.reload()
    submit(alice.page, "verify-form")
    expect_path(alice.page, "/dashboard")
    assert (
        alice.page.evaluate("navigation.entries().map(entry => entry.url).join(' ')").count(token)
        == 0
    )
    referers = [headers for headers in sent if f"'referer': '{live.url}/verify/" in headers]
    assert referers == []


def test_the_focus_stays_in_the_email_section(alice: BrowserUser) -> None:
    alice.page.goto("/account")
    alice.page.fill("#email-email", f"new.{alice.email}")
    button_of(alice.page, "email-form").click()
    expect(alice.page.locator("#pending-email")).to_be_visible()
    assert alice.page.evaluate("document.activeElement.outerHTML").startswith("<h2")
    assert alice.page.evaluate("document.activeElement.textContent") == "Email"


def test_the_typed_email_is_carried_from_log_in_to_the_request(page: Page) -> None:
    page.goto("/login")
    page.fill("#email", "charlie@example.com")
    page.get_by_role("link", name="Forgot your password?").click()
    expect(page.locator("#forgot-form #email")).to_have_value("charlie@example.com")
