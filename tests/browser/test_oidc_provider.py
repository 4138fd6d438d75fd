"""Tests of log-in with `oidc-provider` of npm in Chromium, with JavaScript and without."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser.conftest import opened_pages
from tests.browser.live import Live, serve, wait_until
from tests.browser.steps import expect_heading, expect_path, log_in
from tests.conftest import SECRET
from tests.oidc_provider import OidcProvider, needs_oidc_provider

pytestmark = needs_oidc_provider
DASHBOARD = "**/dashboard"
# The provider's own pages have a font of another site, which may not be reachable.
FONT_OF_THE_PROVIDER = (
    "requested https://fonts.googleapis.com/",
    "requested https://fonts.gstatic.com/",
    "error: Failed to load resource: net::",
)


@pytest.fixture
def provider() -> OidcProvider:
    return OidcProvider(ends_sessions=True)


@pytest.fixture
def live(tmp_path: Path, provider: OidcProvider) -> Iterator[Live]:
    database = tmp_path / "latchkey.db"
    migrate(Secret(f"sqlite:///{database}"))
    with serve(database, SECRET, **provider.settings) as live:
        provider.site = live.url
        with provider.running():
            yield live


@pytest.fixture
def open_page(
    chromium: Browser, live: Live, provider: OidcProvider
) -> Iterator[Callable[..., Page]]:
    """The pages may leave for the provider, and must not violate the CSP."""
    expected = (f"requested {provider.issuer}/", *FONT_OF_THE_PROVIDER)
    with opened_pages(chromium, live, expected) as open_page:
        yield open_page


def press_button(page: Page) -> None:
    page.goto("/login")
    page.get_by_role("button", name="Continue with Work").click()


def log_in_there(page: Page) -> None:
    page.wait_for_url("**/interaction/*")
    page.locator("[name=login]").fill("alice")
    page.locator("[name=password]").fill("any")
    page.locator("[type=submit]").click()
    page.locator("input[name=prompt][value=consent]").wait_for(state="attached")
    page.locator("[type=submit]").click()


def test_a_user_signs_up_leaves_and_comes_back(
    open_page: Callable[..., Page], javascript: bool
) -> None:
    page = open_page(java_script_enabled=javascript)
    press_button(page)
    log_in_there(page)
    expect_heading(page, "Almost there")
    expect(page.locator("#name")).to_have_value("Alice Example")
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url(DASHBOARD)
    page.get_by_role("button", name="Log out").click()
    expect_heading(page, "Log in")
    press_button(page)  # The session at the provider is still there.
    page.wait_for_url(DASHBOARD)


def test_a_user_cancels_at_the_provider(
    open_page: Callable[..., Page], live: Live, javascript: bool
) -> None:
    page = open_page(java_script_enabled=javascript)
    press_button(page)
    page.wait_for_url("**/interaction/*")
    page.get_by_role("link", name=re.compile("cancel", re.I)).click()
    expect(page.locator("#trouble")).to_have_text("You canceled at Work. Nothing was changed.")
    assert live.rows("SELECT count(*) FROM users") == [(0,)]


def test_a_log_out_at_the_provider_ends_the_session_here(
    open_page: Callable[..., Page], live: Live, provider: OidcProvider
) -> None:
    """Only the session that the log-in at the provider began (OpenID Connect Back-Channel Logout)."""
    live.create("Alice", "alice@example.com")
    page, other = open_page(), open_page()
    other.goto("/login")
    log_in(other, "alice@example.com")
    press_button(page)
    log_in_there(page)
    page.fill("#email", "grace@example.com")
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url(DASHBOARD)
    page.goto(f"{provider.issuer}/session/end")
    page.get_by_role("button", name=re.compile("yes", re.I)).click()
    page.wait_for_url("**/session/end/success*")
    wait_until(lambda: live.sessions_of("grace@example.com") == 0)
    page.goto("/dashboard")
    expect_heading(page, "Log in")
    other.goto("/dashboard")
    expect_path(other, "/dashboard")
