"""Tests of form submission: pending state, double submits, failures and preserved input."""

import re
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect
from starlette.routing import Router

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live, wait_until
from tests.browser.steps import (
    OFFLINE_ERRORS,
    TAKEN,
    button_of,
    error_of,
    expect_path,
    expect_summary,
    expect_toast,
    fill_sign_up,
    focused,
    is_marked,
    listen,
    log_in,
    mark,
    settle,
    sign_up,
    submit,
)
from tests.browser_client import PASSWORD
from web.rendering.assets import Assets
from web.rendering.templates import make_environment

NOT_CREATED = "An error occurred while creating your account."
OTHER_PASSWORD = "another-No.7 to the sea"
INPUT_KEPT = re.compile("still here|Nothing you typed is lost")


def expect_all_kept(page: Page, email: str) -> None:
    """Expects the typed text, a usable form and the same document."""
    for field, value in (("name", "Charlie"), ("email", email), ("password", PASSWORD)):
        expect(page.locator(f"#{field}")).to_have_value(value)
    expect(page.locator("#signup-form")).not_to_have_attribute("aria-busy", "true")
    expect(button_of(page, "signup-form")).not_to_have_attribute("aria-disabled", "true")
    assert is_marked(page)
    expect_path(page, "/signup")


def fill(user: BrowserUser) -> Page:
    """Opens and fills the sign-up form."""
    user.page.goto("/signup")
    mark(user.page)
    fill_sign_up(user.page, "Charlie", user.email)
    return user.page


@pytest.mark.guide("A14", "A15")
def test_a_submitted_form_shows_its_pending_state(
    charlie: BrowserUser, alice: BrowserUser, live: Live
) -> None:
    live.faults.inject("/signup", after=0.6)
    page = charlie.page
    page.goto("/signup")
    fill_sign_up(page, "Charlie", alice.email, OTHER_PASSWORD)
    button = button_of(page, "signup-form")
    label = button.inner_text()
    button.click()
    expect(page.locator("#signup-form")).to_have_attribute("aria-busy", "true", timeout=200)
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#signup-form")).to_contain_text(alice.email)
    assert button.inner_text() == label
    assert page.evaluate("document.activeElement.matches('#signup-form button:not(:disabled)')")
    expect_summary(page, TAKEN)
    expect(page.locator("#signup-form")).not_to_have_attribute("aria-busy", "true")
    expect(button).not_to_have_attribute("aria-disabled", "true")
    assert button.inner_text() == label


BUTTON = """button => {
    const {color, backgroundColor, borderColor} = getComputedStyle(button);
    const {inlineSize, animationDelay, content} = getComputedStyle(button, '::before');
    const {width, height} = button.getBoundingClientRect();
    const spinner = content === 'none' ? null : [parseFloat(inlineSize) > 8, animationDelay];
    return [[color, backgroundColor, borderColor, width, height, button.innerText], spinner];
}"""


@pytest.mark.parametrize("selector", ["#account-form .primary", ".me .plain", ".danger"])
def test_a_pending_button_keeps_its_look_and_has_a_spinner(
    alice: BrowserUser, live: Live, selector: str
) -> None:
    page, response = alice.page, Event()
    page.goto("/devices" if selector == ".danger" else "/account")
    button = page.locator(selector)
    if selector == ".danger":
        button.evaluate("button => delete button.form.dataset.hxConfirm")
    action = button.evaluate("button => button.form.getAttribute('action')")
    live.faults.inject(action, until=response)
    button.hover()
    settle(page, 400)  # The transition of the color has ended.
    look, spinner = button.evaluate(BUTTON)
    assert spinner is None
    button.click(no_wait_after=True)
    expect(button).to_have_attribute("aria-disabled", "true")
    assert button.evaluate(BUTTON) == [look, [True, "0s, 0.2s"]]
    response.set()


