"""Tests of navigation inside the application, where only the main part of the document changes."""

import re
from collections.abc import Callable
from threading import Event

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live
from tests.browser.steps import (
    OFFLINE_ERRORS,
    expect_heading,
    expect_path,
    expect_summary,
    follow,
    is_marked,
    listen,
    log_in,
    log_out,
    mark,
    settle,
    submit,
)
from web.brand import SITE_NAME

NAVIGATION_LINKS = (("Devices", "/devices"), ("Account", "/account"), ("Dashboard", "/dashboard"))


@pytest.mark.guide("D27", "D28")
def test_a_link_updates_main_title_focus_and_navigation(alice: BrowserUser) -> None:
    page = alice.page
    page.goto("/dashboard")
    mark(page)
    page.evaluate("document.querySelector('nav').marked = true")
    titles = {page.title()}
    for name, path in NAVIGATION_LINKS:
        follow(page, name)
        expect_path(page, path)
        expect(page).to_have_title(re.compile(rf"^{name} "))
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        expect(page.locator("#nav nav [aria-current=page]")).to_have_text([name])
        titles.add(page.title())
    follow(page, "Devices")
    expect_path(page, "/devices")
    # The brand in the navigation is boosted in the same way as the other links.
    page.get_by_role("link", name=SITE_NAME, exact=True).click()
    expect_path(page, "/dashboard")
    expect(page.locator("#nav nav [aria-current=page]")).to_have_text(["Dashboard"])
    assert is_marked(page) and page.evaluate("document.querySelector('nav').marked")
    assert len(titles) == 3
    expect(page.locator("main")).to_have_count(1)
    expect(page.get_by_role("banner")).to_contain_text("Alice")


LOCAL_LINKS = (
    ("Access tokens", "/account/tokens", "Account"),
    ("Devices", "/devices", "Devices"),
    ("Activity", "/account/activity", "Account"),
)


def test_a_link_of_the_account_updates_both_navigations(alice: BrowserUser) -> None:
    page = alice.page
    page.goto("/account")
    mark(page)
    local = page.get_by_role("navigation", name="Account")
    for name, path, main_item in LOCAL_LINKS:
        local.get_by_role("link", name=name, exact=True).click()
        expect_path(page, path)
        expect_heading(page, name)
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        expect(local.locator("[aria-current=page]")).to_have_text([name])
        expect(page.locator("#nav [aria-current=page]")).to_have_text([main_item])
    assert is_marked(page)


@pytest.mark.parametrize("start", ["/account", "/account/activity"])
def test_email_and_password_lead_to_their_sections(alice: BrowserUser, start: str) -> None:
    page = alice.page
    page.set_viewport_size({"width": 1280, "height": 500})
    page.goto(start)
    mark(page)
    for name in ("Password", "Email"):
        local = page.get_by_role("navigation", name="Account")
        local.get_by_role("link", name=name, exact=True).click()
        expect(page).to_have_url(re.compile(f"/account#{name.lower()}$"))
        heading = page.get_by_role("heading", level=2, name=name, exact=True)
        expect(heading).to_be_focused()
        expect(heading).to_be_in_viewport()
    assert is_marked(page)


def test_back_and_forward_restore_pages(alice: BrowserUser) -> None:
    page = alice.page
    page.goto("/dashboard")
    for name, _ in NAVIGATION_LINKS[:2]:
        follow(page, name)
        expect_heading(page, name)
    steps = (
        (page.go_back, "Devices"),
        (page.go_back, re.compile("^Hello")),
        (page.go_forward, "Devices"),
    )
    for step, heading in steps:
        step()
        expect_heading(page, heading)
        # The navigation shows that this is the page and not its fragment.
        expect(page.locator("#nav nav")).to_be_visible()
    expect_path(page, "/devices")
    page.reload()
    expect_heading(page, "Devices")
    expect(page.locator("#nav nav [aria-current=page]")).to_have_text(["Devices"])


