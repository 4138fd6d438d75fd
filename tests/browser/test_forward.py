"""Tests of a log-in on one sub-domain that leads back to an application on another, in Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.browser.conftest import CHROMIUM, EXPECT_TIMEOUT_MS, FLAGS
from tests.browser_client import PASSWORD
from tests.forwarding import Site, running_in_a_thread, running_site, show_request
from tests.processes import needs_nginx

pytestmark = needs_nginx


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("forward")
    with (
        running_in_a_thread(show_request) as port,
        running_site(folder, migrated, "nginx", "subdomains", port) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def resolving_chromium(playwright: Playwright) -> Iterator[Browser]:
    """Runs a Chromium that finds the sub-domains on this machine."""
    flags = [*FLAGS, "--host-resolver-rules=MAP *.example.com 127.0.0.1"]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
    yield browser
    browser.close()


@pytest.mark.parametrize("path", ["/login", "/signup"])
def test_the_browser_returns_to_the_application(
    resolving_chromium: Browser, site: Site, javascript: bool, path: str
) -> None:
    """Chromium blocks the redirect after a form to an origin that `form-action` does not list."""
    email = f"alice{javascript}{path[1:]}@example.com"
    if path == "/login":
        form = {"name": "Alice", "email": email, "password": PASSWORD}
        assert site.browser().post(f"{site.accounts}/signup", data=form).status_code == 303
    context = resolving_chromium.new_context(
        ignore_https_errors=True, java_script_enabled=javascript
    )
    context.set_default_timeout(EXPECT_TIMEOUT_MS)
    page = context.new_page()
    page.goto(f"{site.origin}/app/?page=2")
    assert page.url.startswith(f"{site.accounts}/login?next=")
    if path == "/signup":
        page.locator("a[href*='/signup?next=']").first.click()
        page.locator("#name").fill("Alice")
    page.locator("#email").fill(email)
    page.locator("#password").fill(PASSWORD)
    page.locator(f"#{path[1:]}-form button:not([type=button])").click()
    page.wait_for_url(f"{site.origin}/app/?page=2")
    expect(page.locator("body")).to_contain_text('"REMOTE_NAME":["Alice"]')
    context.close()
