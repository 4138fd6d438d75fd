"""What people do at a browser, and what they look at. Only hooks that the contract names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import Locator, Page, Request, expect

from tests.people import PASSWORD

SETTLE = 700  # ms: longer than the pause after which a field is checked
# what a lost line makes a page say
OFFLINE = ("error: Failed to load resource: net::ERR_", "error: htmx: htmx:error")
TAKEN = "An account with this email already exists."


@dataclass
class Sent:
    """The requests of a page, from now on."""

    page: Page
    requests: list[Request] = field(default_factory=list)

    def posts(self, path: str = "/") -> list[dict[str, str]]:
        """The fields of each POST to a path, or below it."""
        found = (
            request
            for request in self.requests
            if request.method == "POST" and path_of(request).startswith(path)
        )
        return [
            dict(parse_qsl(request.post_data or "", keep_blank_values=True)) for request in found
        ]

    def fetched(self) -> list[str]:
        """The addresses that scripts asked for."""
        return [
            path_of(request)
            for request in self.requests
            if request.resource_type in ("fetch", "xhr")
        ]

    def documents(self) -> list[str]:
        """The addresses of whole pages that were asked for."""
        return [path_of(request) for request in self.requests if request.is_navigation_request()]


def path_of(request: Request) -> str:
    return urlsplit(request.url).path


def listen(page: Page) -> Sent:
    sent = Sent(page)
    page.on("request", lambda request: sent.requests.append(request))
    return sent


def settle(page: Page, milliseconds: int = SETTLE) -> None:
    """Where something must not happen, it gets the time to."""
    page.wait_for_timeout(milliseconds)


def button_of(page: Page, form: str) -> Locator:
    """The one that submits."""
    return page.locator(f"#{form} button:not([type=button])")


def submit(page: Page, form: str = "signup-form") -> None:
    button_of(page, form).click()


def message_of(page: Page, field: str) -> Locator:
    return page.locator(f"#{field}-message")


def error_of(page: Page, field: str) -> Locator:
    """What stands beside a field that has an error."""
    return page.locator(f".field:has(#{field}[aria-invalid=true]) #{field}-message")


def type_in(page: Page, field: str, text: str, *, delay: int = 15) -> None:
    page.locator(f"#{field}").press_sequentially(text, delay=delay)


def leave(page: Page, field: str) -> None:
    """Go on to wherever Tab leads."""
    page.locator(f"#{field}").press("Tab")


def fill_sign_up(page: Page, name: str, email: str, password: str = PASSWORD) -> None:
    page.fill("#name", name)
    page.fill("#email", email)
    page.fill("#password", password)


def sign_up(page: Page, name: str, email: str, password: str = PASSWORD) -> None:
    page.goto("/signup")
    fill_sign_up(page, name, email, password)
    submit(page)


def log_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """On the log-in page that is open."""
    page.fill("#email", email)
    page.fill("#password", password)
    submit(page, "login-form")


def log_out(page: Page) -> None:
    form = page.locator('form[action$="/logout"]')
    if not form.is_visible():
        page.locator('details:has(form[action$="/logout"]) summary').first.click()
    form.locator("button").click()


def expect_path(page: Page, path: str) -> None:
    """The address, whatever its query."""
    expect(page).to_have_url(re.compile(rf"^http://[^/]+{re.escape(path)}(\?.*)?$"))


def expect_summary(page: Page, *sentences: str) -> None:
    """The summary of a failed submit says all of it."""
    for sentence in sentences:
        expect(page.locator("#error-summary")).to_contain_text(sentence)


def expect_toast(page: Page, text: str | re.Pattern[str] = re.compile(r"\w")) -> None:
    expect(page.locator("#toasts")).to_contain_text(text)


def follow(page: Page, name: str) -> None:
    """A link in the bar of the signed-in area."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()


def expect_heading(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def mark(page: Page) -> None:
    """A mark on the document, which a reload takes away."""
    page.evaluate("window.marked = true")


def is_marked(page: Page) -> bool:
    return bool(page.evaluate("window.marked === true"))


def met_rules(page: Page) -> list[str]:
    return page.locator("#password-rules li[data-rule][data-met=true]").evaluate_all(
        "all => all.map(rule => rule.dataset.rule)"
    )


def focused(page: Page) -> str:
    """The focused element: its id, or else its tag."""
    return str(page.evaluate("document.activeElement.id || document.activeElement.localName"))


def record(page: Page, selector: str) -> None:
    """Keep every text that an element comes to have; the console outlives the page and has them
    too.
    """
    page.evaluate(
        """selector => {
            const node = document.querySelector(selector);
            window.heard = [];
            new MutationObserver(() => {
                const text = node.textContent.trim();
                if (text) { heard.push(text); console.info(text); }
            }).observe(node, {childList: true, characterData: true, subtree: true});
        }""",
        selector,
    )


def heard(page: Page) -> Sequence[str]:
    return page.evaluate("window.heard")
