"""Tests of the list of users and of the page of one user in a browser, for administrators."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live
from tests.browser.pages import assert_accessible
from tests.browser.steps import (
    answer_dialog,
    expect_heading,
    expect_path,
    expect_toast,
    focused,
    follow,
    is_marked,
    mark,
)
from tests.browser_client import IPHONE

ROW_PX = 52


def test_user_search_keeps_focus_and_caret(
    ada: BrowserUser, alice: BrowserUser, live: Live
) -> None:
    page = ada.page
    page.goto("/admin/users")
    mark(page)
    page.focus("#q")
    page.keyboard.type(alice.email.removeprefix("a"), delay=10)
    page.keyboard.press("Home")
    page.keyboard.type("a")
    expect(page.locator("#users [data-user]")).to_have_count(1)
    expect(page.locator(f'#users [data-user="{live.id_of(alice.email)}"]')).to_contain_text(
        alice.email
    )
    expect(page.locator("#q")).to_have_value(alice.email)
    assert is_marked(page) and focused(page) == "q"
    assert page.evaluate("document.activeElement.selectionStart") == 1
    assert "q=" in page.url
    page.reload()
    expect(page.locator("#users [data-user]")).to_have_count(1)


def test_a_user_search_without_results_says_so(ada: BrowserUser) -> None:
    ada.page.goto("/admin/users")
    ada.page.fill("#q", "nobody at all")
    expect(ada.page.locator("#users")).to_have_count(0)
    expect(ada.page.get_by_role("status").filter(has_text="Nobody")).to_be_visible()


def test_the_filters_work_live_and_without_javascript(
    make_user: Callable, live: Live, javascript: bool
) -> None:
    ada = make_user("Ada", admin=True, java_script_enabled=javascript)
    live.create("Filter One", f"filter-one-{javascript}@example.com")
    live.create("Filter Two", f"filter-two-{javascript}@example.com", "admin")
    page = ada.page
    page.goto(f"/admin/users?q=-{javascript}@")
    expect(page.locator("#users [data-user]")).to_have_count(2)
    page.get_by_label("Role").select_option("admin")
    if not javascript:
        page.get_by_role("button", name="Search").click()
    expect(page.locator("#users [data-user]")).to_have_count(1)
    expect(page.locator("#users")).to_contain_text("Filter Two")
    page.get_by_label("State").select_option("disabled")
    if not javascript:
        page.get_by_role("button", name="Search").click()
    expect(page.locator("#result-list")).to_contain_text("The role is Administrator.")
    assert "role=admin" in page.url and "state=disabled" in page.url
    page.get_by_role("link", name="Clear the filters").click()
    expect(page.get_by_label("Role")).to_have_value("")
    expect(page.locator("#users [data-user]")).not_to_have_count(0)


def test_a_head_sorts_the_list_and_keeps_the_focus_and_the_search(
    ada: BrowserUser, live: Live
) -> None:
    for name in ("Sort Anna", "Sort Bert"):
        live.create(name, f"{name[5:].lower()}.sorted@example.com")
    page = ada.page
    page.goto("/admin/users?q=.sorted@")
    mark(page)
    rows = page.locator("#users [data-user]")
    for direction, first in (("ascending", "Sort Anna"), ("descending", "Sort Bert")):
        page.get_by_role("columnheader").get_by_role("link", name="Name").click()
        expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", direction)
        expect(rows.first).to_contain_text(first)
        assert is_marked(page) and focused(page) == "sort-name"
    page.fill("#q", "anna.sorted@")
    expect(rows).to_have_count(1)
    assert "sort=-name" in page.url
    assert_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rows_have_52_px_at_every_width_of_a_table(
    make_user: Callable, live: Live, scheme: str
) -> None:
    ada = make_user("Ada", admin=True, color_scheme=scheme)
    long = "Maximiliana Konstantinopolitanska-Hohenzollern von und zu Liechtenstein"
    live.create(long, f"{scheme}.rows@a-long-subdomain.of.the-company.example.com")
    live.create("محمد عبد الرحمن الخطيب", f"{scheme}2.rows@example.com")
    live.change(
        f"UPDATE users SET team = '{long[:40]}', delete_at = created_at WHERE email LIKE '{scheme}%.rows@%'"
    )
    page = ada.page
    page.goto("/admin/users?q=.rows@")
    for width in (1280, 1024, 860):
        page.set_viewport_size({"width": width, "height": 700})
        heights = page.evaluate(
            "[...document.querySelectorAll('tbody tr')].map(row => row.getBoundingClientRect().height)"
        )
        assert heights and all(abs(height - ROW_PX) <= 1 for height in heights), (width, heights)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_anywhere_in_a_row_opens_the_page_of_the_user(
    ada: BrowserUser, alice: BrowserUser, live: Live
) -> None:
    page, user_id = ada.page, live.id_of(alice.email)
    page.goto(f"/admin/users?q={alice.email}")
    mark(page)
    page.locator(f'[data-user="{user_id}"] td').last.click(force=True)
    expect_heading(page, "Alice")
    expect_path(page, f"/admin/users/{user_id}")
    assert is_marked(page) and focused(page) == "h1"
    page.get_by_role("link", name="Back to People").click()
    expect(page.locator("#q")).to_have_value(alice.email)


def test_a_role_change_is_visible_to_admin_and_user_and_can_be_undone(
    ada: BrowserUser, alice: BrowserUser, live: Live
) -> None:
    alice.page.goto("/dashboard")
    page = ada.page
    page.goto(f"/admin/users/{live.id_of(alice.email)}")
    mark(page)
    page.get_by_label("Role").select_option("admin")
    page.get_by_role("button", name="Save role").click()
    expect_toast(page, "Alice now has the role Administrator.")
    expect(page.locator("#person")).to_have_attribute("data-role", "admin")
    assert is_marked(page) and focused(page) != "body"
    assert_accessible(page)
    follow(alice.page, "Devices")
    expect(alice.page.get_by_role("link", name="People", exact=True)).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect_toast(page, "Alice now has the role User.")
    expect(page.locator("#person")).to_have_attribute("data-role", "user")
    assert is_marked(page) and focused(page) == "h1"


def test_an_undo_works_after_the_page_was_left(
    ada: BrowserUser, alice: BrowserUser, live: Live
) -> None:
    page = ada.page
    page.goto(f"/admin/users/{live.id_of(alice.email)}")
    page.get_by_label("Team").fill("Harbour")
    page.get_by_role("button", name="Save team").click()
    expect_toast(page, "Alice is now in the team Harbour.")
    follow(page, "People")
    page.get_by_role("button", name="Undo").click()
    expect_heading(page, "Alice")
    expect(page.locator(".flash")).to_have_text("Alice is now in no team.")
    assert live.rows(f"SELECT team FROM users WHERE email = '{alice.email}'") == [("",)]


def test_an_undo_on_the_page_of_another_user_opens_the_page_of_its_own(
    ada: BrowserUser, alice: BrowserUser, live: Live
) -> None:
    live.create("Bob Undo", "bob-undo@example.com")
    page = ada.page
    page.goto(f"/admin/users/{live.id_of(alice.email)}")
    page.get_by_label("Team").fill("Harbour")
    page.get_by_role("button", name="Save team").click()
    expect_toast(page, "Alice is now in the team Harbour.")
    follow(page, "People")
    page.get_by_role("link", name="Bob Undo").click()
    expect_heading(page, "Bob Undo")
    page.get_by_role("button", name="Undo").click()
    expect_heading(page, "Alice")
    expect_path(page, f"/admin/users/{live.id_of(alice.email)}")


def test_an_undo_after_another_change_says_that_nothing_was_changed(
    ada: BrowserUser, alice: BrowserUser, live: Live
) -> None:
    page = ada.page
    page.goto(f"/admin/users/{live.id_of(alice.email)}")
    page.get_by_label("Team").fill("Harbour")
    page.get_by_role("button", name="Save team").click()
    expect_toast(page, "Harbour")
    live.change(f"UPDATE users SET team = 'Bridge' WHERE email = '{alice.email}'")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#error-summary")).to_contain_text("Nothing was changed.")
    assert live.rows(f"SELECT team FROM users WHERE email = '{alice.email}'") == [("Bridge",)]


def test_an_admin_logs_out_one_device_of_a_user(
    ada: BrowserUser, alice: BrowserUser, live: Live
) -> None:
    alice.page.goto("/dashboard")
    phone = alice.in_second_browser(user_agent=IPHONE)
    page = ada.page
    page.goto(f"/admin/users/{live.id_of(alice.email)}")
    expect(page.locator("[data-device]")).to_have_count(2)
    page.get_by_role("button", name="Log out Safari on iPhone").click()
    expect(page.locator("[data-device]")).to_have_count(1)
    expect_toast(page, "Alice is logged out on that device.")
    assert focused(page) != "body"
    phone.page.goto("/dashboard")
    expect_path(phone.page, "/login")
    follow(alice.page, "Account")
    expect_path(alice.page, "/account")


@pytest.mark.asvs("S33")
def test_a_name_with_a_question_mark_does_not_end_the_question(
    ada: BrowserUser, live: Live
) -> None:
    live.create("Mallory? All is well.", "mallory-question@example.com")
    page = ada.page
    page.goto(f"/admin/users/{live.id_of('mallory-question@example.com')}")
    page.get_by_role("button", name="Disable the account").click()
    question = page.get_by_role("dialog").get_by_role("heading")
    expect(question).to_have_text(
        re.compile("^Disable the account of .?Mallory\\? All is well\\..?\\?$")
    )
    answer_dialog(page, "Cancel")


def test_an_account_is_disabled_after_a_question_also_without_javascript(
    make_user: Callable, alice: BrowserUser, live: Live, javascript: bool
) -> None:
    alice.page.goto("/dashboard")
    ada = make_user("Ada", admin=True, java_script_enabled=javascript)
    page = ada.page
    page.goto(f"/admin/users/{live.id_of(alice.email)}")
    disable = page.get_by_role("button", name="Disable the account")
    if javascript:
        disable.click()
        answer_dialog(page, "Cancel")
        expect(disable).to_be_visible()
    disable.click()
    if javascript:
        assert "Alice" in answer_dialog(page, "Disable the account")
        expect_toast(page, "The account of Alice is disabled and logged out everywhere.")
    else:
        expect(page.locator(".flash")).to_have_text(
            "The account of Alice is disabled and logged out everywhere."
        )
    expect(page.get_by_role("button", name="Enable the account")).to_be_visible()
    expect_path(page, f"/admin/users/{live.id_of(alice.email)}")
    assert live.sessions_of(alice.email) == 0
    follow(alice.page, "Account")
    expect_path(alice.page, "/login")
