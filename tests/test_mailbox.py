"""Tests of the development mailbox: who may read it, what it displays, and where it does not exist."""

import base64
import hashlib
import re
from collections.abc import Callable

import httpx
import pytest

from db.mail.state import OutboxState
from tests.browser_client import Browser, read
from tests.conftest import TestApp
from web.delivery.delivery import Delivery
from web.mail.channel import MailChannel
from web.mail.rendering import SUBJECTS, MailRenderer
from web.mail.transport import MailboxTransport

LOCAL_CLIENT = ("127.0.0.1", 40_000)
PATHS = (
    "/dev/mailbox",
    "/dev/mails",
    "/dev/mailbox/sample-reset",
    "/dev/mailbox/sample-reset/html",
)


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=OutboxState(is_enabled=True, keeps_content=True))


@pytest.fixture
def get(app: TestApp) -> Callable:
    """Returns a function that requests a page from a client with the given socket address."""

    async def get(path: str, peer=LOCAL_CLIENT, of: TestApp | None = None, **headers: str):
        chosen = of or app
        transport = httpx.ASGITransport(chosen.asgi_app, client=peer)
        async with httpx.AsyncClient(
            transport=transport, base_url=chosen.settings.base_url
        ) as client:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.get(path, headers=names)

    return get


async def deliver(app: TestApp) -> None:
    """Delivers the messages of the outbox as an application with a mailbox does."""
    delivery = Delivery(
        app.asgi_app.state.mailer,
        MailChannel(MailboxTransport(), MailRenderer(app.settings)),
        app.store.outbox.wait,
        lambda *_: None,
    )
    while await delivery.send_next():
        pass


async def test_a_new_users_mail_is_in_the_mailbox(
    app: TestApp, get: Callable, alice: Browser
) -> None:
    await deliver(app)
    listed = read(await get("/dev/mailbox"))
    [row] = listed.one(id="mailbox").all(data_mail=True)
    assert (row.attrs["data-type"], "alice@example.com" in row.text) == ("verify", True)
    answer = await get(row.one("a").attrs["href"])
    shown = read(answer)
    assert (shown.one("h1").text, answer.status_code) == ("Confirm your email", 200)
    link = shown.one("a", rel="noreferrer")
    assert re.fullmatch(r"http://localhost:8000/verify/[\w-]{43}", link.attrs["href"])
    assert link.attrs["href"] in shown.one("pre").text
    html = await get(shown.one("iframe").attrs["src"])
    assert link.attrs["href"] in html.text


async def test_the_newest_mail_is_first(app: TestApp, get: Callable, alice: Browser) -> None:
    app.clock.move(minutes=1)
    await app.sign_up_user("Bob")
    rows = read(await get("/dev/mailbox")).one(id="mailbox").all(data_mail=True)
    assert ["bob@example.com" in row.text for row in rows] == [True, False]
    assert ["Waiting" in row.text for row in rows] == [True, True]
    await deliver(app)
    rows = read(await get("/dev/mailbox")).one(id="mailbox").all(data_mail=True)
    assert ["Kept here" in row.text for row in rows] == [True, True]


async def test_an_empty_mailbox_says_how_to_get_a_mail(get: Callable) -> None:
    assert "No mails yet" in (await get("/dev/mailbox")).text


@pytest.mark.asvs("S108")
@pytest.mark.parametrize("path", PATHS)
async def test_only_clients_on_this_machine_may_read_it(
    make_app: Callable, get: Callable, alice: Browser, ada: Browser, path: str
) -> None:
    assert (await get(path)).status_code == 200
    for peer in (("::1", 1), ("127.8.9.10", 1)):
        assert (await get(path, peer)).status_code == 200
    for peer in (("192.0.2.14", 1), ("localhost", 1), None):
        assert (await get(path, peer)).status_code == 404
    for header in ("X_Forwarded_For", "Forwarded", "Via", "X_Real_IP"):
        assert (await get(path, **{header: "127.0.0.1"})).status_code == 404
    assert (await get(path, Host="evil.example")).status_code == 400
    assert [(await user.get(path)).status_code for user in (alice, ada)] == [404, 404]


