"""Stories of second steps and confirmations, with JavaScript and without."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from db.crypto.secret import Secret
from db.factors.totp import STEP_SECONDS
from db.maintenance.schema import migrate
from tests.authenticator_app import AuthenticatorApp
from tests.browser.authenticators import (
    VirtualAuthenticator,
    key_of,
    make_authenticator,
    scan_qr_code,
)
from tests.browser.conftest import BrowserUser
from tests.browser.live import Live, serve
from tests.browser.pages import assert_accessible, overflowing
from tests.browser.steps import (
    button_of,
    expect_heading,
    expect_path,
    expect_summary,
    log_in,
    log_out,
    submit,
)
from tests.browser_client import PASSWORD
from tests.conftest import SECRET

AFTER_CONFIRMATION = {"minutes": 11}  # A confirmation counts for ten minutes.


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Serves an application whose clock the tests move."""
    database = tmp_path_factory.mktemp("later") / "latchkey.db"
    migrate(Secret(f"sqlite:///{database}"))
    with serve(database, SECRET) as live:
        yield live


@pytest.fixture
def new_user(
    open_page: Callable[..., Page], later: Live, javascript: bool, tmp_path: Path
) -> Callable[..., BrowserUser]:
    """Signs up users with JavaScript enabled or disabled."""
    return partial(sign_up_at, open_page, later, tmp_path.name, java_script_enabled=javascript)


def sign_up_at(
    open_page: Callable[..., Page], live: Live, number: str, name: str, **options: object
) -> BrowserUser:
    email = f"{name.lower()}.{number.replace('_', '-')}@example.com"
    open_there = partial(open_page, of=live)
    user = BrowserUser(name, email, open_there(**options), live, open_there)
    user.sign_up()
    return user


def set_up_app(page: Page, live: Live) -> AuthenticatorApp:
    """Scans the QR code of the page with a phone, saves the codes and sends the form."""
    page.goto("/account/authenticator")
    codes = page.locator("[data-code]").all_inner_texts()
    app = AuthenticatorApp(live.clock, key_of(scan_qr_code(page)), codes)
    if codes:
        page.check("#saved")
    page.fill("#code", app.code())
    submit(page, "totp-form")
    expect_path(page, "/account/security")
    expect(page.locator(".flash")).to_contain_text("Authenticator app set up.")
    return app


def begin_log_in(page: Page, email: str) -> None:
    """Logs out, and logs in with the password alone."""
    log_out(page)
    expect_path(page, "/login")
    log_in(page, email)
    expect_heading(page, "One more step")


def use_recovery_code(page: Page, code: str) -> None:
    fold = page.locator("details:has(#recovery-form)")
    if not page.locator("#recovery_code").is_visible():
        fold.locator("summary").click()
    page.fill("#recovery_code", code)
    submit(page, "recovery-form")


@pytest.mark.asvs("S27")
def test_a_user_who_lost_the_phone_logs_in_by_a_recovery_code(
    new_user: Callable, later: Live
) -> None:
    alice = new_user("Alice")
    page = alice.page
    lost = set_up_app(page, later)
    begin_log_in(page, alice.email)
    use_recovery_code(page, lost.recovery_codes[0].lower().replace("-", " "))
    expect_path(page, "/dashboard")
    expect(page.locator("main")).to_contain_text("You have 9 recovery codes left.")
    begin_log_in(page, alice.email)
    use_recovery_code(page, lost.recovery_codes[0])
    expect_summary(page, "This recovery code is wrong, or it was used already.")
    use_recovery_code(page, lost.recovery_codes[1])
    expect_path(page, "/dashboard")
    # A new phone replaces the lost one, and the saved codes stay the same.
    later.clock.move(seconds=STEP_SECONDS)
    found = set_up_app(page, later)
    assert found.recovery_codes == []
    begin_log_in(page, alice.email)
    later.clock.move(seconds=STEP_SECONDS)
    page.fill("#code", lost.code())
    submit(page, "code-form")
    expect_summary(page, "This code is wrong, or it was used already.")
    page.fill("#code", found.code())
    submit(page, "code-form")
    expect_path(page, "/dashboard")


@pytest.mark.asvs("S30")
def test_a_form_left_for_eleven_minutes_works_after_a_password(
    new_user: Callable, later: Live
) -> None:
    alice = new_user("Alice")
    page = alice.page
    page.goto("/account")
    page.fill("#email-email", f"new.{alice.email}")
    later.clock.move(**AFTER_CONFIRMATION)
    submit(page, "email-form")
    expect_heading(page, "Confirm that it's you")
    expect(page.locator("main")).to_contain_text("Nothing was changed yet.")
    assert waiting_emails(alice) == []
    page.fill("#password", "not-the-1-password")
    submit(page, "confirm-form")
    expect_summary(page, "This is not your current password.")
    assert waiting_emails(alice) == []
    page.fill("#password", PASSWORD)
    submit(page, "confirm-form")
    expect(page.locator("#pending-email")).to_contain_text(f"new.{alice.email}")
    assert waiting_emails(alice) == [(f"new.{alice.email}",)]
    page.reload()
    expect(page.locator("#pending-email")).to_be_visible()
    assert len(waiting_emails(alice)) == 1


