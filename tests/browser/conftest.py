"""Fixtures that open Chromium at the running application.

A test fails if a page logs an error or sends a request to another origin.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser.live import Live, serve
from tests.browser_client import PASSWORD
from tests.conftest import SECRET
from tests.dns_server import serving_dns
from web.languages import ENGLISH, LANGUAGES, Language

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # One process renders all pages, and no process is started in advance, which saves CPU time.
    "--in-process-gpu",
    "--renderer-process-limit=1",
    "--disable-site-isolation-trials",
    "--disable-features=SpareRendererForSitePerProcess",
]
REPORT_VIOLATIONS = (
    "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective))"
)
ALLOWED_MESSAGES = (
    # Chromium reports every 4xx and 5xx response this way.
    "Failed to load resource: the server responded with a status of",
    "Autofocus processing was blocked",
)
EXPECT_TIMEOUT_MS = 8_000  # Milliseconds; the page itself waits this long for a response.
_numbers = count(1)
expect.set_options(timeout=EXPECT_TIMEOUT_MS)


def find_chromium() -> str | None:
    names = (
        os.environ.get("CHROMIUM"),
        "chromium-headless-shell",
        "chromium",
        "chromium-browser",
        "google-chrome",
    )
    return next((path for name in names if name and (path := shutil.which(name))), None)


CHROMIUM = find_chromium()
NO_CHROMIUM = (
    "THE BROWSER TESTS WERE SKIPPED: there is no Chromium. `apt-get install chromium` or "
    "`.venv/bin/playwright install chromium`, or name one in CHROMIUM; with REQUIRE_BROWSER=1 this fails."
)


@dataclass
class BrowserUser:
    """A user with a browser context of their own."""

    name: str
    email: str
    page: Page
    live: Live
    another_browser: Callable[..., Page] = field(repr=False)
    password: str = PASSWORD
    language: Language = ENGLISH

    def text(self, text: str) -> str:
        """Returns a text of the pages in the language of the user."""
        return self.language.gettext(text)

    def choose_language(self, code: str) -> None:
        """Chooses the language of the browser, as the form in the footer does."""
        answer = self.page.request.post("/language", form={"language": code}, max_redirects=0)
        assert answer.status == 303, answer.text()
        self.language = LANGUAGES[code]

    def in_second_browser(self, **options: object) -> "BrowserUser":
        """Returns the same user, logged in at a second browser."""
        user = replace(self, page=self.another_browser(**options))
        user.log_in()
        return user

    def log_in(self) -> None:
        """Logs in without the form, which other tests cover."""
        self.post("/login")

    def sign_up(self) -> None:
        self.post("/signup")

    def post(self, path: str) -> None:
        form = {"name": self.name, "email": self.email, "password": self.password}
        answer = self.page.request.post(path, form=form, max_redirects=0)
        assert answer.status == 303, answer.text()


class PageErrors(list[str]):
    """Errors and warnings that pages logged, and requests that they sent to other origins."""

    def watch(self, context: BrowserContext, url: str) -> None:
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", lambda message: self._record_message(message.type, message.text))
        context.on("weberror", lambda message: self.append(f"uncaught: {message.error}"))
        context.on(
            "request",
            lambda request: (
                request.url.startswith((url, "blob:")) or self.append(f"requested {request.url}")
            ),
        )

    def _record_message(self, level: str, text: str) -> None:
        if level in ("error", "warning", "assert") and not text.startswith(ALLOWED_MESSAGES):
            self.append(f"{level}: {text}")


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Runs Playwright for these tests only, because its event loop disturbs asynchronous tests."""
    if CHROMIUM is None:
        pytest.fail(NO_CHROMIUM) if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip(
            NO_CHROMIUM
        )
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Serves one application for all tests; every test creates users of its own."""
    database = tmp_path_factory.mktemp("live") / "latchkey.db"
    migrate(Secret(f"sqlite:///{database}"))
    with serving_dns() as dns:
        settings = {"ORGANIZATIONS": "on", "DNS_SERVER": dns.address}
        with serve(database, SECRET, **settings) as live:
            yield live


@pytest.fixture
def unavailable(tmp_path: Path) -> Iterator[Live]:
    """Serves an application whose database cannot be opened."""
    (tmp_path / "latchkey.db").mkdir()
    with serve(tmp_path / "latchkey.db", SECRET) as live:
        yield live


@pytest.fixture
def expected_errors() -> list[str]:
    """Returns the beginnings of the log lines that the test causes on purpose."""
    return []


@contextmanager
def opened_pages(
    chromium: Browser, live: Live, expected_errors: Sequence[str] = ()
) -> Iterator[Callable[..., Page]]:
    """Yields a function that opens a page in a new browser context with the given options.

    `by` is another Chromium and `of` is another application. Fails if a page logged an error.
    """
    contexts: list[BrowserContext] = []
    page_errors = PageErrors()

    def opened(by: Browser = chromium, of: Live = live, **options: object) -> Page:
        context = by.new_context(base_url=of.url, locale="en-GB", **options)
        context.set_default_timeout(EXPECT_TIMEOUT_MS)
        page_errors.watch(context, of.url)
        contexts.append(context)
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()
    live.faults.pending.clear()
    assert [line for line in page_errors if not line.startswith(tuple(expected_errors))] == []


def new_user(
    open_page: Callable[..., Page],
    live: Live,
    name: str,
    *,
    signed_up: bool = False,
    admin: bool = False,
    **options: object,
) -> BrowserUser:
    """Returns a user with a new email.

    `signed_up` signs the user up, and `admin` creates an administrator and logs in.
    """
    email = f"{name.split()[0].lower()}.{next(_numbers)}@example.com"
    user = BrowserUser(name, email, open_page(**options), live, open_page)
    if admin:
        live.create(name, email, "admin")
        user.log_in()
    elif signed_up:
        user.sign_up()
    return user


@pytest.fixture
def open_page(
    chromium: Browser, live: Live, expected_errors: list[str]
) -> Iterator[Callable[..., Page]]:
    with opened_pages(chromium, live, expected_errors) as open_page:
        yield open_page


@pytest.fixture
def make_user(open_page: Callable[..., Page], live: Live) -> Callable[..., BrowserUser]:
    return partial(new_user, open_page, live)


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """Returns a page of an anonymous user."""
    return open_page()


@pytest.fixture
def charlie(make_user: Callable[..., BrowserUser]) -> BrowserUser:
    """Returns an anonymous user."""
    return make_user("Charlie")


@pytest.fixture
def alice(make_user: Callable[..., BrowserUser]) -> BrowserUser:
    """Returns a logged-in user."""
    return make_user("Alice", signed_up=True)


@pytest.fixture
def ada(make_user: Callable[..., BrowserUser]) -> BrowserUser:
    """Returns a logged-in administrator."""
    return make_user("Ada", admin=True)


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def javascript(request: pytest.FixtureRequest) -> bool:
    """Runs the test with JavaScript and without."""
    return bool(request.param)


@pytest.fixture
def bfcache(playwright: Playwright) -> Iterator[Browser]:
    """Runs a Chromium with the back/forward cache, which Playwright turns off because `go_back`
    would hang with it.
    """
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM, args=FLAGS, ignore_default_args=["--disable-back-forward-cache"]
    )
    yield browser
    browser.close()
