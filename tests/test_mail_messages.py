"""Tests of the content of every mail: headers, links, words, and injected text."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import pytest

from db.access.outbox import Message
from db.crypto.secret import Secret
from db.mail.outbox import PURPOSES
from tests.conftest import SECRET
from web.mail.rendering import LINK_PATHS, SUBJECTS, MailRenderer
from web.mail.samples import make_samples
from web.settings.settings import read_settings

SAMPLES = {sample.message_type: sample for sample in make_samples()}
TOKEN = "sample" * 7 + "s"
HOSTILE = {
    "a line feed": "x\nBcc: b@example.com",
    "a carriage return": "x\r\n\r\nhttps://evil.example",
    "a paragraph": "x\n\nLock my account:\nhttps://evil.example",
    "a NUL": "x\0",
    "a direction override": "x\u202edegrof",
    "a line separator": "x\u2028y",
}


@pytest.fixture
def make_renderer(tmp_path: Path) -> Callable[..., MailRenderer]:
    def make(**environ: str) -> MailRenderer:
        return MailRenderer(read_settings({"SESSION_SECRET": SECRET, **environ}, data=tmp_path))

    return make


@pytest.fixture
def renderer(make_renderer: Callable) -> MailRenderer:
    return make_renderer(
        BASE_URL="https://latchkey.example",
        SMTP_URL="smtp://localhost",
        MAIL_FROM="Latchkey <mail@latchkey.example>",
    )


def parsed(mail: EmailMessage) -> EmailMessage:
    """Returns the mail as its recipient's program reads it."""
    received = message_from_bytes(mail.as_bytes(), policy=policy.SMTP)
    assert isinstance(received, EmailMessage)
    assert received.defects == []
    return received


def parts(mail: EmailMessage) -> tuple[str, str]:
    """Returns the text and the HTML."""
    received = parsed(mail)
    text, html = received.get_body(("plain",)), received.get_body(("html",))
    assert text and html
    return tuple(part.get_content().replace("\r\n", "\n") for part in (text, html))


