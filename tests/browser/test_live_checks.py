"""Tests of the checks that run while a field is typed into."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live, wait_until
from tests.browser.steps import (
    TAKEN,
    error_of,
    expect_path,
    fill_sign_up,
    focused,
    leave,
    listen,
    message_of,
    record,
    recorded_texts,
    settle,
    type_in,
)
from tests.browser_client import PASSWORD

NAME_CHECK, EMAIL_CHECK, PASSWORD_CHECK = (
    f"/signup/check/{field}" for field in ("name", "email", "password")
)
LOOKS_GOOD = "Looks good"


@pytest.mark.guide("A22", "A23")
@pytest.mark.parametrize(
    ("field", "text"), [("email", "charlie.long@example.com"), ("name", "Charlie of the Long Name")]
)
def test_a_burst_of_typing_makes_one_request(page: Page, field: str, text: str) -> None:
    page.goto("/signup")
    sent = listen(page)
    type_in(page, field, text)
    expect(message_of(page, field)).to_contain_text(LOOKS_GOOD)
    settle(page)
    assert sent.posts() == [{field: text}]


@pytest.mark.guide("A22")
def test_a_taken_email_is_reported_while_typing(page: Page, alice: BrowserUser) -> None:
    page.goto("/signup")
    type_in(page, "email", alice.email)
    expect(error_of(page, "email")).to_contain_text(TAKEN)
    assert focused(page) == "email"


def test_an_incomplete_email_is_not_checked(page: Page) -> None:
    page.goto("/signup")
    sent = listen(page)
    for part in ("charlie", "@", "exam", "ple", "."):
        type_in(page, "email", part)
        settle(page, 450)
    assert sent.posts() == []


@pytest.mark.guide("A23")
def test_the_late_response_to_an_older_check_is_discarded(
    page: Page, alice: BrowserUser, live: Live
) -> None:
    live.faults.inject(EMAIL_CHECK, after=0.8)
    page.goto("/signup")
    record(page, "#email-message")
    with page.expect_request(f"**{EMAIL_CHECK}"):
        page.fill("#email", alice.email)
    page.fill("#email", f"not.{alice.email}")
    expect(message_of(page, "email")).to_contain_text(LOOKS_GOOD)
    wait_until(lambda: EMAIL_CHECK in live.faults.completed)
    settle(page, 200)
    expect(message_of(page, "email")).to_contain_text(LOOKS_GOOD)
    assert not any(TAKEN in text for text in recorded_texts(page))


@pytest.mark.parametrize("how", ["Enter", "click", "Enter during a check"])
def test_a_submit_cancels_pending_checks(charlie: BrowserUser, live: Live, how: str) -> None:
    """A late check would report the email of the account that the submit created as taken."""
    page = charlie.page
    live.faults.inject(EMAIL_CHECK, before=0.3)
    live.faults.inject("/signup", after=0.8)
    page.goto("/signup")
    page.fill("#name", "Charlie")
    page.fill("#password", PASSWORD)
    record(page, "#email-message")
    console_lines: list[str] = []
    page.on("console", lambda line: console_lines.append(line.text))
    type_in(page, "email", charlie.email, delay=0)
    if how == "Enter during a check":
        page.wait_for_event("request", lambda request: request.url.endswith(EMAIL_CHECK))
    page.click("#signup-form button.primary") if how == "click" else page.press("#email", "Enter")
    expect_path(page, "/dashboard")
    assert not any(TAKEN in line for line in console_lines)
    assert live.accounts_of(charlie.email) == 1


def test_a_check_sends_only_the_fields_that_it_needs(page: Page) -> None:
    page.goto("/signup")
    sent = listen(page)
    fill_sign_up(page, "Charlie", "charlie@example.com", PASSWORD)
    leave(page, "password")
    wait_until(lambda: sent.posts(PASSWORD_CHECK) or settle(page, 20))
    assert sent.posts(NAME_CHECK) == [{"name": "Charlie"}]
    assert sent.posts(EMAIL_CHECK) == [{"email": "charlie@example.com"}]
    all_fields = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}
    assert sent.posts(PASSWORD_CHECK) == [all_fields]
    assert all(PASSWORD not in request.url for request in sent.requests)


def test_an_error_appears_only_after_the_field_is_left(page: Page) -> None:
    page.goto("/signup")
    type_in(page, "name", "A")
    settle(page)
    expect(message_of(page, "name")).to_have_text("")
    leave(page, "name")
    expect(error_of(page, "name")).to_contain_text("Name must be at least 2 characters long.")


def test_tabbing_through_an_empty_form_shows_no_errors(page: Page) -> None:
    page.goto("/signup")
    sent = listen(page)
    page.focus("#name")
    for _ in range(5):
        page.keyboard.press("Tab")
    settle(page)
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)
    assert sent.posts() == []


def test_an_error_appears_within_300_ms_of_leaving_the_field(page: Page) -> None:
    page.goto("/signup")
    page.evaluate(
        """() => {
            const email = document.querySelector('#email');
            email.addEventListener('blur', () => { window.left = performance.now(); });
            new MutationObserver(() => { window.took ??= performance.now() - left; })
                .observe(email, {attributeFilter: ['aria-invalid']});
        }"""
    )
    type_in(page, "email", "charlie@")
    leave(page, "email")
    expect(error_of(page, "email")).to_contain_text("Please enter a valid email.")
    assert page.evaluate("window.took") < 300


def test_errors_are_announced_by_a_persistent_live_region(page: Page) -> None:
    """Screen readers do not announce a live region that a swap has replaced."""
    page.goto("/signup")
    expect(message_of(page, "name")).to_have_attribute("aria-live", "polite")
    record(page, "#name-message")
    page.fill("#name", "A")
    leave(page, "name")
    expect(error_of(page, "name")).to_be_visible()
    assert recorded_texts(page)[-1] == "Error: Name must be at least 2 characters long."


def test_a_check_does_not_interrupt_an_input_method(page: Page, live: Live) -> None:
    """An input method composes a word inside the field; a swap that replaced the field would end
    that.
    """
    live.faults.inject(NAME_CHECK, after=0.3)
    page.goto("/signup")
    page.focus("#name")
    keyboard = page.context.new_cdp_session(page)
    with page.expect_response(f"**{NAME_CHECK}"):
        page.keyboard.type("Ada ")
        with page.expect_request(f"**{NAME_CHECK}"):
            pass
        keyboard.send(
            "Input.imeSetComposition", {"text": "はな", "selectionStart": 2, "selectionEnd": 2}
        )
    settle(page, 200)
    keyboard.send(
        "Input.imeSetComposition", {"text": "はなこ", "selectionStart": 3, "selectionEnd": 3}
    )
    keyboard.send("Input.insertText", {"text": "花子"})
    expect(page.locator("#name")).to_have_value("Ada 花子")


def test_an_error_disappears_while_it_is_corrected(page: Page) -> None:
    page.goto("/signup")
    page.fill("#name", "A")
    leave(page, "name")
    expect(error_of(page, "name")).to_be_visible()
    page.focus("#name")
    page.keyboard.press("End")
    page.keyboard.type("da")
    expect(message_of(page, "name")).to_contain_text(LOOKS_GOOD)
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)
    page.keyboard.type(" L")
    expect(page.locator("#name")).to_have_value("Ada L")
    assert focused(page) == "name"


def test_text_typed_during_a_check_is_kept(page: Page, live: Live) -> None:
    live.faults.inject(NAME_CHECK, after=0.4)
    page.goto("/signup")
    with page.expect_response(f"**{NAME_CHECK}"):
        type_in(page, "name", "Ada")
        with page.expect_request(f"**{NAME_CHECK}"):
            pass
        page.keyboard.type(" Lo")
        page.keyboard.press("ArrowLeft")
        page.keyboard.type("vel")
    settle(page)
    expect(page.locator("#name")).to_have_value("Ada Lvelo")
    assert page.evaluate("document.activeElement.selectionStart") == 8


def test_every_check_keeps_the_password(page: Page) -> None:
    page.goto("/signup")
    page.fill("#password", PASSWORD)
    leave(page, "password")
    fill_sign_up(page, "Charlie", "charlie@example.com", PASSWORD)
    leave(page, "email")
    expect(message_of(page, "email")).to_contain_text(LOOKS_GOOD)
    settle(page, 300)
    expect(page.locator("#password")).to_have_value(PASSWORD)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failed_check_is_reported_at_its_field(page: Page, live: Live, status: int) -> None:
    live.faults.inject(EMAIL_CHECK, status=status)
    page.goto("/signup")
    page.fill("#email", "charlie@example.com")
    expect(message_of(page, "email")).to_contain_text("We couldn't check this just now")
    expect(page.locator("#email")).to_have_value("charlie@example.com")
    expect(page.locator("#email")).not_to_have_attribute("aria-invalid", "true")
    page.fill("#email", "charlie.two@example.com")
    expect(message_of(page, "email")).to_contain_text(LOOKS_GOOD)


def test_a_message_does_not_move_the_submit_button(page: Page) -> None:
    """The click must hit the button although the message of the field appears on mouse down."""
    page.goto("/signup")
    page.fill("#email", "charlie@")
    expect(message_of(page, "email")).to_have_text("")
    button = page.locator("#signup-form button.primary").bounding_box()
    page.mouse.move(button["x"] + 20, button["y"] + button["height"] - 3)
    page.mouse.down()
    expect(error_of(page, "email")).to_be_visible()
    assert page.locator("#signup-form button.primary").bounding_box() == button
    page.mouse.up()
    expect(page.locator("#error-summary")).to_be_visible()


@pytest.mark.guide("A22")
def test_a_slug_is_checked_on_the_account_page(alice: BrowserUser, ada: BrowserUser) -> None:
    slug = ada.live.rows(f"SELECT slug FROM users WHERE email = '{ada.email}'")[0][0]
    alice.page.goto("/account")
    sent = listen(alice.page)
    alice.page.fill("#account-slug", slug)
    leave(alice.page, "account-slug")
    expect(error_of(alice.page, "account-slug")).to_contain_text("This profile URL is taken.")
    assert sent.posts("/account/check/slug")[-1] == {"slug": slug}