@pytest.mark.guide("A14")
@pytest.mark.asvs("S102")
@pytest.mark.parametrize("how", ["double click", "double Enter"])
def test_a_double_submit_creates_one_account_and_one_session(
    charlie: BrowserUser, live: Live, how: str
) -> None:
    both_sent = Event()
    live.faults.inject("/signup", until=both_sent)
    page = fill(charlie)
    sent = listen(page)
    if how == "double click":
        button_of(page, "signup-form").dblclick()
    else:
        page.focus("#name")
        for _ in range(3):
            page.keyboard.press("Enter")
    both_sent.set()
    expect_path(page, "/dashboard")
    assert len(sent.posts("/signup")) - len(sent.posts("/signup/check")) == 1
    assert (live.accounts_of(charlie.email), live.sessions_of(charlie.email)) == (1, 1)


@pytest.mark.asvs("S102")
def test_a_double_click_creates_one_session(alice: BrowserUser, live: Live) -> None:
    page = alice.page
    page.context.clear_cookies()
    live.faults.inject("/login", after=0.3)
    page.goto("/login")
    page.fill("#email", alice.email)
    page.fill("#password", PASSWORD)
    button_of(page, "login-form").dblclick()
    expect_path(page, "/dashboard")
    # The sign-up created one session and the login another.
    assert live.sessions_of(alice.email) == 2


@pytest.mark.asvs("S102", "S110")
def test_a_double_click_without_javascript_creates_one_account(
    make_user: Callable[..., BrowserUser], live: Live, expected_errors: list[str]
) -> None:
    # Chromium reports this for the first of two navigations.
    expected_errors.append("uncaught: Transition was skipped")
    charlie = make_user("Charlie", java_script_enabled=False)
    charlie.page.goto("/signup")
    fill_sign_up(charlie.page, "Charlie", charlie.email)
    button_of(charlie.page, "signup-form").dblclick()
    # The browser may have dropped the first response with its cookie, so that the page shows either
    # the dashboard or the error that the email is taken.
    expect(charlie.page.locator("[data-viewer-name], #error-summary")).to_be_visible()
    assert live.accounts_of(charlie.email) == 1


@pytest.mark.guide("A11", "A12")
def test_the_error_summary_is_focused_and_links_to_the_fields(page: Page) -> None:
    page.goto("/signup")
    submit(page)
    expect(page.locator("#error-summary")).to_be_focused()
    expect(page.locator("#error-summary")).to_have_attribute("role", "alert")
    expect(page).to_have_title(re.compile("^Error: "))
    for field in ("name", "email", "password"):
        page.locator(f'#error-summary a[href="#{field}"]').first.click()
        assert focused(page) == field
        assert f"{field}-message" in page.get_attribute(f"#{field}", "aria-describedby")
        expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")


def test_the_error_summary_repeats_the_errors_of_the_fields(page: Page) -> None:
    sign_up(page, "A", "charlie@")
    expect_summary(
        page,
        "There is a problem",
        "Name must be at least 2 characters long.",
        "Please enter a valid email.",
    )
    expect(error_of(page, "name")).to_have_text("Error: Name must be at least 2 characters long.")
    expect(error_of(page, "email")).to_have_text("Error: Please enter a valid email.")


@pytest.mark.guide("A11")
def test_a_typed_password_is_kept_after_an_error(page: Page) -> None:
    sign_up(page, "A", "charlie@")
    expect_summary(page, "Please enter a valid email.")
    expect(page.locator("#password")).to_have_value(PASSWORD)
    page.goto("/login")
    log_in(page, "charlie@example.com")
    expect_summary(page, "Email or password is incorrect.")
    expect(page.locator("#password")).to_have_value(PASSWORD)


@pytest.mark.guide("A11")
@pytest.mark.asvs("S110")
def test_a_password_is_never_rendered_without_javascript(
    make_user: Callable[..., BrowserUser],
) -> None:
    charlie = make_user("Charlie", java_script_enabled=False)
    sign_up(charlie.page, "A", charlie.email)
    expect(charlie.page.locator("#error-summary")).to_be_visible()
    expect(charlie.page.locator("#email")).to_have_value(charlie.email)
    expect(charlie.page.locator("#password")).to_have_value("")
    assert PASSWORD not in charlie.page.content()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, INPUT_KEPT),
        (503, INPUT_KEPT),
        (429, "Too many attempts. Try again in 1 minute."),
        (403, "You don't have access to that. Reload the page."),
        (409, "Nothing was changed."),
        (404, re.compile(r"\w")),
        (413, re.compile(r"\w")),
    ],
)
def test_an_error_response_leaves_the_form_unchanged(
    charlie: BrowserUser, live: Live, status: int, message: str | re.Pattern[str]
) -> None:
    live.faults.inject("/signup", status=status, headers=[(b"retry-after", b"60")])
    page = fill(charlie)
    button_of(page, "signup-form").focus()
    page.keyboard.press("Enter")
    expect_summary(page, message)
    expect(page.locator("#signup-form > #error-summary")).to_be_focused()
    expect(page.locator(".toast")).to_have_count(0)
    expect_all_kept(page, charlie.email)
    submit(page)
    expect_path(page, "/dashboard")


