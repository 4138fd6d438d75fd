"""Tests of the devices and account pages in a browser."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live
from tests.browser.pages import assert_accessible
from tests.browser.steps import (
    answer_dialog,
    expect_path,
    expect_summary,
    expect_toast,
    focused,
    follow,
    is_marked,
    leave,
    mark,
    settle,
    submit,
)
from tests.browser_client import FIREFOX, IPHONE, PASSWORD

OTHER_DEVICES = "[data-device]:not([data-current=true])"
REVOKE_OTHERS = 'form[action$="/devices/revoke-others"] button'
REVOKE_ALL = 'form[action$="/devices/revoke-all"] button'


@pytest.mark.guide("C7")
def test_revoking_a_device_updates_the_list_and_count_in_place(alice: BrowserUser) -> None:
    page = alice.page
    alice.in_second_browser(user_agent=IPHONE)
    alice.in_second_browser()
    page.goto("/devices")
    mark(page)
    expect(page.locator("#device-count")).to_have_text("3")
    button = page.locator(OTHER_DEVICES, has_text="iPhone").get_by_role("button")
    assert "Safari on iPhone" in button.inner_text()  # The accessible name contains the device.
    button.click()
    expect(page.locator("#device-count")).to_have_text("2")
    expect(page.locator("[data-device]")).to_have_count(2)
    expect(page.locator("#devices")).not_to_contain_text("iPhone")
    expect_toast(page, "logged out")
    assert is_marked(page) and focused(page) != "body"
    follow(page, "Dashboard")
    expect(page.locator("main")).to_contain_text("2 devices")


def test_the_current_device_is_labeled_and_has_no_revoke_button(
    alice: BrowserUser,
) -> None:
    alice.in_second_browser()
    alice.page.goto("/devices")
    current = alice.page.locator("[data-device][data-current=true]")
    expect(current).to_have_count(1)
    expect(current).to_contain_text("This device")
    expect(current.get_by_role("button")).to_have_count(0)


def test_all_other_devices_are_revoked_after_confirmation(alice: BrowserUser, live: Live) -> None:
    alice.in_second_browser()
    alice.in_second_browser()
    alice.page.goto("/devices")
    alice.page.locator(REVOKE_OTHERS).click()
    answer_dialog(alice.page, "Cancel")
    settle(alice.page, 300)
    assert live.sessions_of(alice.email) == 3
    alice.page.locator(REVOKE_OTHERS).click()
    answer_dialog(alice.page, "Log out 2 other devices")
    expect(alice.page.locator("[data-device]")).to_have_count(1)
    expect_toast(alice.page, "2 other devices logged out.")
    assert focused(alice.page) != "body"
    assert live.sessions_of(alice.email) == 1


@pytest.mark.guide("C8")
def test_log_out_everywhere_needs_confirmation_and_can_be_canceled(
    alice: BrowserUser, live: Live
) -> None:
    phone, page = alice.in_second_browser(), alice.page
    phone.page.goto("/dashboard")
    page.goto("/devices")
    page.locator(REVOKE_ALL).click()
    assert "2 sessions" in answer_dialog(page, "Cancel")
    settle(page, 300)
    expect_path(page, "/devices")
    assert live.sessions_of(alice.email) == 2
    page.locator(REVOKE_ALL).click()
    answer_dialog(page, "Log out everywhere")
    expect_path(page, "/login")
    assert live.sessions_of(alice.email) == 0
    phone.page.reload()
    expect_path(phone.page, "/login")
    page.go_back()
    expect_path(page, "/login")


@pytest.mark.asvs("S102")
def test_a_double_click_revokes_one_device(alice: BrowserUser, live: Live) -> None:
    """After the first click the list moves up, so that the button of another device lies under the
    pointer.
    """
    live.log_in(alice.email, IPHONE, times=3)
    page = alice.page
    page.goto("/devices")
    box = page.locator(OTHER_DEVICES).first.get_by_role("button").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    settle(page, 250)  # This is the interval of a manual double click.
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)
    settle(page, 300)
    assert live.sessions_of(alice.email) == 3


def test_revoking_an_ended_device_shows_an_error(alice: BrowserUser, live: Live) -> None:
    alice.in_second_browser()
    page = alice.page
    page.goto("/devices")
    ended = page.locator(OTHER_DEVICES).get_attribute("data-device")
    live.change(f"DELETE FROM sessions WHERE id = '{ended}'")
    page.locator(OTHER_DEVICES).get_by_role("button").click()
    expect_summary(page, "That's no longer there.")
    expect(page.get_by_role("heading", level=1)).to_have_text("Devices")


def test_times_are_in_the_time_zone_of_the_browser(make_user: Callable[..., BrowserUser]) -> None:
    zone = "Asia/Kolkata"
    alice = make_user("Alice", signed_up=True, timezone_id=zone)
    for path in ("/devices", "/dashboard"):
        alice.page.goto(path)
        for style, timestamp, text in alice.page.locator("main time").evaluate_all(
            "all => all.map(time => [time.dataset.time, time.dateTime, time.textContent])"
        ):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", timestamp)
            assert "UTC" not in text
            if style == "when":
                assert (
                    datetime.fromisoformat(timestamp).astimezone(ZoneInfo(zone)).strftime("%H:%M")
                    in text
                )


def test_times_are_labeled_utc_without_javascript(make_user: Callable[..., BrowserUser]) -> None:
    alice = make_user(
        "Alice", signed_up=True, java_script_enabled=False, timezone_id="Asia/Kolkata"
    )
    alice.page.goto("/devices")
    expect(alice.page.locator("time[data-time=when]").first).to_contain_text("UTC")


def test_a_long_device_list_can_be_filtered(alice: BrowserUser, live: Live) -> None:
    live.log_in(alice.email, FIREFOX, times=9)
    live.log_in(alice.email, IPHONE)
    alice.page.goto("/devices")
    alice.page.get_by_role("searchbox").fill("iphone")
    expect(alice.page.locator("[data-device]:visible")).to_have_count(1)
    expect(alice.page.locator("[data-device]:visible")).to_contain_text("Safari on iPhone")
    expect(alice.page.get_by_text("1 of 11 shown")).to_be_visible()


def test_a_device_filter_without_matches_can_be_cleared(alice: BrowserUser, live: Live) -> None:
    live.log_in(alice.email, FIREFOX, times=9)
    page = alice.page
    page.goto("/devices")
    page.get_by_role("searchbox").fill("nokia")
    expect(page.locator("[data-device]:visible")).to_have_count(0)
    expect(page.get_by_text("No device matches “nokia”.")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Clear the filter").click()
    expect(page.locator("[data-device]:visible")).to_have_count(10)
    expect(page.get_by_role("searchbox")).to_have_value("")
    assert focused(page) == "device-filter"


def test_focus_moves_to_the_next_device_after_a_revocation(alice: BrowserUser, live: Live) -> None:
    live.log_in(alice.email, FIREFOX, times=3)
    page = alice.page
    page.goto("/devices")
    others = page.locator(OTHER_DEVICES).evaluate_all("all => all.map(row => row.dataset.device)")
    # The second device to be removed is the last one, so that the focus moves to the one before it.
    for ended, next_one in ((others[1], others[2]), (others[2], others[0])):
        page.locator(f'[data-device="{ended}"] button').press("Enter")
        expect(page.locator(f'[data-device="{ended}"]')).to_have_count(0)
        expect(page.locator(f'[data-device="{next_one}"] button')).to_be_focused()
    page.locator(f'[data-device="{others[0]}"] button').press("Enter")
    expect(page.locator("[data-device]")).to_have_count(1)
    assert page.evaluate("document.activeElement.matches('[data-land]')")


def test_revoking_others_needs_confirmation_without_javascript(
    make_user: Callable, live: Live
) -> None:
    alice = make_user("Alice", signed_up=True, java_script_enabled=False)
    live.log_in(alice.email, FIREFOX, times=2)
    page = alice.page
    page.goto("/devices")
    page.locator(REVOKE_OTHERS).click()
    expect(page.get_by_role("heading", name="Log out 2 other devices?")).to_be_visible()
    assert live.sessions_of(alice.email) == 3
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator("[data-device]")).to_have_count(3)
    page.locator(REVOKE_OTHERS).click()
    page.get_by_role("button", name="Log out 2 devices").click()
    expect(page.get_by_role("status").first).to_have_text("Your other devices are logged out.")
    assert live.sessions_of(alice.email) == 1


def test_relative_times_use_the_clock_of_the_server(alice: BrowserUser) -> None:
    phone = alice.in_second_browser()
    for hours in (-30, 5):
        phone.page.clock.set_system_time(datetime.now() + timedelta(hours=hours))
        phone.page.goto("/devices")
        expect(phone.page.locator(OTHER_DEVICES).locator("time").first).to_have_text("just now")
        expect(phone.page.locator(OTHER_DEVICES).locator("time").last).to_contain_text("today at")


def test_a_field_is_not_announced_as_invalid_before_its_check(
    page: Page, alice: BrowserUser
) -> None:
    page.goto("/signup")
    page.locator("#email").press_sequentially("charlie@")
    for field in ("name", "email", "password"):
        expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "false")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    states = [
        found["value"]["value"]
        for node in tree["nodes"]
        if node.get("role", {}).get("value") == "textbox"
        for found in node["properties"]
        if found["name"] == "invalid"
    ]
    assert states == ["false"] * 3
    alice.page.goto("/account")
    for field in ("account-name", "account-slug", "password-password"):
        expect(alice.page.locator(f"#{field}")).to_have_attribute("aria-invalid", "false")


def test_a_new_name_appears_in_the_navigation(alice: BrowserUser) -> None:
    page = alice.page
    page.goto("/account")
    mark(page)
    page.fill("#account-name", "Alice Grace")
    submit(page, "account-form")
    expect(page.get_by_role("banner")).to_contain_text("Alice Grace")
    expect_toast(page, "Profile saved.")
    assert is_marked(page) and focused(page) != "body"
    follow(page, "Dashboard")
    expect(page.locator("[data-viewer-name]")).to_have_text("Alice Grace")


def test_a_password_change_clears_the_fields_and_counts_ended_devices(
    alice: BrowserUser, live: Live
) -> None:
    alice.in_second_browser()
    page = alice.page
    page.goto("/account")
    assert (
        page.locator("#password-form [autocomplete=username]").get_attribute("value") == alice.email
    )
    page.fill("#password-current_password", "not-the-1-of-hers")
    page.fill("#password-password", "another engine No.8")
    submit(page, "password-form")
    expect(page.locator("#error-summary")).to_contain_text("This is not your current password.")
    expect(page.locator("#password-password")).to_have_value("another engine No.8")
    assert live.sessions_of(alice.email) == 2
    page.fill("#password-current_password", PASSWORD)
    submit(page, "password-form")
    expect_toast(page, "Password changed. 1 other device was logged out.")
    for field in ("current_password", "password"):
        expect(page.locator(f"#password-{field}")).to_have_value("")
    expect(page.locator("#error-summary")).to_have_count(0)
    assert live.sessions_of(alice.email) == 1
    # The session cookie was replaced, and the next form must work with the new one.
    page.fill("#account-phone", "020")
    leave(page, "account-phone")
    submit(page, "account-form")
    expect_toast(page, "Profile saved.")
