"""Tests of the settings of webhooks: WEBHOOK_URL, WEBHOOK_SECRET and WEBHOOK_EVENTS."""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from db.audit.events import EventTexts
from db.product import ProductData
from tests.conftest import SECRET as SESSION_SECRET
from web.app import open_store
from web.settings.environment import InvalidSetting
from web.settings.settings import Settings, read_settings
from web.settings.webhook_settings import make_webhook_secret

URL = "https://example.com/canary-path"
KEY = b"canary-of-the-webhook-secret"
SECRET = "whsec_" + b64encode(KEY).decode()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    def read(**environ: str) -> Settings:
        environ = {"SESSION_SECRET": SESSION_SECRET, **environ}
        return read_settings(environ, data=tmp_path)

    return read


def test_webhooks_are_off_by_default(read: Callable[..., Settings]) -> None:
    assert read().webhook is None
    assert not open_store(read()).outbox.sends_webhook("login")


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://example.com:8443/x?token=abc",
        "http://localhost:9000/x",
        "http://127.0.0.1/",
        "http://[::1]:9000/x",
    ],
)
def test_a_webhook_url_is_https_or_on_loopback(read: Callable[..., Settings], url: str) -> None:
    webhook = read(WEBHOOK_URL=url, WEBHOOK_SECRET=SECRET).webhook
    assert webhook is not None
    assert webhook.url.reveal() == url
    assert [secret.reveal() for secret in webhook.secrets] == [KEY]
    assert webhook.events == {"*"}
    assert "canary" not in repr(webhook)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/canary",
        "ftp://localhost/canary",
        "example.com/canary",
        "https://",
        "https:///canary",
        "https://user:canary@example.com/",
        "https://canary@example.com/",
        "https://example.com:0/canary",
        "https://example.com:canary/",
        "https://example.com/canary#x",
        "https://example.com/canary path",
        "https://bücher.example/canary",
        "http://localhost.example.com/canary",
    ],
)
def test_another_webhook_url_stops_the_start(read: Callable[..., Settings], url: str) -> None:
    with pytest.raises(InvalidSetting, match="WEBHOOK_URL: must be an https URL") as problem:
        read(WEBHOOK_URL=url, WEBHOOK_SECRET=SECRET)
    assert "canary" not in str(problem.value)


def test_the_webhook_url_is_read_from_a_private_file(
    read: Callable[..., Settings], tmp_path: Path
) -> None:
    for name, text in (("url", URL), ("secret", SECRET)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    webhook = read(
        WEBHOOK_URL_FILE=str(tmp_path / "url"), WEBHOOK_SECRET_FILE=str(tmp_path / "secret")
    ).webhook
    assert webhook is not None
    assert webhook.url.reveal() == URL


def test_a_webhook_url_needs_a_secret(read: Callable[..., Settings]) -> None:
    with pytest.raises(InvalidSetting, match="WEBHOOK_SECRET: is required with WEBHOOK_URL"):
        read(WEBHOOK_URL=URL)


def test_a_webhook_secret_needs_a_url(read: Callable[..., Settings]) -> None:
    with pytest.raises(InvalidSetting, match="WEBHOOK_SECRET: is set, but WEBHOOK_URL is not"):
        read(WEBHOOK_SECRET=SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "canary-without-a-prefix-and-long-enough",
        "whsec_",
        "whsec_" + b64encode(b"c" * 23).decode(),
        "whsec_" + b64encode(b"c" * 65).decode(),
        "whsec_canary!!" + b64encode(b"c" * 32).decode(),
        SECRET + ",canary",
        ",",
    ],
)
def test_a_weak_webhook_secret_stops_the_start(read: Callable[..., Settings], text: str) -> None:
    with pytest.raises(InvalidSetting, match="WEBHOOK_SECRET: must be whsec_") as problem:
        read(WEBHOOK_URL=URL, WEBHOOK_SECRET=text)
    assert "canary" not in str(problem.value)


@pytest.mark.parametrize("separator", [",", ", ", " ", " ,\n"])
def test_several_webhook_secrets_are_separated(
    read: Callable[..., Settings], separator: str
) -> None:
    new = make_webhook_secret()
    webhook = read(WEBHOOK_URL=URL, WEBHOOK_SECRET=f"{new}{separator}{SECRET}").webhook
    assert webhook is not None
    assert len(webhook.secrets) == 2
    assert webhook.secrets[1].reveal() == KEY


@pytest.mark.parametrize("text", ["login,sigup", "Login", "login;signup", "note.add"])
def test_an_unknown_event_stops_the_start(read: Callable[..., Settings], text: str) -> None:
    settings = read(WEBHOOK_URL=URL, WEBHOOK_SECRET=SECRET, WEBHOOK_EVENTS=text)
    with pytest.raises(InvalidSetting, match="WEBHOOK_EVENTS: there is no event '"):
        open_store(settings)


def test_the_events_of_a_product_are_known(read: Callable[..., Settings]) -> None:
    settings = read(WEBHOOK_URL=URL, WEBHOOK_SECRET=SECRET, WEBHOOK_EVENTS="login, note.add")
    product = ProductData(events={"note.add": EventTexts("Add a note")})
    outbox = open_store(settings, product=product).outbox
    assert outbox.sends_webhook("note.add")
    assert outbox.sends_webhook("login")
    assert not outbox.sends_webhook("logout")
