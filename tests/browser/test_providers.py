"""Tests of log-in with a provider in Chromium, with JavaScript and without."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from db.providers.providers import Providers
from tests.browser.conftest import opened_pages
from tests.browser.live import Live, serve
from tests.browser.pages import assert_accessible
from tests.browser.steps import expect_heading
from tests.conftest import SECRET
from tests.lying_provider import LyingProvider, serving
from web.app import create_app

DASHBOARD = "**/dashboard"


@pytest.fixture
def lying() -> Iterator[LyingProvider]:
    with serving(LyingProvider()) as provider:
        yield provider


@pytest.fixture
def live(tmp_path: Path, lying: LyingProvider) -> Iterator[Live]:
    database = tmp_path / "latchkey.db"
    migrate(Secret(f"sqlite:///{database}"))
    with serve(database, SECRET, **lying.settings) as live:
        yield live


@pytest.fixture
def open_page(chromium: Browser, live: Live, lying: LyingProvider) -> Iterator[Callable[..., Page]]:
    """The pages may leave for the provider, and must not violate the CSP."""
    with opened_pages(chromium, live, [f"requested {lying.issuer}/authorize"]) as open_page:
        yield open_page


def press_button(page: Page) -> None:
    page.goto("/login")
    page.get_by_role("button", name="Continue with Work").click()


def test_a_user_signs_up_leaves_and_comes_back(
    open_page: Callable[..., Page], javascript: bool
) -> None:
    page = open_page(java_script_enabled=javascript)
    press_button(page)
    expect_heading(page, "Almost there")
    if javascript:
        assert_accessible(page)
    page.fill("#email", "alice@example.com")
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url(DASHBOARD)
    page.context.clear_cookies()
    press_button(page)
    page.wait_for_url(DASHBOARD)


def test_the_log_in_page_names_a_canceled_log_in(
    open_page: Callable[..., Page], lying: LyingProvider, javascript: bool
) -> None:
    lying.change_answer = lambda answer: answer.update(error="access_denied")
    page = open_page(java_script_enabled=javascript)
    press_button(page)
    expect(page.locator("#trouble")).to_have_text("You canceled at Work. Nothing was changed.")
    if javascript:
        assert_accessible(page)


def test_a_user_connects_and_disconnects_a_provider(
    open_page: Callable[..., Page], live: Live, javascript: bool
) -> None:
    page = open_page(java_script_enabled=javascript)
    form = {"name": "Alice", "email": "alice@example.com", "password": "engine-No.9 to the sea"}
    assert page.request.post("/signup", form=form, max_redirects=0).status == 303
    page.goto("/account/security")
    page.locator("[data-provider=work] button").click()
    page.locator("#connect-form button").click()
    expect(page.locator("[data-identity]")).to_contain_text("Alice Example")
    if javascript:
        assert_accessible(page)
    page.locator("[data-identity] button").click()
    expect(page.locator("[data-identity]")).to_have_count(0)
    expect(page.locator("[data-provider=work]")).to_be_visible()


@pytest.fixture
def answers_by_form(live: Live) -> None:
    """Makes the provider answer by a form, as Apple does."""
    (work,) = live.store.providers.all
    provider = replace(work, response_mode="form_post")
    settings = replace(live.faults.app.state.settings, providers=(provider,))
    store = replace(live.store, providers=Providers((provider,), live.clock))
    live.faults.app = create_app(settings, store, live.clock)


@pytest.mark.usefixtures("answers_by_form")
def test_the_form_of_a_provider_is_sent_once_more_from_here(
    open_page: Callable[..., Page], live: Live, lying: LyingProvider, javascript: bool
) -> None:
    page = open_page(java_script_enabled=javascript)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method + urlsplit(request.url).path))
    press_button(page)
    page.get_by_role("button", name="Go back").click()
    if not javascript:
        expect(page.locator("#callback-form")).to_be_visible()
        assert "/token" not in lying.requests
        assert live.rows("SELECT count(*) FROM used_tokens") == [(0,)]
        page.get_by_role("button", name="Continue").click()
    expect_heading(page, "Almost there")
    assert sent.count("POST/login/with/work/callback") == 2
    assert lying.requests.count("/token") == 1
    page.fill("#email", "alice@example.com")
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url(DASHBOARD)
