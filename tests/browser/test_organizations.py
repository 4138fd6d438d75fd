"""Tests of the log-in of an organization's users in Chromium, with JavaScript and without."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser.conftest import opened_pages
from tests.browser.live import Live, serve
from tests.browser.pages import assert_accessible
from tests.browser.steps import button_of, expect_heading, type_in
from tests.conftest import SECRET
from tests.lying_provider import LyingProvider, serving
from tests.organizations import bind

EMAIL = "alice@example.com"


@pytest.fixture
def lying() -> Iterator[LyingProvider]:
    user = {"sub": "user-1", "name": "Alice Example", "email": EMAIL, "email_verified": True}
    with serving(LyingProvider(user=user)) as provider:
        yield provider


@pytest.fixture
def live(tmp_path: Path, lying: LyingProvider) -> Iterator[Live]:
    database = tmp_path / "latchkey.db"
    migrate(Secret(f"sqlite:///{database}"))
    with serve(database, SECRET, ORGANIZATIONS="on") as live:
        live.run(bind(live.store, lying))
        yield live


@pytest.fixture
def open_page(chromium: Browser, live: Live, lying: LyingProvider) -> Iterator[Callable[..., Page]]:
    """The pages may leave for the provider, and must not violate the CSP."""
    with opened_pages(chromium, live, [f"requested {lying.issuer}/authorize"]) as open_page:
        yield open_page


def log_in(page: Page) -> None:
    page.goto("/login")
    page.fill("#email", EMAIL)
    button_of(page, "login-form").click()


def test_a_user_of_an_organization_signs_up_and_comes_back(
    open_page: Callable[..., Page], javascript: bool
) -> None:
    page = open_page(java_script_enabled=javascript)
    log_in(page)
    expect_heading(page, "Almost there")
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url("**/dashboard")
    page.context.clear_cookies()
    log_in(page)
    page.wait_for_url("**/dashboard")


def test_the_email_field_names_the_provider_while_typing(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto("/login?next=/devices")
    type_in(page, "email", EMAIL)
    page.keyboard.press("Tab")
    hint = page.locator("#email-hint")
    expect(hint).to_contain_text("Your organization logs in with Example Corp.")
    assert_accessible(page)
    hint.get_by_role("link", name="Log in another way").click()
    expect(page).to_have_url(re.compile(r"/login\?other=1&next=/devices$"))
    type_in(page, "email", EMAIL)
    page.keyboard.press("Tab")
    expect(page.locator("#password")).to_be_focused()
    expect(hint).to_have_count(0)
