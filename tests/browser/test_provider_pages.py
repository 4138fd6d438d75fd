"""Tests of the presentation of the pages about providers and organizations, in every state."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser.conftest import EXPECT_TIMEOUT_MS, BrowserUser, PageErrors, new_user
from tests.browser.live import Live, serve
from tests.browser.steps import expect_heading, leave, type_in
from tests.browser.test_presentation import SMALL, assert_presentable
from tests.conftest import SECRET
from tests.lying_provider import LyingProvider, serving
from tests.organizations import bind
from web.rendering.provider_texts import TROUBLES

State = Callable[[BrowserUser, LyingProvider], None]
LONG_NAME = "Alice " + "Annabella-Konstantinopolitanska" * 2
PROFILE = {"sub": "user-1", "name": LONG_NAME, "email": "alice@example.com"}


@pytest.fixture(scope="module")
def lying() -> Iterator[LyingProvider]:
    with serving(LyingProvider()) as provider:
        yield provider


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, lying: LyingProvider) -> Iterator[Live]:
    database = tmp_path_factory.mktemp("live") / "latchkey.db"
    migrate(Secret(f"sqlite:///{database}"))
    settings = lying.settings | {"WORK_TRUST_EMAIL": "yes", "ORGANIZATIONS": "on"}
    with serve(database, SECRET, **settings) as live:
        live.run(bind(live.store, lying, domain="verified.example"))
        live.run(bind(live.store, lying, domain="waiting.example", is_verified=False))
        yield live


@pytest.fixture(scope="module")
def context(chromium: Browser, live: Live) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=live.url, locale="en-GB", viewport=SMALL)
    context.set_default_timeout(EXPECT_TIMEOUT_MS)
    yield context
    context.close()


def goto(user: BrowserUser, lying: LyingProvider, *, path: str) -> None:
    user.page.goto(path)


def press(user: BrowserUser) -> None:
    user.page.goto("/login")
    user.page.get_by_role("button", name="Continue with Work").click()


def sign_up(user: BrowserUser, lying: LyingProvider, *, subject: str) -> None:
    """Leads to the form of an account for a new identity."""
    lying.user = {**PROFILE, "sub": subject}
    press(user)
    expect_heading(user.page, "Almost there")


def trusted_sign_up(user: BrowserUser, lying: LyingProvider) -> None:
    lying.user = {**PROFILE, "sub": "trusted", "email": user.email, "email_verified": True}
    press(user)
    expect_heading(user.page, "Almost there")


def refused_sign_up(user: BrowserUser, lying: LyingProvider) -> None:
    sign_up(user, lying, subject="refused")
    user.page.fill("#name", "C")
    user.page.get_by_role("button", name="Create account").click()
    expect(user.page.locator("#error-summary")).to_be_visible()


def take_over(user: BrowserUser, lying: LyingProvider) -> None:
    """Comes back with a trusted email that nobody has confirmed."""
    user.live.create("Grace", user.email)
    user.live.change(f"UPDATE users SET verified_at = NULL WHERE email = '{user.email}'")
    lying.user = {**PROFILE, "sub": f"owner of {user.email}", "email": user.email}
    lying.user["email_verified"] = True
    press(user)
    expect(user.page.get_by_role("button", name="Make it yours")).to_be_visible()


def known_email(user: BrowserUser, lying: LyingProvider) -> None:
    user.live.create("Grace", user.email)
    lying.user = {**PROFILE, "sub": f"user {user.email}", "email": user.email}
    lying.user["email_verified"] = True
    press(user)
    expect(user.page.locator("#trouble")).to_contain_text("You already have an account")


def departing(user: BrowserUser, lying: LyingProvider) -> None:
    """Keeps the page that leads to the provider, which a browser without JavaScript shows."""
    answer = user.page.request.post("/login/with/work")
    body = answer.text().replace('http-equiv="refresh"', 'name="kept"')
    user.page.route(
        "**/departing", lambda route: route.fulfill(body=body, content_type="text/html")
    )
    user.page.goto("/departing")
    expect(user.page.locator("main a")).to_have_text("Continue")


def type_email(user: BrowserUser, lying: LyingProvider) -> None:
    user.page.goto("/login")
    type_in(user.page, "email", "alice@verified.example", delay=0)
    leave(user.page, "email")
    expect(user.page.locator("#email-hint")).to_contain_text("Your organization logs in")


def connecting(user: BrowserUser, lying: LyingProvider) -> None:
    lying.user = {**PROFILE, "sub": f"connects {user.email}"}
    user.page.goto("/account/security")
    user.page.locator("[data-provider=work] button").click()
    expect(user.page.locator("#connect-form")).to_be_visible()


def connected(user: BrowserUser, lying: LyingProvider) -> None:
    connecting(user, lying)
    user.page.locator("#connect-form button").click()
    expect(user.page.locator("[data-identity]")).to_be_visible()


def no_longer_offered(user: BrowserUser, lying: LyingProvider) -> None:
    connected(user, lying)
    user.live.change(
        "UPDATE identities SET provider = 'former', issuer = 'https://former.example' "
        f"WHERE user_id = '{user.live.id_of(user.email)}'"
    )
    user.page.goto("/account/security")
    expect(user.page.locator("[data-identity]")).to_contain_text("No longer offered here")


def confirming(user: BrowserUser, lying: LyingProvider) -> None:
    """Opens the confirmation of an account that only a provider opens."""
    connected(user, lying)
    user.live.change(f"UPDATE users SET password_hash = '!' WHERE email = '{user.email}'")
    user.page.context.clear_cookies(name="sudo")
    user.page.goto("/confirm")
    expect(user.page.locator("[data-provider=work]")).to_be_visible()


def refused_organization(user: BrowserUser, lying: LyingProvider) -> None:
    user.page.goto("/admin/organizations")
    user.page.get_by_role("button", name="Add organization").click()
    expect(user.page.locator("#error-summary")).to_be_visible()


def missing_record(user: BrowserUser, lying: LyingProvider) -> None:
    user.page.goto("/admin/organizations/waiting.example")
    user.page.get_by_role("button", name="Check the record").click()
    expect(user.page.locator("#organization-verification .err")).to_be_visible()


ANONYMOUS_STATES: dict[str, State] = {
    "log-in": partial(goto, path="/login"),
    "log-in, another way": partial(goto, path="/login?other=1"),
    "log-in, email of an organization": type_email,
    "sign-up": partial(goto, path="/signup"),
    "button alone": partial(goto, path="/login/with/work"),
    "departing": departing,
    "form": partial(sign_up, subject="new"),
    "form, trusted email": trusted_sign_up,
    "form, refused": refused_sign_up,
    "form, unconfirmed account": take_over,
    "log-in, known email": known_email,
    **{
        f"log-in, {trouble}": partial(goto, path=f"/login?trouble={trouble}&with=work")
        for trouble in TROUBLES
    },
}
USER_STATES: dict[str, State] = {
    "security": partial(goto, path="/account/security"),
    "security, refused": partial(goto, path="/account/security?trouble=taken&with=work"),
    "security, connecting": connecting,
    "security, connected": connected,
    "security, no longer offered": no_longer_offered,
    "confirm": confirming,
}
ADMIN_STATES: dict[str, State] = {
    "organizations": partial(goto, path="/admin/organizations"),
    "organizations, refused": refused_organization,
    "organization, verified": partial(goto, path="/admin/organizations/verified.example"),
    "organization, not verified": partial(goto, path="/admin/organizations/waiting.example"),
    "organization, no record": missing_record,
}
STATES = ANONYMOUS_STATES | USER_STATES | ADMIN_STATES


@pytest.mark.guide("A3", "A12")
@pytest.mark.parametrize("state", STATES)
def test_every_page_about_providers_is_accessible_and_fits_the_viewport(
    context: BrowserContext, live: Live, lying: LyingProvider, state: str
) -> None:
    admin, signed_up = state in ADMIN_STATES, state in USER_STATES
    context.clear_cookies()
    errors = PageErrors()
    errors.watch(context, live.url)
    with context.new_page() as page:
        user = new_user(lambda: page, live, "Ada", signed_up=signed_up, admin=admin)
        STATES[state](user, lying)
        assert_presentable(page)
    assert [line for line in errors if not line.startswith(f"requested {lying.issuer}/")] == []