@pytest.mark.parametrize(
    "click", [{"modifiers": ["Control"]}, {"button": "middle"}], ids=["Ctrl", "middle button"]
)
def test_a_modified_click_opens_a_link_in_a_new_tab(alice: BrowserUser, click: dict) -> None:
    """htmx 4.0.1 handles these clicks itself unless the application prevents it."""
    page = alice.page
    page.goto("/dashboard")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Devices", exact=True).click(**click)
    expect_path(opened.value, "/devices")
    expect(opened.value.locator("#nav nav")).to_be_visible()
    expect_path(page, "/dashboard")


def test_a_new_page_is_scrolled_to_the_top(alice: BrowserUser) -> None:
    page = alice.page
    page.set_viewport_size({"width": 400, "height": 300})
    page.goto("/account")
    page.get_by_role("link", name="Handbook", exact=True).scroll_into_view_if_needed()
    assert page.evaluate("scrollY") > 200
    page.get_by_role("link", name="Handbook", exact=True).click()
    expect_heading(page, "Handbook")
    assert page.evaluate("scrollY") == 0


@pytest.mark.guide("A20")
def test_login_and_logout_load_a_new_document(alice: BrowserUser) -> None:
    page = alice.page
    page.context.clear_cookies()
    page.goto("/login")
    sent = listen(page)
    mark(page)
    log_in(page, alice.email)
    expect_path(page, "/dashboard")
    assert not is_marked(page)
    mark(page)
    log_out(page)
    expect_path(page, "/login")
    assert not is_marked(page)
    assert [path for path in sent.documents() if path in ("/dashboard", "/login")] == [
        "/dashboard",
        "/login",
    ]


@pytest.mark.asvs("S72")
def test_a_link_after_the_session_ended_leads_to_login_and_back(
    alice: BrowserUser, live: Live
) -> None:
    page = alice.page
    page.goto("/devices")
    live.end_sessions_of(alice.email)
    follow(page, "Account")
    expect(page).to_have_url(f"{live.url}/login?next=/devices&ended=1")
    expect(page.locator("main")).to_contain_text("You've been logged out on this device.")
    expect(page.locator("nav[aria-label=Main], #devices")).to_have_count(0)
    expect(page.locator("main")).to_have_count(1)
    log_in(page, alice.email)
    expect_path(page, "/devices")
    expect_heading(page, "Devices")


@pytest.mark.asvs("S72")
def test_a_form_after_the_session_ended_leads_to_login_and_back(
    alice: BrowserUser, live: Live
) -> None:
    page = alice.page
    page.goto("/account")
    live.end_sessions_of(alice.email)
    page.fill("#account-phone", "1")
    submit(page, "account-form")
    expect(page).to_have_url(re.compile(r"/login\?next=/account(&ended=1)?$"))
    log_in(page, alice.email)
    expect_path(page, "/account")


@pytest.mark.guide("D2")
def test_a_page_that_became_forbidden_is_shown_at_its_own_url(ada: BrowserUser, live: Live) -> None:
    page = ada.page
    live.create("Grace", "grace.keeps.the.keys@example.com", "admin")
    page.goto("/dashboard")
    live.change_role(ada.email, "user")
    follow(page, "People")
    expect_path(page, "/admin/users")
    expect_heading(page, "You don't have access to this page")
    expect(page).to_have_title(re.compile("^You don't have access to this page"))
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.go_back()
    expect(page.locator("[data-dashboard=user]")).to_be_visible()
    expect(page.get_by_role("link", name="People", exact=True)).to_have_count(0)


def test_a_missing_page_is_shown_at_its_own_url(alice: BrowserUser, live: Live) -> None:
    page = alice.page
    page.goto("/account")
    live.change(f"UPDATE users SET slug = slug || '-moved' WHERE email = '{alice.email}'")
    page.get_by_role("link", name="See your page").click()
    expect_heading(page, "Page not found")
    assert "/users/" in page.url
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_a_failed_page_load_shows_an_error_page(alice: BrowserUser, live: Live) -> None:
    page = alice.page
    page.goto("/dashboard")
    live.change("ALTER TABLE sessions RENAME COLUMN browser TO browsers")
    try:
        follow(page, "Devices")
        expect(page.locator("main")).to_contain_text(
            re.compile("Something went wrong on our side|We can't answer right now")
        )
        expect_path(page, "/devices")
    finally:
        live.change("ALTER TABLE sessions RENAME COLUMN browsers TO browser")
    page.get_by_role("link", name="Try again").click()
    expect_heading(page, "Devices")