@pytest.mark.guide("A19")
def test_a_failed_sign_up_shows_the_message_of_the_guide(charlie: BrowserUser, live: Live) -> None:
    page = fill(charlie)
    with live.refusing_users():
        submit(page)
        expect_summary(page, NOT_CREATED)
    expect_all_kept(page, charlie.email)
    assert live.accounts_of(charlie.email) == 0
    submit(page)
    expect_path(page, "/dashboard")


def test_a_submit_while_offline_keeps_the_input(
    charlie: BrowserUser, expected_errors: list[str]
) -> None:
    expected_errors += OFFLINE_ERRORS
    page = fill(charlie)
    settle(page)
    page.context.set_offline(True)
    submit(page)
    expect_summary(page, "You seem to be offline. Nothing you typed is lost.")
    expect_all_kept(page, charlie.email)
    page.context.set_offline(False)
    submit(page)
    expect_path(page, "/dashboard")


def test_a_submit_times_out_and_keeps_the_input(
    charlie: BrowserUser, live: Live, expected_errors: list[str]
) -> None:
    expected_errors += OFFLINE_ERRORS
    charlie.page.clock.install()
    page = fill(charlie)
    live.faults.inject("/signup", before=4)
    submit(page)
    expect(page.locator("#signup-form")).to_have_attribute("aria-busy", "true")
    page.clock.fast_forward(8_100)
    expect_summary(page, "The server took too long to answer. Nothing you typed is lost.")
    expect_all_kept(page, charlie.email)


def test_an_unreachable_server_is_not_reported_as_offline(
    charlie: BrowserUser, expected_errors: list[str]
) -> None:
    expected_errors += OFFLINE_ERRORS
    page = fill(charlie)
    page.route("**/signup", lambda route: route.abort("connectionrefused"))
    submit(page)
    expect_summary(page, "The server can't be reached. Nothing you typed is lost.")
    expect(page.locator("#error-summary")).not_to_contain_text("offline")
    expect_all_kept(page, charlie.email)
    page.unroute("**/signup")
    submit(page)
    expect_path(page, "/dashboard")


def test_a_repeated_sign_up_after_a_timeout_logs_in(
    charlie: BrowserUser, live: Live, expected_errors: list[str]
) -> None:
    expected_errors += OFFLINE_ERRORS
    charlie.page.clock.install()
    page = fill(charlie)
    live.faults.inject("/signup", after=2)
    submit(page)
    wait_until(lambda: live.accounts_of(charlie.email))
    page.clock.fast_forward(8_100)
    expect_summary(page, "The server took too long to answer.")
    page.context.clear_cookies()
    submit(page)
    expect_path(page, "/dashboard")
    assert live.accounts_of(charlie.email) == 1


def test_log_in_instead_passes_the_email_and_back_restores_the_form(
    alice: BrowserUser, page: Page
) -> None:
    sign_up(page, "Alice Grace", alice.email, OTHER_PASSWORD)
    # Before the response to the form, the live check may already display the link.
    expect_summary(page, TAKEN)
    page.get_by_role("link", name="Log in instead").click()
    expect(page).to_have_url(f"{alice.live.url}/login")
    expect(page.locator("#email")).to_have_value(alice.email)
    assert page.evaluate("sessionStorage.length") == 0
    page.go_back()
    expect(page.locator("#name")).to_have_value("Alice Grace")
    expect(page.locator("#email")).to_have_value(alice.email)
    expect(page.locator("#password")).to_have_value("")
    page.get_by_role("link", name="Log in", exact=True).click()
    log_in(page, alice.email)
    expect_path(page, "/dashboard")
    assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.asvs("S110")
