"""Every page in every state to be checked, and functions that check how it is presented."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import axe_playwright_python
import httpx
from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live, wait_until
from tests.browser.steps import (
    expect_heading,
    fill_sign_up,
    leave,
    log_in,
    message_of,
    submit,
    type_in,
)
from tests.browser_client import FIREFOX, IPHONE, PASSWORD
from tests.factor_rows import app_row, code_rows, passkey_row
from tests.lying_provider import LyingProvider
from tests.organizations import bind

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOR_RULES = ["color-contrast", "link-in-text-block"]
LONG = "Alice " + "Annabella-Konstantinopolitanska" * 3 + "!"
State = Callable[[BrowserUser], None]
_numbers = count(1)


def goto(user: BrowserUser, path: str) -> None:
    user.page.goto(path)


def create_account(live: Live) -> str:
    """Creates an account with a confirmed email and returns the email."""
    email = f"mail.{next(_numbers)}@example.com"
    live.create("Grace", email)
    return email


def open_reset(user: BrowserUser) -> None:
    """Opens the page for a new password, from the mail to a new account."""
    email = create_account(user.live)
    user.page.request.post("/forgot", form={"email": email}, max_redirects=0)
    user.page.goto(user.live.link("reset", email))
    expect(user.page.locator("#reset-form")).to_be_visible()


def refused_reset(user: BrowserUser) -> None:
    open_reset(user)
    user.page.fill("#password", "abc")
    submit(user.page, "reset-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def dead_reset(user: BrowserUser) -> None:
    """Sends the form of a link that has stopped working since."""
    open_reset(user)
    user.live.change("DELETE FROM tokens WHERE purpose = 'reset'")
    user.page.fill("#password", PASSWORD)
    submit(user.page, "reset-form")
    expect_heading(user.page, user.text("This link no longer works"))


def mismatched_reset(user: BrowserUser) -> None:
    """Sends the form of a link after another one was opened in the same browser."""
    open_reset(user)
    user.page.request.get("/reset/" + "A" * 43, max_redirects=0)
    user.page.fill("#password", PASSWORD)
    submit(user.page, "reset-form")
    expect_heading(user.page, user.text("Nothing was changed"))


def refused_request(user: BrowserUser) -> None:
    user.page.goto("/forgot")
    submit(user.page, "forgot-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def open_lock(user: BrowserUser) -> None:
    """Opens the page that locks an account, from the mail about a new log-in."""
    email = create_account(user.live)
    user.live.log_in(email, FIREFOX)
    user.page.goto(user.live.link("new-device", email))
    expect(user.page.locator("#not-me-form")).to_be_visible()


def refused_lock(user: BrowserUser) -> None:
    open_lock(user)
    submit(user.page, "not-me-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def refused_on_the_front_page(user: BrowserUser) -> None:
    """Sends the form of the landing page with a common password."""
    user.page.goto("/")
    fill_sign_up(user.page, "C", "charlie@example.com", "Passw0rd!")
    submit(user.page)
    expect(user.page.locator(".rules .err")).to_be_visible()


def common_password(user: BrowserUser) -> None:
    user.page.goto("/signup")
    type_in(user.page, "password", "Passw0rd!", delay=0)
    leave(user.page, "password")
    expect(user.page.locator(".rules .err")).to_be_visible()


def typo(user: BrowserUser) -> None:
    user.page.goto("/signup")
    type_in(user.page, "email", "charlie@gmial.com", delay=0)
    expect(message_of(user.page, "email")).to_contain_text("gmail.com")


def open_verification(user: BrowserUser) -> None:
    user.page.goto(user.live.link("verify", user.email))
    expect(user.page.locator("#verify-form")).to_be_visible()


def confirmed_before(user: BrowserUser) -> None:
    """Opens the link to confirm an email once more."""
    user.live.change(f"UPDATE users SET verified_at = created_at WHERE email = '{user.email}'")
    user.page.goto("/verify/not-a-token")
    expect_heading(user.page, user.text("Your email is already confirmed"))


def link_of_another_account(user: BrowserUser) -> None:
    other = f"mail.{next(_numbers)}@example.com"
    form = {"name": "Bob", "email": other, "password": PASSWORD}
    assert httpx.post(f"{user.live.url}/signup", data=form).status_code == 303
    user.page.goto(user.live.link("verify", other))
    expect_heading(user.page, user.text("You're logged in to another account"))


def undelivered(user: BrowserUser) -> None:
    user.live.change(f"UPDATE users SET verified_at = NULL WHERE email = '{user.email}'")
    mails = f"SELECT 1 FROM outbox WHERE recipient = '{user.email}' AND sent_at IS NOT NULL"
    wait_until(lambda: user.live.rows(mails))
    user.live.change(
        "UPDATE outbox SET due_at = NULL, sent_at = NULL, error = '550'"
        f" WHERE recipient = '{user.email}'"
    )
    user.page.goto("/dashboard")
    expect(user.page.locator("#verify-banner [href$='#email-email']")).to_be_visible()


def ask_for_new_email(user: BrowserUser) -> str:
    # With an email of its own, each request has a mail of its own, whose link is waited for.
    new_email = f"new.{next(_numbers)}.{user.email}"
    user.page.goto("/account")
    user.page.fill("#email-email", new_email)
    submit(user.page, "email-form")
    return new_email


def pending_email(user: BrowserUser) -> None:
    ask_for_new_email(user)
    expect(user.page.locator("#pending-email")).to_be_visible()
    user.page.reload()


def refused_email(user: BrowserUser) -> None:
    user.page.goto("/account")
    user.page.fill("#email-email", "alice@")
    submit(user.page, "email-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def open_email_change(user: BrowserUser) -> None:
    new_email = ask_for_new_email(user)
    expect(user.page.locator("#pending-email")).to_be_visible()
    user.page.goto(user.live.link("change", new_email))
    expect(user.page.locator("#change-form")).to_be_visible()


def typing(user: BrowserUser) -> None:
    user.page.goto("/signup")
    type_in(user.page, "name", "Charlie", delay=0)
    type_in(user.page, "email", "charlie@example.com", delay=0)
    type_in(user.page, "password", "engine-N", delay=0)
    expect(message_of(user.page, "email").locator(".ok")).to_be_visible()


def refused_sign_up(user: BrowserUser) -> None:
    user.page.goto("/signup")
    fill_sign_up(user.page, "C", "charlie@", "123")
    submit(user.page)
    expect(user.page.locator("#error-summary")).to_be_visible()


def refused_log_in(user: BrowserUser) -> None:
    user.page.goto("/login")
    log_in(user.page, "charlie@example.com", "wrong")
    expect(user.page.locator("#error-summary")).to_be_visible()


def failed_sign_up(user: BrowserUser) -> None:
    """Makes the sign-up fail with a status that renders no form."""
    user.live.faults.inject("/signup", status=500)
    user.page.goto("/signup")
    fill_sign_up(user.page, "Charlie", "charlie.toast@example.com")
    submit(user.page)
    expect(user.page.locator("#error-summary")).to_be_visible()


def paused_log_in(user: BrowserUser) -> None:
    """Shows a message that counts down."""
    headers = [(b"retry-after", b"600")]
    user.live.faults.inject("/login", status=429, headers=headers)
    user.page.goto("/login")
    log_in(user.page, "charlie@example.com")
    expect(user.page.get_by_role("timer")).to_be_visible()


def asked_in_a_dialog(user: BrowserUser) -> None:
    user.page.goto("/devices")
    user.page.get_by_role("button", name=user.text("Log out everywhere")).click()
    expect(user.page.get_by_role("dialog")).to_be_visible()


def saved_profile(user: BrowserUser) -> None:
    """Shows a toast."""
    user.page.goto("/account")
    submit(user.page, "account-form")
    expect(user.page.locator(".toast")).to_be_visible()


def account_with_errors(user: BrowserUser) -> None:
    user.page.goto("/account")
    user.page.fill("#password-password", "123")
    leave(user.page, "password-password")
    user.page.fill("#account-name", "A")
    user.page.fill("#account-slug", "?")
    submit(user.page, "account-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def many_devices(user: BrowserUser, count: int) -> None:
    for number in range(count - user.live.sessions_of(user.email)):
        user.live.log_in(user.email, (FIREFOX, IPHONE, "curl/8.5")[number % 3])
    user.page.goto("/devices")
    assert user.page.locator("[data-device]").count() == count


def full_account(user: BrowserUser, path: str) -> None:
    """Opens a page of an account with devices, an access token and a refused log-in."""
    user.live.log_in(user.email, IPHONE)
    new_token(user)
    form = {"email": user.email, "password": "wrong-password-1"}
    httpx.post(f"{user.live.url}/login", data=form)
    user.page.goto(path)


def focused_bar(user: BrowserUser) -> None:
    """Opens the dashboard of an administrator with a focused bar, after a refused log-in."""
    full_account(user, "/dashboard")
    user.page.locator("figure [tabindex]").last.focus()
    expect(user.page.locator("figure li.now p")).to_be_visible()


def own_page(user: BrowserUser) -> None:
    slug = user.live.rows(f"SELECT slug FROM users WHERE email = '{user.email}'")[0][0]
    user.page.goto(f"/users/{slug}")


def many_users(user: BrowserUser) -> None:
    """Opens the list with long and Arabic names, a role that was added, and every state."""
    number = next(_numbers)
    role = create_role(user)
    names = (
        "Maximiliana Konstantinopolitanska-Hohenzollern von und zu Liechtenstein",
        "محمد عبد الرحمن الخطيب",
        "Jean-Luc d'Arc",
        "李小龍",
    )
    for name in names:
        user.live.create(name, f"listed-{number}-{len(name)}@a-long-subdomain.of.example.com")
    emails = [
        f"email = 'listed-{number}-{len(name)}@a-long-subdomain.of.example.com'" for name in names
    ]
    for changes, email in zip(
        (
            f"role = '{role}', team = 'Konstantinopolitanska'",
            "team = 'فريق الميناء', disabled_at = created_at",
            "delete_at = created_at",
            "verified_at = NULL",
        ),
        emails,
        strict=True,
    ):
        user.live.change(f"UPDATE users SET {changes} WHERE {email}")
    user.page.goto(f"/admin/users?q=listed-{number}-&sort=-name")
    assert user.page.locator("#users [data-user]").count() == len(names)


def all_factors(user: BrowserUser, path: str) -> None:
    """Opens a page of an account with passkeys, one of them with a long name, and an app."""
    remove_factors(user)
    moment = "2026-11-01T09:00:00.000000+00:00"
    used = f"password_used_at = '{moment}'"
    for sql in (
        f"UPDATE users SET has_factor = TRUE, {used} WHERE email = '{user.email}'",
        passkey_row(user.email, "iCloud Keychain", last_used_at=moment),
        passkey_row(user.email, "YubiKey 5 of Konstantinopolitanska-1453", backed_up=False),
        passkey_row(user.email, "Old key", rp_id="old.example.org"),
        app_row(user.email, last_used_at=moment),
        *code_rows(user.email),
    ):
        user.live.change(sql)
    user.page.goto(path)


def few_codes(user: BrowserUser, path: str) -> None:
    """Opens a page of an account without a password, with an app and two recovery codes."""
    remove_factors(user)
    email = user.email
    ((password_hash,),) = user.live.rows(f"SELECT password_hash FROM users WHERE email = '{email}'")
    changes = "has_factor = TRUE, password_hash = '!'"
    user.live.change(f"UPDATE users SET {changes} WHERE email = '{email}'")
    for sql in (app_row(email), *code_rows(email, 2)):
        user.live.change(sql)
    user.page.goto(path)
    user.live.change(f"UPDATE users SET password_hash = '{password_hash}' WHERE email = '{email}'")


def remove_factors(user: BrowserUser) -> None:
    user_id = user.live.id_of(user.email)
    for table in ("passkeys", "totp", "recovery_codes"):
        user.live.change(f"DELETE FROM {table} WHERE user_id = '{user_id}'")


def offered_passkey(user: BrowserUser) -> None:
    """Opens the dashboard as the first page after a log-in with a password."""
    user.live.change(f"UPDATE users SET verified_at = created_at WHERE email = '{user.email}'")
    cookie = {"name": "notice", "value": "passkey-offer", "url": user.live.url}
    user.page.context.add_cookies([cookie])
    user.page.goto("/dashboard")
    expect(user.page.locator("#passkey-offer")).to_be_visible()


def begin_second_step(user: BrowserUser) -> None:
    """Opens the second step of a log-in to an account with a passkey and an app."""
    email = create_account(user.live)
    user.live.change(f"UPDATE users SET has_factor = TRUE WHERE email = '{email}'")
    for sql in (passkey_row(email), app_row(email), *code_rows(email)):
        user.live.change(sql)
    form = {"email": email, "password": PASSWORD}
    user.page.request.post("/login", form=form, max_redirects=0)
    user.page.goto("/login/factor")
    expect(user.page.locator("#code-form")).to_be_visible()


def asked_who_it_is(user: BrowserUser, *, has_factors: bool = False) -> None:
    """Opens a page that needs a confirmation, more than ten minutes after the log-in."""
    if has_factors:
        all_factors(user, "/account/security")
    user.page.context.clear_cookies(name="sudo")
    user.page.goto("/account/passkeys")
    expect(user.page.locator("#confirm-form")).to_be_visible()


def refused_confirmation(user: BrowserUser, *, has_factors: bool = False) -> None:
    asked_who_it_is(user, has_factors=has_factors)
    submit(user.page, "confirm-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def refused_codes(user: BrowserUser) -> None:
    """Sends the form of new recovery codes without having saved them."""
    all_factors(user, "/account/recovery-codes")
    submit(user.page, "codes-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def refused_passkey(user: BrowserUser) -> None:
    """Sends the form of the first passkey without having saved the codes."""
    user.page.goto("/account/passkeys")
    submit(user.page, "passkey-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def interrupted_form(user: BrowserUser) -> None:
    """Sends a form that needs a confirmation, more than ten minutes after the log-in."""
    all_factors(user, "/account/recovery-codes")
    user.page.context.clear_cookies(name="sudo")
    user.page.locator("#saved").check()
    submit(user.page, "codes-form")
    expect(user.page.locator("#confirm-form")).to_be_visible()


def refused_code(user: BrowserUser) -> None:
    begin_second_step(user)
    user.page.fill("#code", "123 456")
    submit(user.page, "code-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def refused_recovery_code(user: BrowserUser) -> None:
    begin_second_step(user)
    user.page.locator("details summary").click()
    user.page.fill("#recovery_code", "4GQK-4GQK-4GQK-4GQK-4GQK-4GQK")
    submit(user.page, "recovery-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def open_user_page(user: BrowserUser) -> None:
    user.page.goto(f"/admin/users/{user.live.id_of(user.email)}")


def audit_of_one_person(user: BrowserUser) -> None:
    user.page.goto(f"/admin/audit?person={user.live.id_of(user.email)}")
    expect(user.page.get_by_text(user.text("By or about"))).to_be_visible()


def audit_with_identical_logins(user: BrowserUser) -> None:
    for _ in range(3):
        httpx.post(
            f"{user.live.url}/login", data={"email": user.email, "password": "not-the-1-password"}
        )
    user.page.goto("/admin/audit?event=login&outcome=refused")
    user.page.locator("#audit summary").first.click()
    expect(user.page.locator("#audit details li").first).to_be_visible()


def asked_to_confirm(user: BrowserUser) -> None:
    many_devices(user, 4)
    user.page.goto("/devices?confirm=others")
    expect(user.page.get_by_role("button", name=re.compile(r"\b3\b"))).to_be_visible()


def confirmed(user: BrowserUser) -> None:
    user.page.request.post("/account", form={"phone": "1"}, max_redirects=0)
    user.page.goto("/account")
    expect(user.page.locator(".flash")).to_be_visible()


def long_activity(user: BrowserUser) -> None:
    """Fills more than one page of the activity, including a denied request."""
    for number in range(26):
        user.page.request.post("/account", form={"phone": str(number)}, max_redirects=0)
    user.page.request.get("/admin/users")
    user.page.goto("/account/activity")


def unavailable(user: BrowserUser) -> None:
    """Shows the error page by renaming the table of sessions."""
    with without_sessions_table(user.live):
        user.page.goto("/dashboard")
    expect_heading(user.page, user.text("Something went wrong on our side"))


@contextmanager
def without_sessions_table(live: Live) -> Iterator[None]:
    with ExitStack() as stack:
        live.change("ALTER TABLE sessions RENAME TO renamed_sessions")
        stack.callback(live.change, "ALTER TABLE renamed_sessions RENAME TO sessions")
        yield


def create_invitation(live: Live) -> str:
    """Invites a new email as a new administrator, without the page. Returns the email."""
    number = next(_numbers)
    admin, email = f"inviter.{number}@example.com", f"invited.{number}@example.com"
    live.create("Ada", admin, "admin")
    with httpx.Client(base_url=live.url) as client:
        client.post("/login", data={"email": admin, "password": PASSWORD})
        form = {"email": email, "role": "user", "team": ""}
        assert client.post("/admin/invitations", data=form).status_code == 303
    return email


def open_invitation(user: BrowserUser) -> None:
    user.page.goto(user.live.link("invite", create_invitation(user.live)))
    expect(user.page.locator("#join-form")).to_be_visible()


def refused_join(user: BrowserUser) -> None:
    open_invitation(user)
    submit(user.page, "join-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def open_keep(user: BrowserUser) -> None:
    """Opens the page that keeps an account, from the mail about its deletion."""
    email = create_account(user.live)
    with httpx.Client(base_url=user.live.url) as client:
        client.post("/login", data={"email": email, "password": PASSWORD})
        assert client.post("/account/delete").status_code == 303
    user.page.goto(user.live.link("leaving", email))
    expect(user.page.locator("#keep-form")).to_be_visible()


def refused_form(user: BrowserUser, path: str, form: str) -> None:
    """Submits the empty form of a page. The account is not about to be deleted."""
    user.live.change(f"UPDATE users SET delete_at = NULL WHERE email = '{user.email}'")
    user.page.goto(path)
    submit(user.page, form)
    expect(user.page.locator("#error-summary")).to_be_visible()


def many_tokens(user: BrowserUser) -> None:
    """Opens the access tokens of an account with several of them, one with a long name."""
    for name in (
        "Backup",
        "Konstantinopolitanska-Constantinople-1453"[:40],
        "Deployment of the wiki",
    ):
        form = {"name": name, "days": "90"}
        form |= {"scope-account:read": "yes", "scope-users:read": "yes"}
        user.page.request.post("/account/tokens", form=form, max_redirects=0)
    user.page.goto("/account/tokens")
    expect(user.page.locator("[data-token]").first).to_be_visible()


def known_password_age(user: BrowserUser) -> None:
    """Opens the account of a user whose email is confirmed and whose password is not new."""
    moment = "2026-01-01T00:00:00.000000+00:00"
    changes = f"verified_at = created_at, password_changed_at = '{moment}'"
    user.live.change(f"UPDATE users SET {changes} WHERE email = '{user.email}'")
    user.page.goto("/account#password")


def page_of_another(user: BrowserUser) -> None:
    """Opens the page of a user whose name is long and Arabic."""
    email = create_account(user.live)
    changes = "name = 'ليلى حداد الكونستانتينوبوليتانسكا', team = 'Harbour'"
    user.live.change(f"UPDATE users SET {changes} WHERE email = '{email}'")
    ((slug,),) = user.live.rows(f"SELECT slug FROM users WHERE email = '{email}'")
    user.page.goto(f"/users/{slug}")


def new_token(user: BrowserUser) -> None:
    user.page.goto("/account/tokens")
    user.page.fill("#token-name", "Backup of the bookshelf of the office")
    user.page.locator("[name^=scope-]").first.check()
    submit(user.page, "token-form")
    expect(user.page.locator("#new-token")).to_be_visible()


def leaving(user: BrowserUser, path: str) -> None:
    """Opens a page after the user has requested the deletion of the account."""
    moment = "2099-01-01T00:00:00.000000+00:00"
    user.live.change(f"UPDATE users SET delete_at = '{moment}' WHERE email = '{user.email}'")
    user.page.goto(path)
    expect(user.page.locator("#deletion-banner")).to_be_visible()


def invitations(user: BrowserUser) -> None:
    """Opens the invitations: one with a long email and a team, and one without a sender."""
    long_email = f"annabella-konstantinopolitanska.{next(_numbers)}@sub.long-domain.example.com"
    for email in (long_email, create_invitation(user.live)):
        form = {"email": email, "role": "user", "team": "Konstantinopolitanska"}
        user.page.request.post("/admin/invitations", form=form, max_redirects=0)
    user.page.goto("/admin/invitations")
    user.page.locator("#invitation-list summary").first.click()


def added_account(user: BrowserUser) -> None:
    form = {"name": "Grace", "email": f"added.{next(_numbers)}@example.com", "role": "user"}
    user.page.request.post("/admin/add", form=form | {"team": ""}, max_redirects=0)
    user.page.goto("/admin/users")
    expect(user.page.locator(".flash")).to_be_visible()


def create_role(user: BrowserUser) -> str:
    name = f"editor-{next(_numbers)}"
    form = {"label": "Editor", "name": name, "permissions": "articles:write\narticles:read"}
    user.page.request.post("/admin/roles", form=form, max_redirects=0)
    return name


def roles(user: BrowserUser) -> None:
    create_role(user)
    user.page.goto("/admin/roles")
    expect(user.page.locator("[data-role^=editor]").first).to_be_visible()


def one_role(user: BrowserUser) -> None:
    user.page.goto(f"/admin/roles/{create_role(user)}")


def add_organization(user: BrowserUser, *, is_verified: bool = True) -> str:
    """Binds a long domain to a provider, and returns the path of its page."""
    domain = f"department-{next(_numbers)}.konstantinopolitanska.example.com"
    rules = [("staff", "user"), ("it", "admin")]
    user.live.run(
        bind(
            user.live.store,
            LyingProvider(port=9, path="/realms/a-realm-with-a-long-name"),
            domain=domain,
            role_claim="realm_access.roles",
            roles=rules,
            is_verified=is_verified,
        )
    )
    return f"/admin/organizations/{domain}"


def no_organization(user: BrowserUser) -> None:
    user.live.change("DELETE FROM organizations")
    user.page.goto("/admin/organizations")
    expect(user.page.locator("#organization-form")).to_be_visible()


def organizations(user: BrowserUser) -> None:
    """Opens the list with organizations of both states."""
    no_organization(user)
    add_organization(user)
    add_organization(user, is_verified=False)
    user.page.reload()
    assert user.page.locator("[data-organization]").count() == 2


def one_organization(user: BrowserUser, *, is_verified: bool) -> None:
    user.page.goto(add_organization(user, is_verified=is_verified))


def organization_in_arabic(user: BrowserUser) -> None:
    in_language(user, add_organization(user, is_verified=False), "ar")


def refused_organization(user: BrowserUser) -> None:
    user.page.goto(add_organization(user))
    user.page.fill("#organization-label", "")
    user.page.fill("#organization-rules", "staff")
    submit(user.page, "organization-form")
    expect(user.page.locator("#error-summary")).to_be_visible()


def missing_record(user: BrowserUser) -> None:
    """Checks the DNS record of a domain that has none."""
    user.page.goto(add_organization(user, is_verified=False))
    user.page.locator("#organization-verification button").click()
    expect(user.page.get_by_role("alert")).to_be_visible()


def other_user(user: BrowserUser) -> None:
    """Opens the page of another user, with the forms for its data and its deletion."""
    user.page.goto(f"/admin/users/{user.live.id_of(create_account(user.live))}")


def user_with_devices(user: BrowserUser) -> None:
    """Opens the page of a user with a long name and more devices than the page lists."""
    email = create_account(user.live)
    for number in range(12):
        user.live.log_in(email, (FIREFOX, IPHONE, "curl/8.5")[number % 3])
    name = "Maximiliana Konstantinopolitanska-Hohenzollern von und zu Liechtenstein"
    user.live.change(f"UPDATE users SET name = '{name}' WHERE email = '{email}'")
    user.page.goto(f"/admin/users/{user.live.id_of(email)}")
    assert user.page.locator("[data-device]").count() == 10


def changed_user(user: BrowserUser) -> None:
    """Changes a team, so that the page has a toast with a form, or without JavaScript a message."""
    other_user(user)
    user.page.get_by_label(user.text("Team")).fill("Harbour")
    user.page.get_by_role("button", name=user.text("Save team")).click()
    expect(user.page.locator(".toast, .flash")).to_be_visible()


def disabled_user(user: BrowserUser) -> None:
    other_user(user)
    form = {"return_to": "user"}
    path = f"{user.page.url}/disable"
    user.page.request.post(path, form=form, max_redirects=0)
    user.page.reload()
    expect(user.page.get_by_role("button", name=user.text("Enable the account"))).to_be_visible()


def refused_team(user: BrowserUser) -> None:
    other_user(user)
    user.page.get_by_label(user.text("Team")).fill("x" * 41)
    user.page.get_by_role("button", name=user.text("Save team")).click()
    expect(user.page.locator("#team-message .err")).to_be_visible()


def refused_deletion(user: BrowserUser) -> None:
    other_user(user)
    submit(user.page, "user-deletion")
    expect(user.page.locator("#error-summary")).to_be_visible()


def deleted_user(user: BrowserUser) -> None:
    other_user(user)
    user.page.check("#sure")
    submit(user.page, "user-deletion")
    expect(user.page.get_by_role("button", name=user.text("Keep the account"))).to_be_visible()


def in_language(user: BrowserUser, path: str, code: str) -> None:
    """Opens a page in another language. Later pages are in the language of the browser again."""
    cookie = {"name": "language", "value": code, "url": user.live.url}
    user.page.context.add_cookies([cookie])
    user.page.goto(path)
    expect(user.page.locator("html")).to_have_attribute("lang", code)
    user.page.context.clear_cookies(name="language")


ANONYMOUS_STATES: dict[str, State] = {
    "front": partial(goto, path="/"),
    "front in German": partial(in_language, path="/", code="de"),
    "front in Arabic": partial(in_language, path="/", code="ar"),
    "log-in in Arabic": partial(in_language, path="/login", code="ar"),
    "front, refused": refused_on_the_front_page,
    "sign-up, empty": partial(goto, path="/signup"),
    "sign-up, typing": typing,
    "sign-up, refused": refused_sign_up,
    "sign-up, failed": failed_sign_up,
    "sign-up, common password": common_password,
    "log-in, empty": partial(goto, path="/login"),
    "log-in, refused": refused_log_in,
    "log-in, paused": paused_log_in,
    "log-in, ended": partial(goto, path="/login?next=/devices&ended=1"),
    "404 for an anonymous user": partial(goto, path="/nowhere"),
    "sign-up, typo": typo,
    "log-in, mail sent": partial(goto, path="/login?new=1"),
    "log-in, to confirm": partial(goto, path="/login?next=/verify"),
    "forgotten password": partial(goto, path="/forgot"),
    "forgotten password, refused": refused_request,
    "forgotten password, sent": partial(goto, path="/forgot?sent=1"),
    "reset": open_reset,
    "reset, refused": refused_reset,
    "reset, done": partial(goto, path="/reset?done=1"),
    "reset, dead link": partial(goto, path="/reset"),
    "reset, dead link after a form": dead_reset,
    "reset, another link after a form": mismatched_reset,
    "lock": open_lock,
    "lock, refused": refused_lock,
    "lock, done": partial(goto, path="/not-me?done=1"),
    "lock, dead link": partial(goto, path="/not-me"),
    "join": open_invitation,
    "join, refused": refused_join,
    "join, dead link": partial(goto, path="/join"),
    "keep": open_keep,
    "keep, done": partial(goto, path="/keep?done=1"),
    "keep, dead link": partial(goto, path="/keep"),
    "second step": begin_second_step,
    "second step, code refused": refused_code,
    "second step, recovery code refused": refused_recovery_code,
    "log-in with a passkey": partial(goto, path="/login/passkey"),
    "log-in, too late": partial(goto, path="/login?again=1"),
}
USER_STATES: dict[str, State] = {
    "dashboard, user": partial(goto, path="/dashboard"),
    "dashboard, user, in German": partial(in_language, path="/dashboard", code="de"),
    "dashboard, user, in Arabic": partial(in_language, path="/dashboard", code="ar"),
    "account in German": partial(in_language, path="/account", code="de"),
    "account in Arabic": partial(in_language, path="/account", code="ar"),
    "dashboard, user, passkey offered": offered_passkey,
    "security": partial(goto, path="/account/security"),
    "passkeys": partial(goto, path="/account/passkeys"),
    "passkeys, codes not saved": refused_passkey,
    "authenticator": partial(goto, path="/account/authenticator"),
    "authenticator, refused": partial(
        refused_form, path="/account/authenticator", form="totp-form"
    ),
    "devices, 1": partial(many_devices, count=1),
    "devices, 4": partial(many_devices, count=4),
    "devices, 4, asked to confirm": asked_to_confirm,
    "devices, asked in a dialog": asked_in_a_dialog,
    "devices, 40": partial(many_devices, count=40),
    "account": partial(goto, path="/account"),
    "account, confirmed": confirmed,
    "account, refused": account_with_errors,
    "account, confirmed email": known_password_age,
    "account, saved": saved_profile,
    "profile": own_page,
    "profile of another user": page_of_another,
    "activity": long_activity,
    "activity, further back": partial(goto, path="/account/activity?page=9"),
    "handbook": partial(goto, path="/handbook"),
    "403": partial(goto, path="/admin/users"),
    "404": partial(goto, path="/users/nobody-at-all"),
    "500": unavailable,
    "confirm the email": open_verification,
    "confirm the email, dead link": partial(goto, path="/verify"),
    "confirm the email, link of another account": link_of_another_account,
    "confirm the email, mail not delivered": undelivered,
    "confirm the email, already confirmed": confirmed_before,
    "change the email": open_email_change,
    "change the email, dead link": partial(goto, path="/change-email"),
    "account, email waiting": pending_email,
    "account, email refused": refused_email,
    "reset of a logged-in user": open_reset,
    "data": partial(goto, path="/account/data"),
    "tokens": partial(goto, path="/account/tokens"),
    "tokens, several": many_tokens,
    "tokens, refused": partial(refused_form, path="/account/tokens", form="token-form"),
    "tokens, new": new_token,
    "deletion": partial(goto, path="/account/delete"),
    "deletion, requested": partial(leaving, path="/account/delete"),
    # These log in once more, so they follow the states that count devices.
    "dashboard, user, full": partial(full_account, path="/dashboard"),
    "security, full": partial(full_account, path="/account/security"),
    "dashboard, deletion requested": partial(leaving, path="/dashboard"),
    "account, deletion requested": partial(leaving, path="/account"),
    # Log-ins of the same account need a second step from here on.
    "dashboard, user, with second steps": partial(all_factors, path="/dashboard"),
    "dashboard, user, few recovery codes": partial(few_codes, path="/dashboard"),
    "security, all second steps": partial(all_factors, path="/account/security"),
    "security, few recovery codes": partial(few_codes, path="/account/security"),
    "passkeys, several": partial(all_factors, path="/account/passkeys"),
    "authenticator, on": partial(all_factors, path="/account/authenticator"),
    "recovery codes": partial(all_factors, path="/account/recovery-codes"),
    "recovery codes, refused": refused_codes,
    "confirm, interrupted form": interrupted_form,
    # The confirmation of the log-in is gone from here on.
    "confirm": asked_who_it_is,
    "confirm, refused": refused_confirmation,
    "confirm, with second steps": partial(asked_who_it_is, has_factors=True),
    "confirm, code refused": partial(refused_confirmation, has_factors=True),
}
ADMIN_STATES: dict[str, State] = {
    "dashboard, admin": partial(goto, path="/dashboard"),
    "dashboard, admin, focused bar": focused_bar,
    "dashboard, admin, in Arabic": partial(in_language, path="/dashboard", code="ar"),
    "user list in German": partial(in_language, path="/admin/users", code="de"),
    "user list in Arabic": partial(in_language, path="/admin/users", code="ar"),
    "user list": partial(goto, path="/admin/users"),
    "user list, all states": many_users,
    "user list, filtered": partial(goto, path="/admin/users?role=admin&state=active&sort=login"),
    "user list, one user": open_user_page,
    "user list, no match": partial(
        goto, path="/admin/users?q=nobody+at+all&role=user&state=disabled"
    ),
    "user list, other user": other_user,
    "user list, user with devices": user_with_devices,
    "user list, user changed": changed_user,
    "user list, user disabled": disabled_user,
    "user list, team refused": refused_team,
    "user list, deletion refused": refused_deletion,
    "user list, deletion requested": deleted_user,
    "user list, account added": added_account,
    "add": partial(goto, path="/admin/add"),
    "add, refused": partial(refused_form, path="/admin/add", form="add-form"),
    "invitations": invitations,
    "invitations, refused": partial(
        refused_form, path="/admin/invitations", form="invitation-form"
    ),
    "roles": roles,
    "roles, refused": partial(refused_form, path="/admin/roles", form="role-form"),
    "roles, one role": one_role,
    "organizations, none": no_organization,
    "organizations": organizations,
    "organizations, refused": partial(
        refused_form, path="/admin/organizations", form="organization-form"
    ),
    "organization, waiting": partial(one_organization, is_verified=False),
    "organization, in Arabic": organization_in_arabic,
    "organization, verified": partial(one_organization, is_verified=True),
    "organization, refused": refused_organization,
    "organization, no record": missing_record,
    "audit": partial(goto, path="/admin/audit"),
    "audit, filters": partial(goto, path="/admin/audit?event=signup&outcome=done&from=2026-01-01"),
    "audit, one person": audit_of_one_person,
    "audit, identical log-ins": audit_with_identical_logins,
    "audit, error": partial(goto, path="/admin/audit?from=2026-01-02&to=2026-01-01"),
    "audit, nothing": partial(goto, path="/admin/audit?q=nobody+at+all"),
}
STATES = ANONYMOUS_STATES | USER_STATES | ADMIN_STATES


def violations(page: Page, rules: list[str]) -> list[str]:
    """Returns the violations of these rules or tags that axe-core finds, with their elements."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate(
        "rules => axe.run({runOnly: rules, resultTypes: ['violations']}).then(result => result.violations)",
        rules,
    )
    return [
        f"{rule['id']}: {node['target']} {node.get('failureSummary')}"
        for rule in found
        for node in rule["nodes"]
    ]


