"""Contains the functions that read the settings of mail: SMTP_URL, MAIL_FROM and MAIL_REPLY_TO."""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from db.crypto.secret import Secret
from db.ip_addresses import is_loopback, parse_ip
from web.settings.environment import Environment, InvalidSetting
from web.settings.hosts import canonical_host

MailTls = Literal["starttls", "tls", "none"]

STARTTLS_PORT: Final = 587  # RFC 6409, section 3.1
TLS_PORT: Final = 465  # RFC 8314, section 3.3
FORMAT: Final = "must be smtp://user:password@host:587 or smtps://user:password@host:465"
PERCENT_ENCODING: Final = "in a user name or password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
# The domain may be a literal such as [127.0.0.1] (RFC 5321, section 4.1.3).
EMAIL: Final = (
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Za-z.:]{1,45}\])"
)
SENDER_PATTERN: Final = re.compile(rf"(?:\"?([^<>\"]*?)\"?\s*<({EMAIL})>|({EMAIL}))")


@dataclass(frozen=True, slots=True)
class MailSettings:
    """The SMTP server, and how to connect to it.

    `tls` is `starttls` (required), `tls` from the first byte, or `none`. `ca` is a PEM file of
    certificates that are trusted instead of those of the system.
    """

    host: str
    port: int
    username: str = ""
    password: Secret[str] | None = field(default=None, repr=False)
    tls: MailTls = "starttls"
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """The name and the email in the From header. The name None is that of the brand."""

    name: str | None
    email: str


def read_mail_settings(env: Environment) -> MailSettings | None:
    """Returns the SMTP server of SMTP_URL, or None without one. Raises InvalidSetting.

    The message of an error never contains the URL, because a typing error can put its password
    anywhere.
    """
    value = env.secret("SMTP_URL")
    if value is None:
        return None
    url = _split(value.reveal())
    host = canonical_host("SMTP_URL", url.hostname or "")
    username, password = _credentials(url)
    tls, ca = _tls_options(url, host)
    if tls == "none" and password is not None and not is_loopback(host):
        raise InvalidSetting("SMTP_URL", "sends the password unencrypted: remove tls=none")
    port = url.port or (TLS_PORT if tls == "tls" else STARTTLS_PORT)
    return MailSettings(host, port, username, password, tls, ca)


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        port = url.port  # Raises ValueError if the port is not a number.
    except ValueError:
        raise InvalidSetting("SMTP_URL", f"{FORMAT}; {PERCENT_ENCODING}") from None
    has_control_characters = any(not character.isprintable() for character in text)
    if (
        url.scheme not in ("smtp", "smtps")
        or not url.hostname
        or port == 0
        or url.path not in ("", "/")
        or has_control_characters
        or " " in text
    ):
        raise InvalidSetting("SMTP_URL", f"{FORMAT}; {PERCENT_ENCODING}")
    if "#" in text or url.netloc.count("@") > 1:
        raise InvalidSetting("SMTP_URL", PERCENT_ENCODING)
    return url


def _credentials(url: SplitResult) -> tuple[str, Secret[str] | None]:
    """Returns the decoded user name and password. Raises InvalidSetting."""
    if "@" not in url.netloc:
        return "", None
    try:
        username, password = (
            unquote(part or "", errors="strict") for part in (url.username, url.password)
        )
    except UnicodeDecodeError:
        raise InvalidSetting("SMTP_URL", "is not UTF-8 after percent-decoding") from None
    if not username or not password:
        raise InvalidSetting("SMTP_URL", "needs both a user name and a password, or neither")
    if any(ord(character) < 32 or ord(character) == 127 for character in username + password):
        raise InvalidSetting("SMTP_URL", "has a control character in the user name or password")
    return username, Secret(password)


def _tls_options(url: SplitResult, host: str) -> tuple[MailTls, Path | None]:
    """Returns TLS and the certificate file of the scheme and the options. Raises InvalidSetting."""
    try:
        pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        pairs = [] if not url.query else [("", "")]
    options = dict(pairs)
    if len(options) < len(pairs) or options.keys() - {"tls", "ca"}:
        raise InvalidSetting("SMTP_URL", "has an unknown option: only tls and ca exist, each once")
    tls = "tls" if url.scheme == "smtps" else "none" if is_loopback(host) else "starttls"
    if "tls" in options:
        tls = options["tls"]
        if url.scheme == "smtps" or tls not in ("starttls", "none"):
            raise InvalidSetting("SMTP_URL", "tls must be starttls or none, and only with smtp://")
    ca = options.get("ca")
    if ca is None:
        return cast(MailTls, tls), None
    if tls == "none":
        raise InvalidSetting("SMTP_URL", "ca needs TLS: use smtps:// or tls=starttls")
    return cast(MailTls, tls), _certificates(Path(ca))


def _certificates(path: Path) -> Path:
    """Returns the path if the file can be loaded. Raises InvalidSetting."""
    if not path.is_absolute():
        raise InvalidSetting("SMTP_URL", "the path of ca must be absolute")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is an OSError.
        reason = "it has no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise InvalidSetting("SMTP_URL", f"the file of ca cannot be used: {reason}") from None
    return path


def read_sender(env: Environment, host: str, *, has_server: bool) -> Sender:
    """Returns MAIL_FROM, by default a no-reply email at `host`. Raises InvalidSetting.

    With an SMTP server, the default causes a warning, because the domain must allow that server.
    """
    text = env.text("MAIL_FROM", "")
    if not text:
        sender = Sender(None, f"no-reply@{mail_domain(host)}")
        if has_server:
            env.notices.append(
                f"warning: MAIL_FROM is not set: mail is sent from {sender.email}, which needs "
                "SPF and DKIM records of that domain"
            )
        return sender
    match = SENDER_PATTERN.fullmatch(text)
    if match is None or not text.isprintable() or len(text) > 320:
        raise InvalidSetting(
            "MAIL_FROM", f"must be an email or `Name <email>` on one line, not {text[:80]!r}"
        )
    return Sender((match[1] or "").strip(), match[2] or match[3])


def read_reply_to(env: Environment) -> str:
    """Returns MAIL_REPLY_TO, an email, or an empty string. Raises InvalidSetting."""
    text = env.text("MAIL_REPLY_TO", "")
    if text and not re.fullmatch(EMAIL, text):
        raise InvalidSetting("MAIL_REPLY_TO", f"must be an email, not {text[:80]!r}")
    return text


def mail_domain(host: str) -> str:
    """Returns a host as the domain of an email; an IP address becomes a literal in brackets.

    RFC 5321, section 4.1.3.
    """
    ip = parse_ip(host)
    if ip is None:
        return host
    return f"[IPv6:{ip}]" if ip.version == 6 else f"[{ip}]"
