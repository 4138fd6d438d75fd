"""Steps and assertions that the browser tests share; they rely on the documented hooks only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import Locator, Page, Request, expect

from tests.browser_client import PASSWORD

SETTLE_MS = 700  # Milliseconds; longer than the delay before a field is checked.
# The console shows these lines when the connection is lost.
OFFLINE_ERRORS = ("error: Failed to load resource: net::ERR_", "error: htmx: htmx:error")
TAKEN = "An account with this email already exists."


@dataclass
class SentRequests:
    """The requests that a page has sent since `listen` was called."""

    page: Page
    requests: list[Request] = field(default_factory=list)

    def posts(self, path: str = "/") -> list[dict[str, str]]:
        """Returns the form fields of each POST to a path that starts with `path`."""
        found = (
            request
            for request in self.requests
            if request.method == "POST" and path_of(request).startswith(path)
        )
        return [
            dict(parse_qsl(request.post_data or "", keep_blank_values=True)) for request in found
        ]

    def fetched(self) -> list[str]:
        """Returns the paths that scripts requested."""
        return [
            path_of(request)
            for request in self.requests
            if request.resource_type in ("fetch", "xhr")
        ]

    def documents(self) -> list[str]:
        """Returns the paths of the requested documents."""
        return [path_of(request) for request in self.requests if request.is_navigation_request()]


def path_of(request: Request) -> str:
    return urlsplit(request.url).path


def listen(page: Page) -> SentRequests:
    sent = SentRequests(page)
    page.on("request", lambda request: sent.requests.append(request))
    return sent


def settle(page: Page, milliseconds: int = SETTLE_MS) -> None:
    """Waits long enough for an effect that must not occur."""
    page.wait_for_timeout(milliseconds)


def button_of(page: Page, form: str) -> Locator:
    """Returns the button that submits the form."""
    return page.locator(f"#{form} button:not([type=button])")


def submit(page: Page, form: str = "signup-form") -> None:
    button_of(page, form).click()


def message_of(page: Page, field: str) -> Locator:
    return page.locator(f"#{field}-message")


def error_of(page: Page, field: str) -> Locator:
    """Returns the message of a field that has an error."""
    return page.locator(f".field:has(#{field}[aria-invalid=true]) #{field}-message")


def type_in(page: Page, field: str, text: str, *, delay: int = 15) -> None:
    page.locator(f"#{field}").press_sequentially(text, delay=delay)


def leave(page: Page, field: str) -> None:
    """Moves the focus to the next element with Tab."""
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
    """Fills and submits the login form of the open page."""
    page.fill("#email", email)
    page.fill("#password", password)
    submit(page, "login-form")


def log_out(page: Page) -> None:
    form = page.locator('form[action$="/logout"]')
    if not form.is_visible():
        page.locator('details:has(form[action$="/logout"]) summary').first.click()
    form.locator("button").click()


def expect_path(page: Page, path: str) -> None:
    """Expects the path of the URL, with any query."""
    expect(page).to_have_url(re.compile(rf"^http://[^/]+{re.escape(path)}(\?.*)?$"))


def expect_summary(page: Page, *sentences: str) -> None:
    """Expects every sentence in the error summary."""
    for sentence in sentences:
        expect(page.locator("#error-summary")).to_contain_text(sentence)


def expect_toast(page: Page, text: str | re.Pattern[str] = re.compile(r"\w")) -> None:
    expect(page.locator("#toasts")).to_contain_text(text)


def follow(page: Page, name: str) -> None:
    """Clicks a link in the main navigation."""
    navigation = page.get_by_role("navigation", name="Main")
    navigation.get_by_role("link", name=name, exact=True).click()


def answer_dialog(page: Page, button: str | re.Pattern[str]) -> str:
    """Presses a button of the dialog that confirms an action, and returns the dialog's text."""
    dialog = page.get_by_role("dialog")
    text = dialog.inner_text()
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_have_count(0)
    return text


def expect_heading(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def mark(page: Page) -> None:
    """Sets a variable in the document, which a reload removes."""
    page.evaluate("window.marked = true")


def is_marked(page: Page) -> bool:
    return bool(page.evaluate("window.marked === true"))


def met_rules(page: Page) -> list[str]:
    return page.locator("#password-rules li[data-rule][data-met=true]").evaluate_all(
        "all => all.map(rule => rule.dataset.rule)"
    )


def focused(page: Page) -> str:
    """Returns the id of the focused element, or its tag name."""
    return str(page.evaluate("document.activeElement.id || document.activeElement.localName"))


def record(page: Page, selector: str) -> None:
    """Records every text of an element in `window.recorded` and in the console, which survives a
    navigation.
    """
    page.evaluate(
        """selector => {
            const node = document.querySelector(selector);
            window.recorded = [];
            new MutationObserver(() => {
                const text = node.textContent.trim();
                if (text) { recorded.push(text); console.info(text); }
            }).observe(node, {childList: true, characterData: true, subtree: true});
        }""",
        selector,
    )


def recorded_texts(page: Page) -> Sequence[str]:
    return page.evaluate("window.recorded")