def test_log_in_instead_works_without_javascript(
    make_user: Callable[..., BrowserUser], alice: BrowserUser
) -> None:
    page = make_user("Charlie", java_script_enabled=False).page
    page.goto("/signup?next=/devices")
    fill_sign_up(page, "Charlie", alice.email, OTHER_PASSWORD)
    submit(page)
    page.get_by_role("link", name="Log in instead").click()
    log_in(page, alice.email)
    expect_path(page, "/devices")


def test_a_pasted_email_is_never_truncated(page: Page) -> None:
    email = "a" * 305 + "@example.com"
    page.goto("/signup")
    page.focus("#email")
    page.keyboard.insert_text(email)
    expect(error_of(page, "email")).to_contain_text("Email must be at most 254 characters long.")
    expect(page.locator("#email")).to_have_value(email)


def log_in_as_bob(alice: BrowserUser, make_user: Callable[..., BrowserUser]) -> BrowserUser:
    """Replaces the cookies of Alice's browser with Bob's, as a login in another tab does."""
    bob = make_user("Bob", signed_up=True)
    alice.page.context.clear_cookies()
    alice.page.context.add_cookies(bob.page.context.cookies())
    return bob


def test_a_form_of_another_user_changes_nothing(
    alice: BrowserUser, make_user: Callable[..., BrowserUser]
) -> None:
    alice.page.goto("/account")
    bob = log_in_as_bob(alice, make_user)
    alice.page.evaluate("document.querySelector('#account-name').value = 'Alice Grace'")
    submit(alice.page, "account-form")
    expect(alice.page.get_by_role("banner")).to_contain_text("Bob")
    expect(alice.page.locator("#account-name")).to_have_value("Bob")
    names = alice.live.rows(
        f"SELECT name FROM users WHERE email IN ('{alice.email}', '{bob.email}') ORDER BY name"
    )
    assert names == [("Alice",), ("Bob",)]


def type_profile(user: BrowserUser, live: Live) -> Page:
    """Submits a changed profile form after the session has ended."""
    page = user.page
    page.goto("/account")
    with page.expect_response("**/account/check/phone"):
        page.fill("#account-phone", "+44 20 7946 0000")
    live.end_sessions_of(user.email)
    page.evaluate("document.querySelector('#account-form').requestSubmit()")
    expect_path(page, "/login")
    return page


def test_a_profile_form_is_restored_after_the_session_ended(alice: BrowserUser, live: Live) -> None:
    page = type_profile(alice, live)
    assert PASSWORD not in page.evaluate("JSON.stringify({...sessionStorage})")
    log_in(page, alice.email)
    expect(page.locator("#account-phone")).to_have_value("+44 20 7946 0000")
    expect(page.locator("#account-form")).to_contain_text(
        "You were logged out before this was saved."
    )
    assert page.evaluate("sessionStorage.length") == 0
    submit(page, "account-form")
    expect_toast(page, "Profile saved.")
    expect(page.locator("#account-form")).not_to_contain_text("You were logged out")
    assert live.rows(f"SELECT phone FROM users WHERE email = '{alice.email}'") == [
        ("+44 20 7946 0000",)
    ]


def test_a_profile_form_is_restored_if_a_check_ends_in_login(
    alice: BrowserUser, live: Live
) -> None:
    page = alice.page
    page.goto("/account")
    live.end_sessions_of(alice.email)
    page.fill("#account-phone", "+44 20 7946 0000")
    expect_path(page, "/login")
    log_in(page, alice.email)
    expect(page.locator("#account-phone")).to_have_value("+44 20 7946 0000")


def test_a_profile_form_is_not_restored_for_another_user(
    alice: BrowserUser, make_user: Callable[..., BrowserUser], live: Live
) -> None:
    page, bob = type_profile(alice, live), make_user("Bob", signed_up=True)
    log_in(page, bob.email)
    expect_path(page, "/account")
    expect(page.locator("#account-name")).to_have_value("Bob")
    expect(page.locator("#account-phone")).to_have_value("")
    assert page.evaluate("sessionStorage.length") == 0