def waiting_emails(user: BrowserUser) -> list[tuple]:
    return user.live.rows(
        "SELECT tokens.email FROM tokens JOIN users ON users.id = user_id"
        f" WHERE users.email = '{user.email}' AND purpose = 'change'"
    )


@pytest.mark.asvs("S30")
def test_a_form_left_for_eleven_minutes_works_after_a_code(new_user: Callable, later: Live) -> None:
    alice = new_user("Alice")
    page = alice.page
    app = set_up_app(page, later)
    page.goto("/account/tokens")
    page.fill("#token-name", "Backup")
    page.locator("[name^=scope-]").first.check()
    later.clock.move(**AFTER_CONFIRMATION)
    submit(page, "token-form")
    expect_heading(page, "Confirm that it's you")
    assert count_tokens(alice) == 0
    page.fill("#code", app.wrong_code())
    submit(page, "confirm-form")
    expect_summary(page, "This code is wrong, or it was used already.")
    page.fill("#code", app.code())
    submit(page, "confirm-form")
    expect(page.locator("#new-token")).to_be_visible()
    assert count_tokens(alice) == 1


def count_tokens(user: BrowserUser) -> int:
    ((number,),) = user.live.rows(
        "SELECT count(*) FROM access_tokens JOIN users ON users.id = user_id"
        f" WHERE users.email = '{user.email}'"
    )
    return number


@pytest.fixture
def alice(open_page: Callable[..., Page], later: Live, tmp_path: Path) -> BrowserUser:
    """Returns a logged-in user with JavaScript."""
    return sign_up_at(open_page, later, tmp_path.name, "Alice")


def add_passkey(page: Page) -> VirtualAuthenticator:
    authenticator = make_authenticator(page)
    page.goto("/account/passkeys")
    page.check("#saved")
    submit(page, "passkey-form")
    expect(page.locator("#passkeys [data-passkey]")).to_have_count(1)
    return authenticator


@pytest.mark.asvs("S25")
def test_a_passkey_is_the_second_step_of_a_log_in(alice: BrowserUser) -> None:
    page = alice.page
    authenticator = add_passkey(page)
    # The field for the email would use the passkey at once.
    authenticator.set_presence(is_simulated=False)
    begin_log_in(page, alice.email)
    assert_accessible(page)
    expect(page.locator("#code-form")).to_have_count(0)
    page.check("#remember")
    authenticator.set_presence(is_simulated=True)
    submit(page, "passkey-form")
    expect_path(page, "/dashboard")
    # The checkbox is outside the form, and was sent nevertheless.
    authenticator.set_presence(is_simulated=False)
    log_out(page)
    expect_path(page, "/login")
    log_in(page, alice.email)
    expect_path(page, "/dashboard")


@pytest.mark.asvs("S30")
def test_a_passkey_confirms_a_form_that_waited(alice: BrowserUser) -> None:
    page = alice.page
    add_passkey(page)
    page.goto("/account")
    page.fill("#email-email", f"new.{alice.email}")
    alice.live.clock.move(**AFTER_CONFIRMATION)
    submit(page, "email-form")
    expect_heading(page, "Confirm that it's you")
    expect(button_of(page, "passkey-form")).to_be_visible()
    assert_accessible(page)
    page.set_viewport_size({"width": 320, "height": 700})
    assert overflowing(page) == []
    assert waiting_emails(alice) == []
    submit(page, "passkey-form")
    expect(page.locator("#pending-email")).to_contain_text(f"new.{alice.email}")
    assert waiting_emails(alice) == [(f"new.{alice.email}",)]


@pytest.mark.asvs("S30")
def test_a_confirmation_opens_the_page_of_the_link(new_user: Callable) -> None:
    alice = new_user("Alice")
    page = alice.page
    page.goto("/account/security")
    alice.live.clock.move(**AFTER_CONFIRMATION)
    page.get_by_role("link", name="Set up an app").click()
    expect_heading(page, "Confirm that it's you")
    page.fill("#password", PASSWORD)
    submit(page, "confirm-form")
    expect_path(page, "/account/authenticator")
    expect(page.locator("[data-code]")).to_have_count(10)