def assert_accessible(page: Page) -> None:
    """Checks every rule in the light color scheme, and those about colors also in the dark one."""
    for scheme, rules in (("light", TAGS), ("dark", COLOR_RULES)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert violations(page, rules) == [], scheme


def overflowing(page: Page) -> list[str]:
    """Returns the elements that exceed the viewport, and the width of a page that scrolls sideways.

    Text that is cut with an ellipsis does not count.
    """
    return page.evaluate(
        """() => {
            const root = document.documentElement, width = root.clientWidth, found = [];
            if (root.scrollWidth > width) found.push(`the page: ${root.scrollWidth} of ${width}`);
            for (const node of document.querySelectorAll('main *, header *, footer *, dialog *, #toasts *')) {
                if (node.closest('[aria-hidden=true], .vh, svg, [hidden]') || !node.checkVisibility()) continue;
                if (getComputedStyle(node.parentElement).textOverflow === 'ellipsis') continue;
                const {left, right, width: own} = node.getBoundingClientRect();
                if (own > 1 && (right > width + 1 || left < -1)) found.push(node.outerHTML.slice(0, 80));
            }
            return found;
        }"""
    )


def small_targets(page: Page) -> list[str]:
    """Returns targets below 24 by 24 CSS pixels, and fields and primary buttons below 44 in height.

    Links inside a sentence are exempt (WCAG 2.5.8).
    """
    return page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, input, select, summary')].flatMap(node => {
            const inText = node.localName === 'a' && getComputedStyle(node).display === 'inline';
            if (!node.checkVisibility() || node.matches('.skip') || inText) return [];
            // The label of a checkbox is a part of its target.
            const {width, height} = (node.type === 'checkbox' ? node.closest('label') : node).getBoundingClientRect();
            const least = node.matches('input, select, .primary') ? 44 : 24;
            return width >= 24 && height >= least - .5 ? [] : [`${node.outerHTML.slice(0, 80)}: ${width} x ${height}`];
        })"""
    )