@pytest.mark.asvs("S108")
@pytest.mark.parametrize("path", PATHS)
async def test_a_trusted_proxy_may_not_read_it(
    make_app: Callable, get: Callable, path: str
) -> None:
    app = await make_app(TRUSTED_PROXIES="127.0.0.1")
    assert (await get(path, of=app)).status_code == 404


@pytest.mark.parametrize(
    "environ_of_app",
    [
        {"SMTP_URL": "smtp://localhost"},
        {"BASE_URL": "https://latchkey.example"},
        {"BASE_URL": "https://latchkey.example", "SMTP_URL": "smtp://localhost"},
    ],
)
async def test_it_exists_only_on_loopback_without_a_server(
    make_app: Callable, get: Callable, environ_of_app: dict[str, str]
) -> None:
    app = await make_app(**environ_of_app)
    for path in PATHS:
        assert (await get(path, of=app)).status_code == 404


async def test_an_unknown_mail_is_not_found(app: TestApp, get: Callable, alice: Browser) -> None:
    await app.change("UPDATE outbox SET kind = 'forgot'")
    [(message_id,)] = await app.rows("SELECT id FROM outbox")
    for name in ("x" * 43, "sample-nothing", "sample-", message_id):
        assert (await get(f"/dev/mailbox/{name}")).status_code == 404
        assert (await get(f"/dev/mailbox/{name}/html")).status_code == 404


async def test_the_page_of_all_mails_has_each_type_once(get: Callable) -> None:
    page = read(await get("/dev/mails"))
    sections = page.one(id="mailbox").all(data_mail=True)
    assert [section.attrs["data-type"] for section in sections] == [*SUBJECTS]
    for section in sections:
        answer = await get(section.one("iframe").attrs["src"])
        assert answer.status_code == 200
        assert SUBJECTS[section.attrs["data-type"]] in answer.text


async def test_the_samples_are_in_the_language_of_the_browser(get: Callable) -> None:
    path = "/dev/mailbox/sample-reset/html"
    answer = await get(path, accept_language="ar")
    assert '<html lang="ar" dir="rtl"' in answer.text
    assert '<html lang="ar"' not in (await get(path, accept_language="en")).text


@pytest.mark.asvs("S104")
async def test_a_mail_may_use_its_own_style_and_nothing_else(get: Callable) -> None:
    answer = await get("/dev/mailbox/sample-reset/html")
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert answer.headers.get_list("content-security-policy") == [
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
    ]
    assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.asvs("S104")
async def test_the_pages_may_only_frame_this_site(get: Callable) -> None:
    for path in ("/dev/mails", "/dev/mailbox/sample-reset"):
        [policy] = (await get(path)).headers.get_list("content-security-policy")
        assert policy.endswith("object-src 'none'; frame-src 'self'")
        assert "style-src 'self'" in policy


async def test_markup_in_a_fact_is_escaped_on_the_pages(
    app: TestApp, get: Callable, alice: Browser
) -> None:
    await app.change(
        """UPDATE outbox SET kind = 'new-device', facts = '{"ip_address": "<script>x</script>",
        "browser": "", "time": "now", "proven": "yes"}'"""
    )
    [(message_id,)] = await app.rows("SELECT id FROM outbox")
    for path in (f"/dev/mailbox/{message_id}", f"/dev/mailbox/{message_id}/html"):
        text = (await get(path)).text
        assert "<script>x" not in text
        assert "&lt;script&gt;x" in text


async def test_a_mail_that_cannot_be_built_does_not_break_the_list(
    app: TestApp, get: Callable, alice: Browser
) -> None:
    await app.change("UPDATE outbox SET kid = 'gone'")
    await deliver(app)
    rows = read(await get("/dev/mailbox")).one(id="mailbox").all(data_mail=True)
    assert ["Failed" in row.text for row in rows] == [True]
    shown = await get(rows[0].one("a").attrs["href"])
    assert (shown.status_code, "cannot be built" in shown.text) == (200, True)
