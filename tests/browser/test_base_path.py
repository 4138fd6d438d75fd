"""Tests of the program at a path behind nginx, beside another application on the same host."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, expect

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser.conftest import opened_pages
from tests.browser.live import Live, serve
from tests.browser.steps import (
    fill_sign_up,
    follow,
    is_marked,
    leave,
    listen,
    log_in,
    log_out,
    mark,
    message_of,
    submit,
    type_in,
)
from tests.conftest import SECRET
from tests.processes import BASE_PATH_EXAMPLE, free_port, needs_nginx, nginx

EMAIL = "alice@example.com"
PAGE = b"<!doctype html><title>Shop</title><h1>Shop</h1><a href='/accounts/login'>Log in</a>"


class OtherApplication(BaseHTTPRequestHandler):
    """The application at `/`, which is not Latchkey."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def other_application() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OtherApplication)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def behind_nginx(tmp_path: Path) -> Iterator[Live]:
    """Serves the program at /accounts behind nginx, with the other application at `/`."""
    database, port = tmp_path / "latchkey.db", free_port()
    migrate(Secret(f"sqlite:///{database}"))
    url = f"https://localhost:{port}"
    settings = {"BASE_URL": url, "BASE_PATH": "/accounts", "TRUSTED_PROXIES": "127.0.0.1"}
    with (
        serve(database, SECRET, **settings) as live,
        other_application() as other_port,
        nginx(
            tmp_path,
            port,
            int(live.url.rpartition(":")[2]),
            example=BASE_PATH_EXAMPLE.replace("127.0.0.1:9000", f"127.0.0.1:{other_port}"),
        ),
    ):
        yield replace(live, url=url)


def expect_url(page: Page, live: Live, path: str) -> None:
    expect(page).to_have_url(re.compile(rf"^{re.escape(live.url + path)}(\?.*)?$"))


@needs_nginx
@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_the_session_works_at_a_path_beside_another_application(
    chromium: Browser, behind_nginx: Live, javascript: bool
) -> None:
    live = behind_nginx
    with opened_pages(chromium, live) as open_page:
        options = {"ignore_https_errors": True, "java_script_enabled": javascript}
        page = open_page(**options)
        sent = listen(page)
        page.goto("/accounts")
        expect_url(page, live, "/accounts/")
        page.get_by_role("link", name="Create your account").first.click()
        if javascript:
            type_in(page, "email", EMAIL)
            leave(page, "email")
            expect(message_of(page, "email")).to_have_text("Looks good")
        fill_sign_up(page, "Alice", EMAIL)
        submit(page)
        expect_url(page, live, "/accounts/dashboard")
        if javascript:
            mark(page)
        follow(page, "Account")
        expect_url(page, live, "/accounts/account")
        current = page.locator("#nav nav a[aria-current=page]")
        expect(current).to_have_text("Account")
        assert is_marked(page) or not javascript

        # A second browser, which this one logs out.
        phone = open_page(**options)
        phone.goto("/accounts/devices")
        expect_url(phone, live, "/accounts/login")
        log_in(phone, EMAIL)
        expect_url(phone, live, "/accounts/devices")
        follow(page, "Devices")
        expect(page.locator("#devices [data-device]")).to_have_count(2)
        other = page.locator("#devices [data-device]:not([data-current=true])")
        other.get_by_role("button").click()
        expect(page.locator("#devices [data-device]")).to_have_count(1)
        phone.goto("/accounts/account")
        expect_url(phone, live, "/accounts/login")

        # The other application keeps its pages and its storage.
        page.goto("/")
        expect(page.get_by_role("heading")).to_have_text("Shop")
        if javascript:
            page.evaluate("localStorage.setItem('cart', 'full')")
        page.get_by_role("link", name="Log in").click()
        expect_url(page, live, "/accounts/dashboard")
        log_out(page)
        expect_url(page, live, "/accounts/login")
        page.goto("/")
        if javascript:
            assert page.evaluate("localStorage.getItem('cart')") == "full"
        paths = [path for path in sent.documents() + sent.fetched() if path != "/"]
        assert [path for path in paths if not path.startswith("/accounts")] == []