def test_a_link_while_offline_shows_an_error_and_keeps_the_page(
    alice: BrowserUser, expected_errors: list[str]
) -> None:
    expected_errors += OFFLINE_ERRORS
    page = alice.page
    page.goto("/dashboard")
    page.context.set_offline(True)
    follow(page, "Devices")
    expect_summary(page, "You seem to be offline.")
    expect(page.locator("[data-dashboard]")).to_be_visible()
    expect_path(page, "/dashboard")


@pytest.mark.guide("B15")
@pytest.mark.asvs("S69")
@pytest.mark.parametrize("where", ["here", "everywhere, from another browser"])
def test_the_back_forward_cache_shows_no_private_page_after_logout(
    make_user: Callable[..., BrowserUser], live: Live, bfcache: Browser, where: str
) -> None:
    """Chromium keeps even `no-store` pages for Back as long as the cookies do not change."""
    alice = make_user("Alice", signed_up=True, by=bfcache)
    page = alice.page
    page.goto("/account")
    expect(page.locator("main")).to_contain_text(alice.email)
    if where == "here":
        log_out(page)
        expect_path(page, "/login")
    else:
        page.goto("/api/openapi.json")
        live.end_sessions_of(alice.email)
    page.evaluate("history.back()")
    expect_path(page, "/login")
    expect(page.locator("#login-form")).to_be_visible()
    settle(page, 200)
    assert alice.email not in page.content()


def log_in_as_bob(alice: BrowserUser, make_user: Callable[..., BrowserUser]) -> BrowserUser:
    """Logs Alice out and Bob in, in a second tab of Alice's browser."""
    bob, tab = make_user("Bob", signed_up=True), alice.page.context.new_page()
    tab.goto("/dashboard")
    log_out(tab)
    expect_path(tab, "/login")
    log_in(tab, bob.email)
    expect_path(tab, "/dashboard")
    return bob


def test_a_page_is_never_shown_under_the_name_of_another_user(
    alice: BrowserUser, make_user: Callable[..., BrowserUser]
) -> None:
    page = alice.page
    page.goto("/account")
    mark(page)
    log_in_as_bob(alice, make_user)
    follow(page, "Devices")
    expect_heading(page, "Devices")
    expect_path(page, "/devices")
    expect(page.get_by_role("banner")).to_contain_text("Bob")
    assert not is_marked(page)


def test_logout_in_a_document_of_another_user_ends_no_session(
    alice: BrowserUser, make_user: Callable[..., BrowserUser], live: Live
) -> None:
    page = alice.page
    page.goto("/account")
    bob = log_in_as_bob(alice, make_user)
    before = live.sessions_of(bob.email)
    log_out(page)
    expect(page.get_by_role("banner")).to_contain_text("Bob")
    expect_path(page, "/account")
    assert live.sessions_of(bob.email) == before
    log_out(page)
    expect_path(page, "/login")
    assert live.sessions_of(bob.email) == before - 1


def test_a_late_response_does_not_replace_a_newer_page(alice: BrowserUser, live: Live) -> None:
    page = alice.page
    page.goto("/dashboard")
    live.faults.inject("/devices", method="GET", before=1)
    with page.expect_request("**/devices"):
        follow(page, "Devices")
    follow(page, "Account")
    expect_heading(page, "Account")
    settle(page, 1_300)
    expect_heading(page, "Account")
    expect_path(page, "/account")


