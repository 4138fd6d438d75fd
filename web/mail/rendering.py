"""Contains the renderer of mails, which makes text and HTML of one template.

A template in partials/mail/ has the text of a mail. Its paragraphs are separated by empty lines:

- A paragraph whose second line is the link of the mail becomes a button.
- A paragraph whose second line is another URL ends with this link.
- Lines that begin with two spaces, such as `  Device: Firefox on Linux`, become a table.

A mail has the language of its recipient.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from jinja2.ext import InternationalizationExtension

from db.access import outbox
from db.device_names import known_description
from db.messages import Message, translate
from web.brand import LATCHKEY, Brand
from web.languages import ENGLISH, LANGUAGES, Language, Languages
from web.rendering.local_formats import format_moment
from web.rendering.translation import TranslatingCodeGenerator
from web.settings.mail_settings import EMAIL, Sender, mail_domain
from web.settings.paths import ROOT
from web.settings.settings import Settings

if TYPE_CHECKING:
    from email.headerregistry import Address
    from email.message import EmailMessage

PARTIALS: Final = ROOT / "partials" / "mail"
SUBJECTS: Final[Mapping[str, str]] = {
    "verify": Message("Confirm your email"),
    "exists": Message("You already have an account"),
    "reset": Message("Choose a new password"),
    "change": Message("Confirm your new email"),
    "moved": Message("Your email was changed"),
    "arrived": Message("Your new email is confirmed"),
    "new-device": Message("New log-in to your account"),
    "password": Message("Your password was changed"),
    "token": Message("New access token for your account"),
    "factor": Message("The ways to log in to your account changed"),
    "second-step": Message("A log-in to your account stopped at the second step"),
    "locked": Message("Your account is locked"),
    "guesses": Message("Someone keeps guessing your password"),
    "invite": Message("Accept your invitation"),
    "added": Message("You have a new account"),
    "leaving": Message("Your account will be deleted"),
    "removal": Message("Your account was closed"),
    "deleted": Message("Your account was deleted"),
}
LINK_PATHS: Final[Mapping[str, str]] = {
    "verify": "/verify",
    "exists": "/reset",
    "reset": "/reset",
    "locked": "/reset",
    "change": "/change-email",
    "moved": "/not-me",
    "new-device": "/not-me",
    "password": "/not-me",
    "invite": "/join",
    "leaving": "/keep",
    "token": "/not-me",
    "factor": "/not-me",
    "second-step": "/not-me",
}
TEST_SUBJECT: Final = Message("Test mail")
TEST_FOOT: Final = Message("You get this mail because the operator of {site} tests its mail.")
INVITATION_FOOT: Final = Message(
    "You get this mail because an administrator of {site} invited {recipient}."
)
ACCOUNT_FOOT: Final = Message("You get this mail because {recipient} has an account at {site}.")
UNPROVEN_FOOT: Final = Message(
    "You get this mail because someone entered {recipient} as their email at {site}."
)
# The format in which db.mail.outbox stores the times of a mail, and the facts that are times.
TIME_FORMAT: Final = "%d %B %Y, %H:%M UTC"
TIMES: Final = ("time", "until", "date")
# The browser or the IP address of a request may be unknown.
EMPTY_FACT: Final = re.compile(r"^  [^\n:]+: *(?:\n|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a button (with `label` and `url`) or a table of `facts`.

    A paragraph may end with the link `url`.
    """

    text: str = ""
    label: str = ""
    url: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class MailContent:
    """The content of a mail. `link` is its main link, or empty."""

    subject: str
    text: str
    html: str
    link: str

    @property
    def style_hash(self) -> str:
        """Returns the hash of the style for a Content-Security-Policy."""
        style = self.html.partition("<style>")[2].partition("</style>")[0]
        digest = hashlib.sha256(style.encode()).digest()
        return f"sha256-{base64.b64encode(digest).decode()}"


