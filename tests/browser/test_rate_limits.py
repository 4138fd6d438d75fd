"""Tests of the messages about rate limits in a browser."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser.live import Live, serve
from tests.browser.steps import (
    expect_path,
    expect_summary,
    fill_sign_up,
    focused,
    is_marked,
    leave,
    log_in,
    log_out,
    mark,
    message_of,
    sign_up,
    submit,
)
from tests.browser_client import PASSWORD
from tests.conftest import SECRET

ALICE = "alice@example.com"
WRONG = "not-her-No.7 key"
LIMITED = "Log-in is paused. Try again in "


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Live]:
    """Serves an application with rate limits, where Alice has an account."""
    database = tmp_path / "latchkey.db"
    migrate(Secret(f"sqlite:///{database}"))
    with serve(database, SECRET, RATE_LIMITS="enforce") as live:
        live.create("Alice", ALICE)
        yield live


@pytest.fixture
def guess_page(open_page: Callable[..., Page], limited: Live) -> Page:
    """Returns a page of an anonymous user at the login form."""
    page = open_page(of=limited)
    page.goto("/login")
    return page


def guess(page: Page, times: int) -> None:
    for _ in range(times):
        with page.expect_response("**/login"):
            log_in(page, ALICE, WRONG)


@pytest.mark.asvs("S55")
def test_a_rate_limited_login_shows_the_wait_and_keeps_the_input(guess_page: Page) -> None:
    mark(guess_page)
    guess(guess_page, 6)
    expect_summary(guess_page, LIMITED)
    expect(guess_page.locator("#email")).to_have_value(ALICE)
    assert (focused(guess_page), is_marked(guess_page)) == ("error-summary", True)
    expect_path(guess_page, "/login")


def test_the_wait_counts_down_and_its_end_is_announced(guess_page: Page) -> None:
    page, line = guess_page, guess_page.locator("#error-summary p")
    page.clock.install()
    guess(page, 6)
    expect_summary(page, LIMITED)
    # A screen reader announces the whole line at its start and its end, but not the seconds.
    expect(line.get_by_role("timer")).to_have_text(re.compile("^1 minute$|^[45]. seconds$"))
    expect(line).to_have_attribute("aria-live", "polite")
    page.clock.run_for(20_000)
    expect(line).to_contain_text(re.compile(f"{LIMITED}[23]. seconds[.]$"))
    page.clock.run_for(60_000)
    expect(line).to_have_text("You can try again now.")


@pytest.mark.parametrize(
    ("wait", "text", "later"),
    [
        ("70", "2 minutes", "1 minute|5. seconds"),
        ("1", "1 second", "You can try again now[.]$"),
        ("3700", "2 hours", "2 hours"),
    ],
)
def test_a_wait_is_shown_in_its_largest_unit(
    page: Page, live: Live, wait: str, text: str, later: str
) -> None:
    page.goto("/login")
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    live.faults.inject("/login", status=429, headers=[(b"retry-after", wait.encode())])
    log_in(page, ALICE, WRONG)
    expect_summary(page, f"Try again in {text}.")
    page.clock.run_for(11_000)
    expect(page.locator("#error-summary")).to_contain_text(re.compile(later))


def test_an_unknown_wait_does_not_count_down(page: Page, live: Live) -> None:
    page.clock.install()
    page.goto("/login")
    live.faults.inject("/login", status=429)
    log_in(page, ALICE, WRONG)
    page.clock.run_for(90_000)
    expect_summary(page, "Try again in 1 minute.")


@pytest.mark.asvs("S110")
def test_a_rate_limited_login_works_without_javascript(
    open_page: Callable[..., Page], limited: Live
) -> None:
    page = open_page(of=limited, java_script_enabled=False)
    page.goto("/login")
    for _ in range(6):
        log_in(page, ALICE, WRONG)
    expect_summary(page, LIMITED)
    expect(page.locator("#email")).to_have_value(ALICE)
    expect(page.locator("#password")).to_have_value("")


@pytest.mark.asvs("S59")
def test_login_from_a_known_browser_ignores_the_lockout(
    open_page: Callable[..., Page], limited: Live, guess_page: Page
) -> None:
    known_page = open_page(of=limited)
    known_page.goto("/login")
    log_in(known_page, ALICE)
    expect_path(known_page, "/dashboard")
    log_out(known_page)
    expect_path(known_page, "/login")
    guess(guess_page, 6)
    log_in(known_page, ALICE)
    expect_path(known_page, "/dashboard")


@pytest.mark.asvs("S53")
def test_rate_limited_email_checks_are_deferred_to_the_submit(
    open_page: Callable[..., Page], limited: Live
) -> None:
    page = open_page(of=limited)
    page.goto("/signup")
    for n in range(10):
        with page.expect_response("**/check/email"):
            page.fill("#email", f"user-{n}@example.com")
            leave(page, "email")
    expect(message_of(page, "email")).to_have_text("Looks good")
    page.fill("#email", ALICE)
    leave(page, "email")
    expect(message_of(page, "email")).to_have_text("We'll check this when you send the form.")
    expect(page.locator("#email")).not_to_have_attribute("aria-invalid", "true")


@pytest.mark.asvs("S52")
def test_private_sign_up_leads_to_login_for_new_and_taken_emails(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    database = tmp_path / "private.db"
    migrate(Secret(f"sqlite:///{database}"))
    with serve(database, SECRET, SIGNUP_PRIVACY="private") as live:
        live.create("Alice", ALICE)
        for email in (ALICE, "grace@example.com"):
            page = open_page(of=live)
            sign_up(page, "Grace", email)
            expect_path(page, "/login")
            expect(page.locator("main")).to_contain_text("Check your inbox")
        log_in(page, "grace@example.com")
        expect_summary(page, "Email or password is incorrect.")
        page.goto(live.link("verify", "grace@example.com"))
        log_in(page, "grace@example.com")
        expect_path(page, "/dashboard")
        page.context.close()


@pytest.mark.asvs("S55")
def test_a_rate_limited_sign_up_keeps_every_field(
    open_page: Callable[..., Page], limited: Live
) -> None:
    for n in range(5):
        form = {"name": "Grace", "email": f"grace.{n}@example.com", "password": PASSWORD}
        assert httpx.post(f"{limited.url}/signup", data=form).status_code == 303
    page = open_page(of=limited)
    page.goto("/signup")
    mark(page)
    fill_sign_up(page, "Charlie", "charlie@example.com")
    with page.expect_response("**/signup") as answer:
        submit(page)
    assert (answer.value.status, is_marked(page)) == (429, True)
    expect_summary(page, "Try again in ")
    for field, value in (
        ("name", "Charlie"),
        ("email", "charlie@example.com"),
        ("password", PASSWORD),
    ):
        expect(page.locator(f"#{field}")).to_have_value(value)