def test_back_restores_the_scroll_position(alice: BrowserUser) -> None:
    page = alice.page
    page.set_viewport_size({"width": 400, "height": 400})
    page.goto("/account")
    link = page.get_by_role("link", name="Handbook", exact=True)
    link.scroll_into_view_if_needed()
    position = page.evaluate("scrollY")
    assert position > 200
    link.click()
    expect_heading(page, "Handbook")
    page.go_back()
    expect_heading(page, "Account")
    page.wait_for_function("left => Math.abs(scrollY - left) < 40", arg=position)
    settle(page, 300)
    assert abs(page.evaluate("scrollY") - position) < 40


BAR = """() => {
    const style = getComputedStyle(document.documentElement, '::before');
    return style.content === 'none'
        ? null
        : [style.blockSize, style.animationName, style.animationDelay, style.position];
}"""


def current_links(page: Page) -> list[str]:
    return page.locator("#nav nav [aria-current=page]").all_inner_texts()


def test_a_clicked_link_is_marked_before_the_response(alice: BrowserUser, live: Live) -> None:
    page, response = alice.page, Event()
    page.goto("/dashboard")
    live.faults.inject("/account", method="GET", until=response)
    with page.expect_request("**/account"):
        follow(page, "Account")
    assert current_links(page) == ["Account"]
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    expect(page.locator("[data-dashboard]")).to_be_visible()
    response.set()
    expect_heading(page, "Account")
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")
    assert current_links(page) == ["Account"]


def test_the_newest_of_two_clicked_links_is_marked(alice: BrowserUser, live: Live) -> None:
    page, response = alice.page, Event()
    page.goto("/dashboard")
    for name, path in (("Devices", "/devices"), ("Account", "/account")):
        live.faults.inject(path, method="GET", until=response)
        with page.expect_request(f"**{path}"):
            follow(page, name)
        assert current_links(page) == [name]
    settle(page, 200)
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    response.set()
    expect_heading(page, "Account")
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")
    assert current_links(page) == ["Account"]


def test_the_mark_returns_if_the_page_cannot_be_loaded(
    alice: BrowserUser, expected_errors: list[str]
) -> None:
    expected_errors += OFFLINE_ERRORS
    page = alice.page
    page.goto("/dashboard")
    page.context.set_offline(True)
    follow(page, "Devices")
    expect_summary(page, "You seem to be offline.")
    expect(page.locator("#nav nav [aria-current=page]")).to_have_text(["Dashboard"])
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")


def test_a_link_of_the_account_navigation_is_marked_too(alice: BrowserUser, live: Live) -> None:
    page, response = alice.page, Event()
    page.goto("/account/activity")
    marked = page.locator("nav.local [aria-current=page]")
    expect(marked).to_have_text(["Activity"])
    live.faults.inject("/account/data", method="GET", until=response)
    page.locator("nav.local").get_by_role("link", name="Data", exact=True).click()
    expect(marked).to_have_text(["Data"])
    assert current_links(page) == ["Account"]
    response.set()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Activity")
    expect(marked).to_have_text(["Data"])
    assert current_links(page) == ["Account"]


@pytest.mark.parametrize("what", ["link", "form"])
def test_a_bar_moves_at_the_top_during_a_slow_request(
    alice: BrowserUser, live: Live, what: str
) -> None:
    page, response = alice.page, Event()
    page.goto("/account")
    assert page.evaluate(BAR) is None
    live.faults.inject("/account", method="POST" if what == "form" else "GET", until=response)
    if what == "form":
        submit(page, "account-form")
    else:
        follow(page, "Account")
    busy = page.locator("[aria-busy=true]")
    expect(busy).to_have_count(1)
    assert page.evaluate(BAR) == ["3px", "pass", "0.3s", "fixed"]
    moved = page.evaluate(
        """() => document.getAnimations().filter(({animationName}) => animationName === 'pass')
            .flatMap(animation => animation.effect.getKeyframes().flatMap(Object.keys))
            .filter(name => !['offset', 'computedOffset', 'easing', 'composite'].includes(name))"""
    )
    assert set(moved) == {"transform"}
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(BAR)[:2] == ["3px", "none"]
    response.set()
    expect(busy).to_have_count(0)
    assert page.evaluate(BAR) is None
