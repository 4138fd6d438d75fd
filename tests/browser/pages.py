"""Every page in every state to be checked, and functions that check how it is presented."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import axe_playwright_python
from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live
from tests.browser.steps import (
    fill_sign_up,
    leave,
    log_in,
    message_of,
    submit,
    type_in,
)
from tests.browser_client import FIREFOX, IPHONE

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOR_RULES = ["color-contrast", "link-in-text-block"]
LONG = "Alice " + "Annabella-Konstantinopolitanska" * 3 + "!"
State = Callable[[BrowserUser], None]


def goto(user: BrowserUser, path: str) -> None:
    user.page.goto(path)


def typing(user: BrowserUser) -> None:
    user.page.goto("/signup")
    type_in(user.page, "name", "Charlie", delay=0)
    type_in(user.page, "email", "charlie@example.com", delay=0)
    type_in(user.page, "password", "engine-N", delay=0)
    expect(message_of(user.page, "email")).to_contain_text("Looks good")


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


def own_page(user: BrowserUser) -> None:
    slug = user.live.rows(f"SELECT slug FROM users WHERE email = '{user.email}'")[0][0]
    user.page.goto(f"/users/{slug}")


def open_menu(user: BrowserUser) -> None:
    user.page.goto("/admin/users")
    user.page.locator("#users details summary").last.click()
    expect(user.page.locator("#users details[open] form").first).to_be_visible()


def open_user_page(user: BrowserUser) -> None:
    user.page.goto(f"/admin/users/{user.live.id_of(user.email)}")


def asked_to_confirm(user: BrowserUser) -> None:
    many_devices(user, 4)
    user.page.goto("/devices?confirm=others")
    expect(user.page.get_by_role("button", name="Log out 3 devices")).to_be_visible()


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
    expect(user.page.get_by_role("heading", level=1)).to_contain_text("Something went wrong")


@contextmanager
def without_sessions_table(live: Live) -> Iterator[None]:
    with ExitStack() as stack:
        live.change("ALTER TABLE sessions RENAME TO renamed_sessions")
        stack.callback(live.change, "ALTER TABLE renamed_sessions RENAME TO sessions")
        yield


ANONYMOUS_STATES: dict[str, State] = {
    "front": partial(goto, path="/"),
    "sign-up, empty": partial(goto, path="/signup"),
    "sign-up, typing": typing,
    "sign-up, refused": refused_sign_up,
    "sign-up, failed": failed_sign_up,
    "log-in, empty": partial(goto, path="/login"),
    "log-in, refused": refused_log_in,
    "log-in, ended": partial(goto, path="/login?next=/devices&ended=1"),
    "404 for an anonymous user": partial(goto, path="/nowhere"),
}
USER_STATES: dict[str, State] = {
    "dashboard, user": partial(goto, path="/dashboard"),
    "devices, 1": partial(many_devices, count=1),
    "devices, 4": partial(many_devices, count=4),
    "devices, 4, asked to confirm": asked_to_confirm,
    "devices, 40": partial(many_devices, count=40),
    "account": partial(goto, path="/account"),
    "account, confirmed": confirmed,
    "account, refused": account_with_errors,
    "profile": own_page,
    "activity": long_activity,
    "activity, further back": partial(goto, path="/account/activity?page=9"),
    "handbook": partial(goto, path="/handbook"),
    "403": partial(goto, path="/admin/users"),
    "404": partial(goto, path="/users/nobody-at-all"),
    "500": unavailable,
}
ADMIN_STATES: dict[str, State] = {
    "dashboard, admin": partial(goto, path="/dashboard"),
    "user list": partial(goto, path="/admin/users"),
    "user list, open menu": open_menu,
    "user list, one user": open_user_page,
    "user list, no match": partial(goto, path="/admin/users?q=nobody+at+all"),
    "audit": partial(goto, path="/admin/audit"),
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
            for (const node of document.querySelectorAll('main *, header *, footer *, #toasts *')) {
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
            const {width, height} = node.getBoundingClientRect();
            const least = node.matches('input, select, .primary') ? 44 : 24;
            return width >= 24 && height >= least - .5 ? [] : [`${node.outerHTML.slice(0, 80)}: ${width} x ${height}`];
        })"""
    )
