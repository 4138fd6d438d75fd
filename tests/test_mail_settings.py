"""Tests of the settings of mail: SMTP_URL, MAIL_FROM, MAIL_REPLY_TO and EMAIL_VERIFICATION."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SECRET
from tests.processes import write_certificate
from web.settings.environment import InvalidSetting
from web.settings.mail_settings import MailSettings, Sender
from web.settings.settings import Settings, read_settings

PUBLIC = {"BASE_URL": "https://example.com", "SESSION_SECRET": SECRET}
SERVER = "smtp://mail.example.com"
PASSWORD = "hush-No.9"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    def read(**environ: str) -> Settings:
        return read_settings({"SESSION_SECRET": SECRET, **environ}, data=tmp_path)

    return read


def server_of(settings: Settings) -> tuple[str, int, str, str, str]:
    mail = settings.mail
    assert mail is not None
    return mail.host, mail.port, mail.username, mail.password and mail.password.reveal(), mail.tls


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 587, "", None, "starttls")),
        ("smtp://Mail.Example.com:25/", ("mail.example.com", 25, "", None, "starttls")),
        ("smtp://me:hush@mail.example.com:2525", ("mail.example.com", 2525, "me", "hush", "starttls")),
        ("smtps://me:hush@mail.example.com", ("mail.example.com", 465, "me", "hush", "tls")),
        ("smtp://localhost:1025", ("localhost", 1025, "", None, "none")),
        ("smtp://127.0.0.1", ("127.0.0.1", 587, "", None, "none")),
        ("smtp://me:hush@localhost:1025", ("localhost", 1025, "me", "hush", "none")),
        ("smtp://localhost?tls=starttls", ("localhost", 587, "", None, "starttls")),
        ("smtp://mail.example.com:25?tls=none", ("mail.example.com", 25, "", None, "none")),
        ("smtps://[::1]:465", ("::1", 465, "", None, "tls")),
        ("smtp://[2001:DB8:0:0::5]", ("2001:db8::5", 587, "", None, "starttls")),
        ("smtp://bücher.example", ("xn--bcher-kva.example", 587, "", None, "starttls")),
        (
            "smtp://me%40example.com:p%40ss%2F%3A%3F%23%25@mail.example.com",
            ("mail.example.com", 587, "me@example.com", "p@ss/:?#%", "starttls"),
        ),
        ("smtp://me:p%C3%A4ss@mail.example.com", ("mail.example.com", 587, "me", "päss", "starttls")),
        ("smtp://me:a+b&c=d@mail.example.com", ("mail.example.com", 587, "me", "a+b&c=d", "starttls")),
    ],
)  # fmt: skip
def test_an_smtp_url_is_read(read, url: str, expected: tuple) -> None:
    assert server_of(read(SMTP_URL=url)) == expected


@pytest.mark.asvs("S96")
@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{PASSWORD}@mail.example.com",
        f"me:{PASSWORD}@mail.example.com",
        f"smtp:me:{PASSWORD}@mail.example.com",
        f"smtp://me:{PASSWORD}@",
        f"smtp://me:{PASSWORD}@mail.example.com:port",
        f"smtp://me:{PASSWORD}@mail.example.com:0",
        f"smtp://me:{PASSWORD}@mail.example.com:65536",
        f"smtp://me:{PASSWORD}@mail.example.com/inbox",
        f"smtp://me:{PASSWORD}@mail.example.com#x",
        f"smtp://me:{PASSWORD}@mail..example.com",
        f"smtp://me:{PASSWORD}@mail_host!.example.com",
        f"smtp://me:{PASSWORD}@999.1.1.1",
        f"smtp://me:{PASSWORD}@[::1",
        f"smtp://me:{PASSWORD}@[zz]",
        f"smtp://me:{PASSWORD}@::1",
        f"smtp://me:{PASSWORD} x@mail.example.com",
        f"smtp://me:{PASSWORD}@x@mail.example.com",
        f"smtp://me:{PASSWORD}/x@mail.example.com",
        f"smtp://me:1{PASSWORD}?x@mail.example.com",
        f"smtp://me:12/{PASSWORD}@mail.example.com",
        f"smtp://me:12?{PASSWORD}@mail.example.com",
        f"smtp://me:12#{PASSWORD}@mail.example.com",
        f"smtp://me:{PASSWORD}%FF@mail.example.com",
        f"smtp://me:{PASSWORD}%0D%0A@mail.example.com",
        f"smtp://me:{PASSWORD}%00@mail.example.com",
        f"smtp://me:{PASSWORD}\n@mail.example.com",
        f"smtp://{PASSWORD}@mail.example.com",
        f"smtp://:{PASSWORD}@mail.example.com",
        f"smtp://me:{PASSWORD}@mail.example.com?tls=none",
        f"smtp://me:{PASSWORD}@mail.example.com?tls=off",
        f"smtp://me:{PASSWORD}@mail.example.com?tls",
        f"smtp://me:{PASSWORD}@mail.example.com?tls=",
        f"smtp://me:{PASSWORD}@mail.example.com?tls=starttls&tls=none",
        f"smtp://me:{PASSWORD}@mail.example.com?verify=no",
        f"smtps://me:{PASSWORD}@mail.example.com?tls=starttls",
        f"smtp://me:{PASSWORD}@localhost?ca=/etc/hosts",
        f"smtps://me:{PASSWORD}@mail.example.com?ca=certs/{PASSWORD}.pem",
        f"smtps://me:{PASSWORD}@mail.example.com?ca=/no/such/{PASSWORD}.pem",
        f"smtps://me:{PASSWORD}@mail.example.com?ca=/etc/hosts",
    ],
)  # fmt: skip
def test_another_smtp_url_stops_the_start_without_its_value(read, url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^SMTP_URL: ") as refused:
        read(**PUBLIC, SMTP_URL=url)
    assert "\n" not in str(refused.value)
    for secret in (PASSWORD, "mail.example.com", "hush"):
        assert secret not in str(refused.value).replace("smtp://user:password@host", "")


def test_certificates_are_read_from_an_absolute_path(read, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    path = tmp_path / "fullchain.pem"
    for url in (f"smtps://mail.example.com?ca={path}", f"{SERVER}?tls=starttls&ca={path}"):
        assert read(SMTP_URL=url).mail.ca == path


@pytest.mark.asvs("S96")
def test_the_smtp_url_is_read_from_a_private_file(read, tmp_path: Path) -> None:
    path = tmp_path / "smtp_url"
    path.write_text(f"smtp://me:{PASSWORD}@mail.example.com\n")
    path.chmod(0o600)
    settings = read(SMTP_URL_FILE=str(path))
    assert settings.mail == MailSettings(
        "mail.example.com", 587, "me", settings.mail.password, "starttls"
    )
    assert settings.mail.password.reveal() == PASSWORD
    assert PASSWORD not in repr(settings)
    path.chmod(0o644)
    with pytest.raises(InvalidSetting, match=r"^SMTP_URL_FILE: other users can read"):
        read(SMTP_URL_FILE=str(path))


def test_mail_goes_to_the_mailbox_only_on_loopback_without_a_server(read) -> None:
    def where(**environ: str) -> tuple[bool, bool, bool]:
        settings = read(**environ)
        return settings.mail is not None, settings.has_mailbox, settings.sends_mail

    assert where() == (False, True, True)
    assert where(SMTP_URL=SERVER) == (True, False, True)
    assert where(**PUBLIC, SMTP_URL=SERVER) == (True, False, True)
    assert where(**PUBLIC) == (False, False, False)
    assert where(**PUBLIC, HOST="127.0.0.1") == (False, False, False)


def test_a_public_site_without_a_server_causes_a_warning(read) -> None:
    assert read(**PUBLIC).notices == (
        "warning: SMTP_URL is not set: no mail is sent, and nobody can reset a password",
    )
    assert read().notices == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail@example.com", Sender("", "mail@example.com")),
        ("Latchkey <mail@example.com>", Sender("Latchkey", "mail@example.com")),
        ('"Latchkey, Inc." <mail@example.com>', Sender("Latchkey, Inc.", "mail@example.com")),
        ("Schlüssel <mail@[192.0.2.1]>", Sender("Schlüssel", "mail@[192.0.2.1]")),
        ("<mail@example.com>", Sender("", "mail@example.com")),
    ],
)
def test_the_sender_is_an_email_with_or_without_a_name(read, text: str, expected: Sender) -> None:
    settings = read(SMTP_URL=SERVER, MAIL_FROM=text)
    assert (settings.mail_from, settings.notices) == (expected, ())


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://example.com", "no-reply@example.com"),
        ("http://localhost:8000", "no-reply@localhost"),
        ("http://127.0.0.1:8000", "no-reply@[127.0.0.1]"),
        ("http://[::1]:8000", "no-reply@[IPv6:::1]"),
    ],
)
def test_the_default_sender_causes_a_warning_with_a_server(read, base_url: str, expected) -> None:
    settings = read(BASE_URL=base_url, SMTP_URL=SERVER)
    assert settings.mail_from == Sender(None, expected)
    assert settings.notices == (
        f"warning: MAIL_FROM is not set: mail is sent from {expected}, which needs SPF and DKIM "
        "records of that domain",
    )


@pytest.mark.parametrize(
    "value",
    [
        "nobody",
        "a@example.com, b@example.com",
        "a@example.com\nBcc: b@example.com",
        "a\r\nBcc: b@example.com <a@example.com>",
        "Name <a@example.com",
        "Name a@example.com",
        "<Name> <a@example.com>",
        "a b@example.com",
        "ä@example.com",
        "a@ex ample.com",
        "a@b@example.com",
        f"{'x' * 400} <a@example.com>",
    ],
)
@pytest.mark.parametrize("name", ["MAIL_FROM", "MAIL_REPLY_TO"])
def test_another_sender_stops_the_start(read, name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: ") as refused:
        read(**{name: value})
    assert "\n" not in str(refused.value)


def test_the_reply_to_is_an_email_without_a_name(read) -> None:
    assert read().mail_reply_to == ""
    assert read(MAIL_REPLY_TO="help@example.com").mail_reply_to == "help@example.com"
    with pytest.raises(InvalidSetting, match=r"^MAIL_REPLY_TO: "):
        read(MAIL_REPLY_TO="Help <help@example.com>")


@pytest.mark.parametrize(
    ("name", "value"), [("SIGNUP_PRIVACY", "private"), ("EMAIL_VERIFICATION", "required")]
)
def test_settings_that_need_mail_are_refused_without_it(read, name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: {value} needs mail: set SMTP_URL"):
        read(**PUBLIC, **{name: value})
    for environ in ({}, {**PUBLIC, "SMTP_URL": SERVER}):
        assert read(**environ, **{name: value}).email_verification == "required"


def test_private_signup_requires_verification(read) -> None:
    assert read().email_verification == "optional"
    settings = read(SIGNUP_PRIVACY="private", EMAIL_VERIFICATION="optional")
    assert (settings.private, settings.email_verification) == (True, "required")
    with pytest.raises(InvalidSetting, match=r"^EMAIL_VERIFICATION: must be optional or required"):
        read(EMAIL_VERIFICATION="always")
