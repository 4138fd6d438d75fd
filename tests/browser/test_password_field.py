"""Tests of the password field: its rules, its visibility toggle and password managers."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live
from tests.browser.steps import (
    expect_path,
    expect_summary,
    fill_sign_up,
    focused,
    leave,
    listen,
    log_in,
    message_of,
    met_rules,
    record,
    recorded_texts,
    settle,
    submit,
    type_in,
)
from tests.browser_client import PASSWORD

SUMMARY = ".field:has(#password-rules) [role=status]:has-text('requirements met')"


@pytest.mark.guide("A13")
def test_password_rules_update_per_key_without_a_request(page: Page) -> None:
    page.goto("/signup")
    sent = listen(page)
    expect(page.locator("#main")).to_contain_text("Password must:")
    page.focus("#password")
    for key, met in (
        ("a", ["letter"]),
        ("1", ["letter", "number"]),
        ("!", ["letter", "number", "special"]),
    ):
        page.keyboard.press(key)
        assert met_rules(page) == met
    page.keyboard.type("aaaaa")
    assert met_rules(page) == ["length", "letter", "number", "special"]
    page.keyboard.press("Backspace")
    assert met_rules(page) == ["letter", "number", "special"]
    settle(page, 500)
    assert sent.fetched() == []
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)


def test_password_length_is_counted_in_code_points(page: Page) -> None:
    page.goto("/signup")
    page.fill("#password", "🗝🗝🗝a1")  # These are five characters, but eight UTF-16 code units.
    assert met_rules(page) == ["letter", "number", "special"]


def test_password_rules_are_announced_in_one_summary(page: Page) -> None:
    page.goto("/signup")
    record(page, "#signup-form [data-field=password] [role=status].vh")
    type_in(page, "password", "a1!bcdefgh")
    expect(page.locator(SUMMARY)).to_have_text("4 of 4 requirements met", timeout=1_500)
    assert recorded_texts(page) == ["4 of 4 requirements met"]
    expect(page.locator("#password-rules")).not_to_have_attribute("aria-live", "polite")


def test_password_rules_are_referenced_by_aria_describedby(page: Page) -> None:
    page.goto("/signup")
    described = page.get_attribute("#password", "aria-describedby").split()
    assert {"password-rules", "password-message"} <= set(described)
    assert page.locator("#password-rules li[data-rule]").count() == 4


def test_the_server_checks_the_password_when_the_field_is_left(page: Page) -> None:
    page.goto("/signup")
    type_in(page, "password", "12345")
    leave(page, "password")
    expect(page.locator("#password")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#password")).to_have_value("12345")
    page.focus("#password")
    page.keyboard.press("End")
    page.keyboard.type("-abc")
    expect(page.locator("#password")).not_to_have_attribute("aria-invalid", "true")
    assert focused(page) == "password"


@pytest.mark.asvs("S47")
@pytest.mark.guide("A3")
@pytest.mark.parametrize(
    ("path", "of_email", "of_password"),
    [
        ("/signup", "username", "new-password"),
        ("/login", "username webauthn", "current-password"),
    ],
)
def test_password_managers_recognize_fields_and_pasting_works(
    page: Page, path: str, of_email: str, of_password: str
) -> None:
    page.goto(path)
    expect(page.locator("#password")).to_have_attribute("autocomplete", of_password)
    expect(page.locator("#email")).to_have_attribute("autocomplete", of_email)
    expect(page.locator("#email")).to_have_attribute("type", "email")
    expect(page.locator("#email")).to_have_attribute("inputmode", "email")
    for name in page.locator("main input:visible").evaluate_all(
        "all => all.map(input => input.id)"
    ):
        expect(page.locator(f"label[for={name}]")).to_be_visible()
        expect(page.locator(f"#{name}")).not_to_have_attribute("placeholder", "")
    page.fill("#email", PASSWORD)  # The field only serves to put the text on the clipboard.
    page.press("#email", "Control+A")
    page.press("#email", "Control+X")
    page.press("#password", "Control+V")
    expect(page.locator("#password")).to_have_value(PASSWORD)


def test_the_passwordrules_attribute_states_the_rules(page: Page) -> None:
    page.goto("/signup")
    rules = page.get_attribute("#password", "passwordrules")
    for word in ("minlength: 8", "required: digit", "required: special"):
        assert word in rules


@pytest.mark.asvs("S47")
def test_autofilled_fields_are_checked_like_typed_ones(charlie: BrowserUser) -> None:
    """Sets the values by a script and fires `input` and `change`, as autofill does."""
    page = charlie.page
    page.goto("/signup")
    sent = listen(page)
    page.evaluate(
        """values => { for (const [id, value] of Object.entries(values)) {
            const field = document.getElementById(id);
            field.value = value;
            for (const type of ['input', 'change']) field.dispatchEvent(new Event(type, {bubbles: true}));
        } }""",
        {"name": "Charlie", "email": charlie.email, "password": PASSWORD},
    )
    assert met_rules(page) == ["length", "letter", "number", "special"]
    expect(message_of(page, "email")).to_contain_text("Looks good")
    settle(page)
    assert [
        len(sent.posts(f"/signup/check/{field}")) for field in ("name", "email", "password")
    ] == [1, 1, 1]
    submit(page)
    expect_path(page, "/dashboard")


def test_toggling_password_visibility_keeps_the_selection(page: Page) -> None:
    page.goto("/signup")
    button = page.locator("[data-toggle=password]")
    expect(button).to_have_text("Show Password")
    expect(button).to_have_attribute("aria-controls", "password")
    type_in(page, "password", "engine")
    page.evaluate("document.querySelector('#password').setSelectionRange(2, 4)")
    button.click()
    expect(page.locator("#password")).to_have_attribute("type", "text")
    expect(button).to_have_attribute("aria-pressed", "true")
    assert page.locator("#password").evaluate(
        "field => [field.selectionStart, field.selectionEnd]"
    ) == [2, 4]
    button.click()
    expect(page.locator("#password")).to_have_attribute("type", "password")
    expect(button).to_have_attribute("aria-pressed", "false")


def test_a_visible_password_is_hidden_on_submit(charlie: BrowserUser, live: Live) -> None:
    page = charlie.page
    live.faults.inject("/signup", after=0.4)
    page.goto("/signup")
    fill_sign_up(page, "C", charlie.email)
    page.click("[data-toggle=password]")
    submit(page)
    expect(page.locator("#password")).to_have_attribute("type", "password")
    expect_summary(page, "Name must be")
    expect(page.locator("#password")).to_have_attribute("type", "password")
    expect(page.locator("[data-toggle=password]")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#password")).to_have_value(PASSWORD)


def test_a_visible_password_stays_visible_during_a_check(page: Page) -> None:
    page.goto("/signup")
    page.click("[data-toggle=password]")
    type_in(page, "password", "1234")
    leave(page, "password")
    expect(page.locator("#password")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#password")).to_have_attribute("type", "text")
    expect(page.locator("[data-toggle=password]")).to_have_attribute("aria-pressed", "true")


def test_the_visibility_toggle_is_hidden_without_javascript(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(java_script_enabled=False)
    for path in ("/signup", "/login"):
        page.goto(path)
        expect(page.locator("[data-toggle]:visible")).to_have_count(0)


def test_a_caps_lock_warning_appears_and_disappears(page: Page) -> None:
    page.goto("/login")
    page.focus("#password")
    press = """on => document.querySelector('#password').dispatchEvent(
        new KeyboardEvent('keydown', {key: 'A', modifierCapsLock: on, bubbles: true}))"""
    hint = page.locator("[data-field=password] [role=status]").filter(has_text="Caps Lock is on")
    page.evaluate(press, True)
    expect(hint).to_be_visible()
    page.evaluate(press, False)
    expect(hint).to_have_count(0)


@pytest.mark.parametrize("password", ["🗝" * 200 + " a1!", "  engine No.9  " * 8])
def test_a_long_password_is_stored_unchanged(charlie: BrowserUser, password: str) -> None:
    page = charlie.page
    page.goto("/signup")
    fill_sign_up(page, "Charlie", charlie.email, password)
    submit(page)
    expect_path(page, "/dashboard")
    page.context.clear_cookies()
    page.goto("/login")
    log_in(page, charlie.email, password.strip() + "x")
    expect_summary(page, "Email or password is incorrect.")
    log_in(page, charlie.email, password)
    expect_path(page, "/dashboard")
