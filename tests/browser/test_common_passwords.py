"""Tests that the password field refuses common passwords and passwords made of the user's data."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.steps import (
    button_of,
    error_of,
    expect_path,
    expect_summary,
    expect_toast,
    fill_sign_up,
    focused,
    leave,
    listen,
    met_rules,
    submit,
    type_in,
)
from tests.browser_client import PASSWORD
from web.forms.fields import TOO_CLOSE, TOO_COMMON

ALL_RULES = ["length", "letter", "number", "special"]


@pytest.mark.asvs("S45")
@pytest.mark.guide("A13")
def test_common_password_error_appears_on_blur_and_clears_while_typing(
    page: Page,
) -> None:
    page.goto("/signup")
    type_in(page, "password", "Passw0rd!")
    assert met_rules(page) == ALL_RULES
    leave(page, "password")
    expect(error_of(page, "password")).to_contain_text(TOO_COMMON)
    expect(error_of(page, "password")).to_be_visible()
    assert met_rules(page) == ALL_RULES
    expect(page.locator("#password")).to_have_value("Passw0rd!")
    expect(button_of(page, "signup-form")).to_be_enabled()
    page.focus("#password")
    page.keyboard.press("End")
    page.keyboard.type(" of the lighthouse")
    expect(page.locator("#password")).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#password-message")).to_be_empty()
    assert focused(page) == "password"


@pytest.mark.asvs("S45")
def test_a_password_made_of_the_users_name_is_an_error_on_blur(page: Page) -> None:
    page.goto("/signup")
    sent = listen(page)
    fill_sign_up(page, "Alice Marrowby", "alice@example.com", "Marrowby-7!")
    leave(page, "password")
    expect(error_of(page, "password")).to_contain_text(TOO_CLOSE)
    (fields,) = sent.posts("/signup/check/password")
    assert fields == {
        "name": "Alice Marrowby",
        "email": "alice@example.com",
        "password": "Marrowby-7!",
    }


@pytest.mark.asvs("S45", "S48")
def test_sign_up_refuses_a_common_password_and_accepts_another(charlie: BrowserUser) -> None:
    page = charlie.page
    page.goto("/signup")
    fill_sign_up(page, "Charlie", charlie.email, "Passw0rd!")
    submit(page)
    expect_summary(page, TOO_COMMON)
    expect(error_of(page, "password")).to_contain_text(TOO_COMMON)
    assert charlie.live.accounts_of(charlie.email) == 0
    page.click("#error-summary a")
    assert focused(page) == "password"
    page.fill("#password", PASSWORD)
    submit(page)
    expect_path(page, "/dashboard")


@pytest.mark.asvs("S45")
def test_a_password_change_refuses_a_common_password(alice: BrowserUser) -> None:
    page = alice.page
    page.goto("/account")
    page.fill("#password-current_password", PASSWORD)
    page.fill("#password-password", "Passw0rd!")
    submit(page, "password-form")
    expect(error_of(page, "password-password")).to_contain_text(TOO_COMMON)
    page.fill("#password-current_password", PASSWORD)
    page.fill("#password-password", "the kettle sings at No.7")
    submit(page, "password-form")
    expect_toast(page, "Password changed")
