"""Tests of the activity page and of the audit log in a browser, with JavaScript and without."""

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live
from tests.browser.steps import (
    expect_heading,
    expect_path,
    focused,
    follow,
    is_marked,
    listen,
    mark,
    settle,
)


@pytest.fixture
def new_user(make_user: Callable[..., BrowserUser], javascript: bool) -> Callable[..., BrowserUser]:
    """Creates users with JavaScript enabled or disabled."""
    return lambda name, **options: make_user(name, java_script_enabled=javascript, **options)


def guess(live: Live, email: str) -> None:
    """Attempts to log in with a wrong password."""
    answer = httpx.post(
        f"{live.url}/login", data={"email": email, "password": "not-the-1-password"}
    )
    assert answer.status_code == 422


@pytest.mark.asvs("S110", "S91")
def test_activity_shows_failed_logins_and_advice(new_user: Callable, live: Live) -> None:
    alice = new_user("Alice", signed_up=True)
    guess(live, alice.email)
    alice.page.goto("/account")
    alice.page.get_by_role("navigation", name="Account").get_by_text("Activity").click()
    expect_path(alice.page, "/account/activity")
    expect_heading(alice.page, "Activity")
    entries = alice.page.locator("#activity > li")
    expect(entries.locator("h3")).to_have_text(
        [
            re.compile("^Someone tried to log in to your account Refused$"),
            "You created your account",
        ]
    )
    expect(entries.first).to_contain_text("127.0.0.1")
    alice.page.get_by_role("link", name="change your password").click()
    expect(alice.page).to_have_url(re.compile(r"/account#password$"))


@pytest.mark.asvs("S110")
def test_an_admin_filters_the_audit_log_by_user_and_outcome(new_user: Callable, live: Live) -> None:
    alice, ada = new_user("Alice", signed_up=True), new_user("Ada", admin=True)
    guess(live, alice.email)
    ada.page.goto("/dashboard")
    follow(ada.page, "Audit")
    expect_heading(ada.page, "Audit")
    ada.page.fill("#q", alice.email)
    ada.page.select_option("#event", "login")
    ada.page.select_option("#outcome", "refused")
    ada.page.get_by_role("button", name="Search").click()
    rows = ada.page.locator("#audit [data-entry]")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Not logged in")
    expect(rows).to_contain_text("Alice")
    expect(ada.page.locator("#event")).to_have_value("login")
    expect(ada.page).to_have_url(re.compile("event=login&outcome=refused"))
    rows.get_by_role("link", name="Alice").click()
    expect(ada.page.get_by_text("By or about")).to_be_visible()
    expect(ada.page.locator("#q")).to_have_value("")
    expect(ada.page.locator("#event")).to_have_value("login")
    ada.page.get_by_role("link", name="Profile and actions").click()
    expect_heading(ada.page, "Alice")


def test_the_filters_by_person_and_day_stay_while_searching(
    new_user: Callable, live: Live, javascript: bool
) -> None:
    alice, ada = new_user("Alice", signed_up=True), new_user("Ada", admin=True)
    page = ada.page
    page.goto("/admin/audit")
    page.fill("#from", "2026-01-01")
    if not javascript:
        page.get_by_role("button", name="Search").click()
    expect(page).to_have_url(re.compile("from=2026-01-01"))
    page.locator("#audit").get_by_role("link", name=alice.name, exact=True).first.click()
    expect(page).to_have_url(re.compile("from=2026-01-01&person="))
    rows = page.locator("#audit tbody tr")
    expect(rows).to_have_count(1)
    page.select_option("#outcome", "refused")
    if not javascript:
        page.get_by_role("button", name="Search").click()
    expect(page.locator("#result-list")).to_contain_text("No entries match these filters.")
    page.get_by_role("link", name="Remove this filter").click()
    expect(page).not_to_have_url(re.compile("person="))
    expect(page).to_have_url(re.compile("outcome=refused&from=2026-01-01"))
    expect(page.locator("#from")).to_have_value("2026-01-01")


def test_an_export_is_saved_as_a_file(new_user: Callable) -> None:
    page = new_user("Ada", admin=True).page
    page.goto("/admin/audit?event=login")
    for link, suffix in (("CSV", "csv"), ("JSON lines", "jsonl")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        assert re.fullmatch(
            rf"audit-\d{{4}}-\d\d-\d\d\.{suffix}", download.value.suggested_filename
        )
        assert '"login"' in download.value.path().read_text() or suffix == "csv"
    expect_heading(page, "Audit")


def test_audit_search_updates_while_typing_and_keeps_the_caret(
    ada: BrowserUser, alice: BrowserUser
) -> None:
    page = ada.page
    page.goto("/admin/audit")
    mark(page)
    sent = listen(page)
    page.locator("#q").press_sequentially(alice.email, delay=15)
    rows = page.locator("#audit [data-entry]")
    expect(rows).to_have_count(1)
    expect(page.locator("#result-list [role=status]")).to_contain_text("Entry 1.")
    assert (focused(page), is_marked(page), len(sent.fetched())) == ("q", True, 1)
    page.fill("#q", "nobody at all")
    expect(page.locator("#result-list")).to_contain_text("No entries match these filters.")
    page.get_by_role("link", name="Clear the filters").click()
    expect(rows).not_to_have_count(0)
    settle(page)
    expect(page.locator("#q")).to_have_value("")
    assert is_marked(page)


def test_activity_pages_swap_in_place_and_back_restores_them(
    alice: BrowserUser, live: Live
) -> None:
    for number in range(30):
        alice.page.request.post("/account", form={"phone": str(number)}, max_redirects=0)
    page = alice.page
    page.goto("/account/activity")
    mark(page)
    page.get_by_role("link", name="Older entries").click()
    expect(page).to_have_url(re.compile(r"/account/activity\?page=2$"))
    expect(page.locator("#activity > li")).to_have_count(6)
    assert (page.evaluate("document.activeElement.localName"), is_marked(page)) == ("h1", True)
    expect(page.locator("#activity")).to_have_attribute("start", "26")
    page.get_by_role("link", name="Newer entries").click()
    expect(page.locator("#activity > li")).to_have_count(25)
    page.go_back()
    expect(page.locator("#activity > li")).to_have_count(6)