def save_profile(page: Page) -> None:
    submit(page, "account-form")
    expect_toast(page, "Profile saved.")
    expect(page.locator("#account-form")).not_to_have_attribute("aria-busy", "true")


def test_a_toast_stays_for_a_while_and_can_be_dismissed(alice: BrowserUser) -> None:
    page = alice.page
    page.clock.install()
    page.goto("/account")
    expect(page.locator("#toasts")).to_have_attribute("role", "status")
    toasts = page.locator("#toasts > *")
    for _ in range(2):
        save_profile(page)
        page.clock.run_for(5_500)
        expect(toasts).to_have_count(1)  # The second toast replaces the first.
    toasts.get_by_role("button").click()
    expect(toasts).to_have_count(0)
    assert focused(page) != "body"
    save_profile(page)
    page.mouse.move(1, 1)
    page.focus("#account-name")
    page.clock.run_for(30_000)
    expect(toasts).to_have_count(0)


def test_a_toast_disappears_at_the_next_submit(alice: BrowserUser, live: Live) -> None:
    page = alice.page
    page.goto("/account")
    save_profile(page)
    live.faults.inject("/account", status=500)
    submit(page, "account-form")
    expect_summary(page, INPUT_KEPT)
    expect(page.locator(".toast")).to_have_count(0)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_toast_does_not_cover_a_form(alice: BrowserUser, width: int) -> None:
    page = alice.page
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("/account")
    page.evaluate(
        "document.querySelector('#account-form .primary').scrollIntoView({block: 'center'})"
    )
    save_profile(page)
    settle(page, 400)
    toast = page.locator(".toast").bounding_box()
    for form in page.locator("main form").all():
        box = form.bounding_box()
        is_above = (
            box["y"] + box["height"] <= toast["y"] or box["y"] >= toast["y"] + toast["height"]
        )
        is_beside = box["x"] + box["width"] <= toast["x"] or box["x"] >= toast["x"] + toast["width"]
        assert is_above or is_beside


@pytest.mark.parametrize("how", ["Cancel", "Escape", "backdrop"])
def test_a_dialog_asks_before_an_action_and_can_be_canceled(
    alice: BrowserUser, live: Live, how: str
) -> None:
    page = alice.page
    page.goto("/devices")
    sent = listen(page)
    button = page.get_by_role("button", name="Log out everywhere")
    button.click()
    dialog = page.get_by_role("dialog", name="Log out everywhere?")
    expect(dialog).to_contain_text("This ends your only session.")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    expect(dialog.get_by_role("button", name="Log out everywhere")).to_have_class("danger")
    if how == "Escape":
        page.keyboard.press("Escape")
    elif how == "backdrop":
        page.mouse.click(5, 5)
    else:
        page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    settle(page, 300)
    assert (sent.posts(), live.sessions_of(alice.email)) == ([], 1)
    button.click()
    # The dialog covers the page, so Tab reaches nothing behind it.
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect_path(page, "/login")
    assert live.sessions_of(alice.email) == 0


UNDO = {"label": "Undo", "fields": {"phone": "<2>", "name": "Alice", "slug": "alice-again"}}


def test_a_toast_can_contain_a_form_that_reverts_the_change(alice: BrowserUser, live: Live) -> None:
    page = alice.page
    page.goto("/account")
    viewer = live.id_of(alice.email)
    form = make_environment(Router(), Assets()).get_template("ui/toast_oob.html")
    undo = {"url": "/account", "target": "#account-form", **UNDO}
    toast = form.render(toast="Saved.", undo=undo, me=SimpleNamespace(id=viewer))
    page.evaluate(
        """toast => {
            const all = document.getElementById('toasts');
            all.innerHTML = toast;
            all.replaceChildren(...all.firstElementChild.children);
            htmx.process(all);
        }""",
        toast,
    )
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect_toast(page, "Profile saved.")
    expect(page.locator(".toast")).to_have_count(1)
    expect(page.locator("#account-phone")).to_have_value("<2>")
    assert live.rows(f"SELECT phone FROM users WHERE id = '{viewer}'") == [("<2>",)]
    assert focused(page) != "body"