class MailRenderer:
    """Renders the messages of the outbox. Its templates are compiled at the first mail of each
    language.
    """

    def __init__(
        self,
        settings: Settings,
        brand: Brand = LATCHKEY,
        product_partials: Path | None = None,
        languages: Languages = LANGUAGES,
    ) -> None:
        self._brand = brand
        self._languages = languages
        self._templates: dict[str, Environment] = {}
        # A template of the product replaces that of the same name.
        product_mails = [product_partials / "mail"] if product_partials else []
        self._folders = [*product_mails, PARTIALS]
        self._site = settings.public_url
        self._domain = mail_domain(urlsplit(settings.base_url).hostname or "")
        self.sender = settings.mail_from
        if self.sender.name is None:
            self.sender = Sender(brand.sender_name, self.sender.email)
        self._reply_to = settings.mail_reply_to

    def _templates_of(self, language: Language) -> Environment:
        """Returns the environment of a language. It escapes HTML, and no text."""
        if language.code not in self._templates:
            self._templates[language.code] = self._make_environment(language)
        return self._templates[language.code]

    def _make_environment(self, language: Language) -> Environment:
        env = Environment(
            extensions=[InternationalizationExtension],
            loader=FileSystemLoader(self._folders),
            autoescape=select_autoescape(["html"], ["txt"], default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        env.code_generator_class = TranslatingCodeGenerator
        env.policies["ext.i18n.trimmed"] = True
        env.install_gettext_translations(language, newstyle=True)  # type: ignore[attr-defined]
        env.filters["tr"] = lambda text: translate(text, language)
        env.globals.update(brand=self._brand, language=language)
        return env

    def build(self, message: outbox.Message) -> "EmailMessage":
        """Returns the mail of a message. Raises ValueError if a value does not fit in a mail."""
        content = self.render(message)
        return self._assemble(content, message.recipient, message.id, message.created_at)

    def build_test(self, recipient: str) -> "EmailMessage":
        """Returns a mail in English that tests the SMTP server."""
        words = self._templates_of(ENGLISH).get_template("test.txt").render(site=self._site)
        foot = TEST_FOOT.format(site=self._site)
        content = self._lay_out(ENGLISH, TEST_SUBJECT, words.strip(), foot, link="")
        return self._assemble(content, recipient, token_urlsafe(32), datetime.now(UTC))

    def render(self, message: outbox.Message) -> MailContent:
        """Returns the content of a message. Raises ValueError if a value does not fit in a mail."""
        # An invitation has no user yet. Its facts contain the language of the administrator.
        code = message.language or message.facts.get("language", "")
        language = self._languages.get(code) or self._languages["en"]
        values = self._values(message, language)
        template = self._templates_of(language).get_template(f"{message.message_type}.txt")
        words = EMPTY_FACT.sub("", template.render(values).strip())
        words = re.sub(r"\n{3,}", "\n\n", words)
        foot = ACCOUNT_FOOT if message.facts.get("proven") else UNPROVEN_FOOT
        if message.message_type == "invite":
            foot = INVITATION_FOOT
        foot = foot.format(recipient=message.recipient, site=self._site)
        subject = SUBJECTS[message.message_type]
        return self._lay_out(language, subject, words, foot, values["link"])

    def _lay_out(
        self, language: Language, subject: str, words: str, foot: str, link: str
    ) -> MailContent:
        subject, foot = translate(subject, language), translate(foot, language)
        context = {"subject": subject, "words": words, "foot": foot}
        blocks = [_block(part, link) for part in words.split("\n\n")]
        templates = self._templates_of(language)
        return MailContent(
            subject,
            templates.get_template("layout.txt").render(context).strip() + "\n",
            templates.get_template("layout.html").render(context, blocks=blocks),
            link,
        )

    def _assemble(
        self, content: MailContent, recipient: str, message_id: str, created_at: datetime
    ) -> "EmailMessage":
        # These imports take 20 ms, and the start of the program does not need them.
        from email.message import EmailMessage
        from email.policy import SMTP

        mail = EmailMessage(policy=SMTP)
        mail["From"] = _address(self.sender.email, self.sender.name or "")
        mail["To"] = _address(recipient)
        if self._reply_to:
            mail["Reply-To"] = _address(self._reply_to)
        mail["Subject"] = content.subject
        mail["Date"] = created_at
        mail["Message-ID"] = f"<{message_id}@{self._domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834, section 5
        mail.set_content(content.text, cte="quoted-printable")
        mail.add_alternative(content.html, subtype="html", cte="quoted-printable")
        return mail

    def _values(self, message: outbox.Message, language: Language) -> dict[str, str]:
        """Returns the values for the templates. Raises ValueError.

        A value with a line break could add a paragraph or a link.
        """
        if not re.fullmatch(EMAIL, message.recipient):
            raise ValueError("the recipient is not an ASCII email")
        for name, value in message.facts.items():
            if not value.isprintable():
                raise ValueError(f"{name} has a control character")
        path = LINK_PATHS.get(message.message_type, "")
        if path and message.token is None:
            raise ValueError("the key of its link was removed from SESSION_SECRET")
        link = f"{self._site}{path}/{message.token.reveal()}" if path and message.token else ""
        facts = {
            name: _localize(name, value, language)
            for name, value in message.facts.items()
            if name != "language"
        }
        return {
            **facts,
            "email": message.recipient,
            "site": self._site,
            "link": link,
            "forgot": f"{self._site}/forgot",
            "login": f"{self._site}/login",
            "account": f"{self._site}/account",
        }


def _localize(name: str, value: str, language: Language) -> str:
    """Returns a fact of the outbox in a language: a time in its format, or a translated device."""
    if name == "browser":
        return known_description(value).in_language_of(language)
    if name not in TIMES or language.code == "en":
        return value
    try:
        moment = datetime.strptime(value, TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return value
    return format_moment(moment, language)


def _address(email: str, name: str = "") -> "Address":
    """Returns an email for a header. Raises ValueError without the email, for the log.

    A plain string with a comma would become two recipients.
    """
    from email.errors import MessageError
    from email.headerregistry import Address

    try:
        return Address(name, addr_spec=email)
    except (MessageError, ValueError, IndexError):
        raise ValueError("an email is not valid") from None


def _block(paragraph: str, link: str) -> Block:
    """Returns a paragraph of the text as a block of the HTML."""
    lines = paragraph.split("\n")
    if paragraph.startswith("  "):
        facts = (line.strip().partition(": ") for line in lines)
        return Block(facts=tuple((name, value) for name, _, value in facts))
    text, url = lines if len(lines) == 2 else (paragraph, "")
    if url and url == link:
        return Block(label=text.removesuffix(":"), url=url)
    return Block(text=text, url=url)