class Words(HTMLParser):
    """Collects the visible text of HTML, and the URLs of its links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.links, self.tags = "", [], []
        self.hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self.hidden += tag in ("style", "head")
        self.links += [value for name, value in attrs if name == "href"]
        self.text += " "

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "head")
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data


def test_every_type_of_message_has_a_sample_and_a_subject() -> None:
    assert SAMPLES.keys() == SUBJECTS.keys() == PURPOSES.keys()
    assert {name for name, purpose in PURPOSES.items() if purpose} == LINK_PATHS.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_the_headers_of_a_mail(renderer: MailRenderer, name: str) -> None:
    mail = parsed(renderer.build(SAMPLES[name]))
    assert {header: str(value) for header, value in mail.items() if header != "Content-Type"} == {
        "From": "Latchkey <mail@latchkey.example>",
        "To": "alice@example.com",
        "Subject": SUBJECTS[name],
        "Date": "Tue, 24 Nov 2026 09:12:00 +0000",
        "Message-ID": f"<sample-{name}@latchkey.example>",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
    }
    assert mail["Date"].datetime == datetime(2026, 11, 24, 9, 12, tzinfo=UTC)
    for part in mail.iter_parts():
        assert part["Content-Transfer-Encoding"] == "quoted-printable"
        assert part.get_content_charset() == "utf-8"


@pytest.mark.parametrize("name", SAMPLES)
def test_the_bytes_of_a_mail_are_short_lines_of_ascii(renderer: MailRenderer, name: str) -> None:
    content = renderer.build(SAMPLES[name]).as_bytes()
    assert content.isascii()
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert max(len(line) for line in content.split(b"\r\n")) <= 998


@pytest.mark.parametrize("name", SAMPLES)
def test_text_and_html_have_the_same_words(renderer: MailRenderer, name: str) -> None:
    text, html = parts(renderer.build(SAMPLES[name]))
    of_text = text.replace("\n-- \n", "\n").replace(":\n", "\n").split()
    of_html = Words(html).text.split()
    # A button has the words of the line above the link, without its colon.
    assert [word.rstrip(":") for word in of_text] == [word.rstrip(":") for word in of_html]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_link_has_its_own_line_and_a_button(renderer: MailRenderer, name: str) -> None:
    text, html = parts(renderer.build(SAMPLES[name]))
    words = Words(html)
    buttons = [attrs for tag, attrs in words.tags if attrs.get("class") == "button"]
    if name not in LINK_PATHS:
        assert (buttons, TOKEN in text, TOKEN in html) == ([], False, False)
        return
    link = f"https://latchkey.example{LINK_PATHS[name]}/{TOKEN}"
    assert text.split("\n").count(link) == 1
    assert [button["href"] for button in buttons] == [link]
    assert words.links.count(link) == 2
    assert words.text.split().count(link) == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_the_html_needs_nothing_from_elsewhere(renderer: MailRenderer, name: str) -> None:
    _, html = parts(renderer.build(SAMPLES[name]))
    tags = [tag for tag, _ in Words(html).tags]
    assert tags.count("style") == 1
    assert not {"script", "img", "link", "form", "iframe", "base"} & {*tags}
    assert not re.search(r"url\(|@import|\sstyle=|\son\w+=", html)
    assert 'name="color-scheme" content="light dark"' in html
    assert "prefers-color-scheme: dark" in html
    assert len(html) < 20_000  # Gmail cuts mails off at 102 kB.


@pytest.mark.parametrize("name", SAMPLES)
def test_a_mail_contains_every_fact_and_no_other_url(renderer: MailRenderer, name: str) -> None:
    sample = SAMPLES[name]
    text, html = parts(renderer.build(sample))
    hidden = {"proven", "by", "change"}
    if name in ("reset", "password"):
        hidden.add("browser")
    for fact, value in sample.facts.items():
        if fact not in hidden:
            assert value in text
            assert value in html
    for url in re.findall(r"https?://[^\s\"<]+", text + html):
        assert url.startswith("https://latchkey.example")


def test_the_foot_says_why_the_recipient_gets_the_mail(renderer: MailRenderer) -> None:
    proven, unproven = (
        SAMPLES["reset"],
        replace(SAMPLES["reset"], facts={**SAMPLES["reset"].facts, "proven": ""}),
    )
    reason = (
        "You get this mail because alice@example.com has an account at https://latchkey.example."
    )
    for message, expected in (
        (proven, reason),
        (
            unproven,
            "You get this mail because someone entered alice@example.com as their email at https://latchkey.example.",
        ),
    ):
        for part in parts(renderer.build(message)):
            assert expected in " ".join(Words(part).text.split())


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("you", "changed by someone who was logged in"),
        ("a link in a mail", "changed with a link from one of our mails"),
        ("the operator", "The operator of the site set a new password"),
    ],
)
def test_a_password_notice_says_who_changed_it(renderer: MailRenderer, by: str, words: str) -> None:
    message = replace(SAMPLES["password"], facts={**SAMPLES["password"].facts, "by": by})
    for part in parts(renderer.build(message)):
        assert words in part


@pytest.mark.parametrize("name", ["new-device", "moved", "reset"])
def test_an_unknown_browser_or_ip_address_leaves_no_empty_line(
    renderer: MailRenderer, name: str
) -> None:
    facts = {**SAMPLES[name].facts, "browser": "", "ip_address": ""}
    text, html = parts(renderer.build(replace(SAMPLES[name], facts=facts)))
    assert "IP address" not in text + html
    assert "Device" not in text + html
    assert "\n\n\n" not in text


@pytest.mark.asvs("S78", "S104")
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("field", ["recipient", "browser", "ip_address"])
def test_a_value_with_a_control_character_is_refused(
    renderer: MailRenderer, field: str, value: str
) -> None:
    sample = SAMPLES["new-device"]
    message = (
        replace(sample, recipient=f"{value}@example.com")
        if field == "recipient"
        else replace(sample, facts={**sample.facts, field: value})
    )
    with pytest.raises(ValueError, match=r"^(the recipient is not|\w+ has a control)") as refused:
        renderer.build(message)
    assert value not in str(refused.value)


@pytest.mark.asvs("S78", "S104")
@pytest.mark.parametrize(
    "recipient",
    [
        "a@example.com, b@example.com",
        "a@example.com,b@example.com",
        "Alice <a@example.com>",
        "a@example.com b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        "ä@example.com",
        "a@",
        "",
    ],
)
def test_a_recipient_that_is_not_one_email_is_refused(
    renderer: MailRenderer, recipient: str
) -> None:
    with pytest.raises(ValueError, match="the recipient is not an ASCII email"):
        renderer.build(replace(SAMPLES["arrived"], recipient=recipient))


@pytest.mark.parametrize("recipient", ["a..b@example.com", ".a@example.com", "a@-"])
def test_an_error_about_an_email_does_not_contain_it(
    renderer: MailRenderer, recipient: str
) -> None:
    try:
        mail = renderer.build(replace(SAMPLES["arrived"], recipient=recipient))
    except ValueError as error:
        assert recipient not in str(error)
    else:
        assert parsed(mail)["To"] == recipient


@pytest.mark.parametrize("recipient", ["o'neil+x@example.com", "a.b_c-d/e=f@xn--bcher-kva.example"])
def test_unusual_emails_get_their_mail(renderer: MailRenderer, recipient: str) -> None:
    mail = parsed(renderer.build(replace(SAMPLES["arrived"], recipient=recipient)))
    assert [address.addr_spec for address in mail["To"].addresses] == [recipient]


@pytest.mark.asvs("S104")
def test_html_in_a_fact_is_escaped_in_html_and_unchanged_in_the_text(
    renderer: MailRenderer,
) -> None:
    sample = SAMPLES["new-device"]
    value = "<b>Fire & 'fox'</b> {{ link }}"
    text, html = parts(renderer.build(replace(sample, facts={**sample.facts, "ip_address": value})))
    assert f"IP address: {value}\n" in text
    assert value not in html
    assert value in Words(html).text


def test_a_message_whose_key_is_gone_is_refused(renderer: MailRenderer) -> None:
    with pytest.raises(ValueError, match="the key of its link was removed"):
        renderer.build(replace(SAMPLES["verify"], token=None))


def test_the_sender_and_the_reply_to_come_from_the_settings(make_renderer: Callable) -> None:
    renderer = make_renderer(
        SMTP_URL="smtp://localhost",
        MAIL_FROM='"Schlüssel, Inc." <mail@example.com>',
        MAIL_REPLY_TO="help@example.com",
    )
    mail = parsed(renderer.build(SAMPLES["arrived"]))
    [sender] = mail["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Schlüssel, Inc.", "mail@example.com")
    assert str(mail["Reply-To"]) == "help@example.com"


@pytest.mark.parametrize(
    ("base_url", "domain"),
    [
        ("http://localhost:8000", "localhost"),
        ("http://127.0.0.1:8000", "[127.0.0.1]"),
        ("http://[::1]:8000", "[IPv6:::1]"),
        (f"https://{'a' * 60}.{'b' * 60}.example", f"{'a' * 60}.{'b' * 60}.example"),
    ],
)
def test_the_message_id_survives_unchanged(
    make_renderer: Callable, base_url: str, domain: str
) -> None:
    renderer = make_renderer(BASE_URL=base_url, SMTP_URL="smtp://localhost")
    message_id = "x" * 43
    mail = renderer.build(replace(SAMPLES["arrived"], id=message_id))
    content = mail.as_bytes()
    assert f"<{message_id}@{domain}>".encode() in content
    assert b"=?" not in content.partition(b"\r\n\r\n")[0]
    assert str(parsed(mail)["Message-ID"]).strip() == f"<{message_id}@{domain}>"


def test_the_token_is_not_in_the_repr_of_a_message() -> None:
    message: Message = replace(SAMPLES["verify"], token=Secret(TOKEN))
    assert TOKEN not in repr(message)
