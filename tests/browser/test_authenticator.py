"""Tests of the authenticator app in Chromium: a phone scans the QR code from the page."""

from collections.abc import Callable
from datetime import UTC, datetime

import pyotp
import pytest
from playwright.sync_api import expect

from tests.browser.authenticators import key_of, scan_qr_code
from tests.browser.conftest import BrowserUser
from tests.browser.pages import assert_accessible, overflowing

PAGE = "/account/authenticator"


def current_code(uri: str) -> str:
    return pyotp.TOTP(key_of(uri)).at(datetime.now(UTC))


@pytest.mark.parametrize("has_javascript", [True, False])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scans_the_qr_code_and_its_code_is_accepted(
    make_user: Callable[..., BrowserUser], has_javascript: bool, scheme: str
) -> None:
    alice = make_user("Alice", java_script_enabled=has_javascript, color_scheme=scheme)
    alice.sign_up()
    page = alice.page
    page.goto(PAGE)
    uri = scan_qr_code(page)
    assert uri == page.locator("a[href^=otpauth]").get_attribute("href")
    key = page.locator("[data-totp-key]").inner_text().replace(" ", "")
    assert key_of(uri) == key
    page.fill("#code", current_code(uri))
    page.click("#totp-form button.primary")
    expect(page.locator("#saved-message")).to_contain_text("Save the codes, then tick this box.")
    assert scan_qr_code(page) == uri  # The app that has scanned it keeps working.
    page.check("#saved")
    page.fill("#code", current_code(uri))
    page.click("#totp-form button.primary")
    page.wait_for_url("**/account/security")
    expect(page.locator(".flash")).to_contain_text("Authenticator app set up.")


def test_the_page_is_accessible_at_every_width(alice: BrowserUser) -> None:
    page = alice.page
    page.goto(PAGE)
    assert_accessible(page)
    page.set_viewport_size({"width": 320, "height": 700})
    assert overflowing(page) == []
    page.click("#totp-form button.primary")
    expect(page.locator("#error-summary")).to_be_focused()
    assert_accessible(page)


def test_the_codes_are_downloaded_as_a_file(alice: BrowserUser) -> None:
    page = alice.page
    page.goto(PAGE)
    codes = page.locator("[data-code]").all_inner_texts()
    with page.expect_download() as download:
        page.click("a[download]")
    assert download.value.suggested_filename == "latchkey-recovery-codes.txt"
    assert download.value.path().read_text().splitlines()[2:] == codes
