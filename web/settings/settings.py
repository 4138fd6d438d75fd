"""Contains the immutable settings, and the function that reads them from the environment."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socket import SOCK_STREAM, getaddrinfo
from typing import Final, Literal
from urllib.parse import urlsplit

from db.crypto.secret import Secret
from db.factor_settings import FactorSettings
from db.ip_addresses import is_loopback, parse_ip
from db.organizations.settings import OrganizationSettings
from db.providers.provider import Provider
from db.rate_limits.limits import RateLimit
from db.sessions.lifetimes import SessionLifetimes
from web.settings.base_path import read_base_path
from web.settings.database_url import read_database_url
from web.settings.environment import Environment, InvalidSetting
from web.settings.factor_settings import read_factor_settings
from web.settings.forward_settings import ForwardSettings, read_forward_settings
from web.settings.hosts import canonical_origin, split_url
from web.settings.limit_settings import read_changed_limits
from web.settings.mail_settings import (
    MailSettings,
    Sender,
    read_mail_settings,
    read_reply_to,
    read_sender,
)
from web.settings.organization_settings import read_organization_settings
from web.settings.paths import DATA
from web.settings.provider_settings import read_providers
from web.settings.response_settings import (
    DEFAULT_BODY_BYTES,
    YEAR_SECONDS,
    Hsts,
    read_csp_sources,
    read_hsts,
    read_hsts_max_age,
    read_max_body,
)
from web.settings.session_secret import read_session_secrets
from web.settings.session_settings import read_session_lifetimes
from web.settings.signup_settings import SignUpSettings, read_sign_up
from web.settings.webhook_settings import WebhookSettings, read_webhook_settings

ALL_INTERFACES: Final = "0.0.0.0"  # noqa: S104  (a reverse proxy precedes it)  # nosec B104


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that all commands share.

    `base_path` is the path before every URL of the program, such as `/accounts`, or empty. With
    `private`, sign-up does not reveal whether an email has an account. `breached_passwords` is
    the URL of a range look-up, or empty. `security_contact` is a URI (RFC 9116, section 2.5.3).
    `notices` are lines for the log of the start.
    """

    host: str
    port: int
    base_url: str
    database_url: Secret[str] = field(repr=False)
    session_secrets: tuple[Secret[bytes], ...] = field(repr=False)
    base_path: str = ""
    stateless: bool = False
    encrypted: bool = False
    session_lifetimes: SessionLifetimes = field(default_factory=SessionLifetimes)
    password_policy: str = "guide"  # noqa: S105  (the name of a policy, not a password)
    private: bool = False
    sign_up: SignUpSettings = field(default_factory=SignUpSettings)
    rate_limits: Literal["enforce", "observe", "off"] = "enforce"
    changed_limits: tuple[RateLimit, ...] = ()
    breached_passwords: str = ""
    security_contact: str = ""
    hsts: Hsts = "off"
    hsts_max_age: int = YEAR_SECONDS
    # The sources that each directive of the Content-Security-Policy has besides those of the pages.
    csp_sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    max_body: int = DEFAULT_BODY_BYTES
    json_logs: bool = False
    workers: int = 1
    loads_product: bool = True
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    mail: MailSettings | None = None
    mail_from: Sender = field(default_factory=lambda: Sender(None, "no-reply@localhost"))
    mail_reply_to: str = ""
    email_verification: Literal["optional", "required"] = "optional"
    forward: ForwardSettings = field(default_factory=ForwardSettings)
    factors: FactorSettings = field(default_factory=FactorSettings)
    providers: tuple[Provider, ...] = ()
    organizations: OrganizationSettings = field(default_factory=OrganizationSettings)
    # whether mail is kept in the development mailbox: on loopback without SMTP_URL
    has_mailbox: bool = False
    webhook: WebhookSettings | None = None
    notices: tuple[str, ...] = ()

    @property
    def sends_mail(self) -> bool:
        """Returns whether a mail can reach its recipient, or the development mailbox."""
        return self.mail is not None or self.has_mailbox

    @property
    def public_url(self) -> str:
        """Returns the URL of the program without a slash at the end."""
        return f"{self.base_url}{self.base_path}"

    @property
    def has_providers(self) -> bool:
        """Returns whether users may log in with other identity providers."""
        return bool(self.providers) or self.organizations.is_enabled

    @property
    def https(self) -> bool:
        return self.base_url.startswith("https:")

    @property
    def strategy(self) -> Literal["database", "stateless"]:
        return "stateless" if self.stateless else "database"


def read_settings(
    environ: Mapping[str, str], *, data: Path = DATA, make_secret: bool = True
) -> Settings:
    """Reads the settings from the environment. Raises InvalidSetting.

    Reads and writes only files in `data` and files that a variable names.
    """
    env = Environment(environ)
    port = env.number("PORT", 8000, 1, 65535)
    base_url = _base_url(env, port)
    public_url = f"{base_url}{read_base_path(env)}"
    host = urlsplit(base_url).hostname or ""
    loopback = is_loopback(host)
    secrets = read_session_secrets(env, loopback, data, make_secret=make_secret)
    mail = read_mail_settings(env)
    has_mailbox = loopback and mail is None
    has_mail = mail is not None or loopback
    private = _private(env, has_mail)
    stateless = env.choice("SESSION_STRATEGY", ("database", "stateless")) == "stateless"
    sign_up = read_sign_up(env)
    verification = _email_verification(env, has_mail, private)
    if sign_up.domains and sign_up.mode == "open" and verification == "optional":
        env.notices.append(
            "warning: SIGNUP_DOMAINS: anyone can type an email of these domains; only "
            "EMAIL_VERIFICATION=required makes sure that it is theirs"
        )
    if not has_mail:
        env.notices.append(
            "warning: SMTP_URL is not set: no mail is sent, and nobody can reset a password"
        )
    return Settings(
        host=_host(env, base_url, _loopback_address(host) if loopback else ALL_INTERFACES),
        port=port,
        base_url=base_url,
        base_path=read_base_path(env),
        database_url=read_database_url(env),
        session_secrets=secrets,
        stateless=stateless,
        encrypted=env.choice("SESSION_COOKIE", ("signed", "encrypted")) == "encrypted",
        session_lifetimes=read_session_lifetimes(env, stateless=stateless),
        password_policy=env.choice("PASSWORD_POLICY", ("guide", "length")),
        private=private,
        sign_up=sign_up,
        rate_limits=env.choice("RATE_LIMITS", ("enforce", "observe", "off")),
        changed_limits=read_changed_limits(env),
        breached_passwords=_breached_passwords(env.text("PWNED_PASSWORDS", "off")),
        security_contact=_contact(env.text("SECURITY_CONTACT", f"mailto:security@{host}")),
        hsts=read_hsts(env, base_url, loopback=loopback),
        hsts_max_age=read_hsts_max_age(env),
        csp_sources=read_csp_sources(env),
        max_body=read_max_body(env),
        json_logs=env.choice("LOG_FORMAT", ("text", "json") if loopback else ("json", "text"))
        == "json",
        workers=env.number("WEB_CONCURRENCY", 1, 1, 64),
        loads_product=read_product_choice(env),
        trusted_proxies=_networks(env.text("TRUSTED_PROXIES", "")),
        mail=mail,
        mail_from=read_sender(env, host, has_server=mail is not None),
        mail_reply_to=read_reply_to(env),
        forward=read_forward_settings(env, base_url),
        factors=read_factor_settings(env, base_url),
        providers=read_providers(env, public_url),
        organizations=read_organization_settings(env, public_url, loopback=loopback),
        email_verification=verification,
        has_mailbox=has_mailbox,
        webhook=read_webhook_settings(env),
        notices=tuple(env.notices),
    )


def read_product_choice(env: Environment) -> bool:
    """Returns whether the program loads the folder `product/`. Raises InvalidSetting."""
    return env.choice("PRODUCT", ("on", "off")) == "on"


def require_resolvable_host(settings: Settings) -> None:
    """Raises InvalidSetting if HOST cannot be resolved."""
    try:
        getaddrinfo(settings.host, settings.port, type=SOCK_STREAM)
    except OSError as problem:
        raise InvalidSetting(
            "HOST", f"cannot listen on {settings.host}: {problem.strerror}"
        ) from None


def _loopback_address(host: str) -> str:
    """Returns the IP address to listen on for a loopback host: its own, or 127.0.0.1 for a name."""
    return host if parse_ip(host) else "127.0.0.1"


def _base_url(env: Environment, port: int) -> str:
    form = "an origin such as https://example.com (a path belongs in BASE_PATH)"
    return canonical_origin("BASE_URL", env.text("BASE_URL", f"http://localhost:{port}"), form)


def _host(env: Environment, base_url: str, default: str) -> str:
    """Returns HOST, an IP address or a host name. Raises InvalidSetting.

    Warns if passwords would cross the network unencrypted.
    """
    host = env.text("HOST", default)
    if not re.fullmatch(r"[0-9A-Za-z_.:%-]+", host) or (
        re.fullmatch(r"[0-9.]+", host) and parse_ip(host) is None
    ):
        raise InvalidSetting("HOST", f"must be an IP address or a host name, not {host[:80]!r}")
    if base_url.startswith("http:") and not is_loopback(host):
        env.notices.append(
            f"warning: HOST: {host} is open to other machines, and BASE_URL is plain http"
        )
    return host


def _private(env: Environment, has_mail: bool) -> bool:
    """Returns whether sign-up is private. Raises InvalidSetting without mail.

    Private sign-up needs mail. Without mail, a log-in with the new password shows whether the email
    was free.
    """
    private = env.choice("SIGNUP_PRIVACY", ("open", "private")) == "private"
    if private and not has_mail:
        raise InvalidSetting(
            "SIGNUP_PRIVACY", "private needs mail: set SMTP_URL, or set it to open"
        )
    return private


def _email_verification(
    env: Environment, has_mail: bool, private: bool
) -> Literal["optional", "required"]:
    """Returns EMAIL_VERIFICATION, which private sign-up makes `required`. Raises InvalidSetting."""
    verification: Literal["optional", "required"] = env.choice(
        "EMAIL_VERIFICATION", ("optional", "required")
    )
    if verification == "required" and not has_mail:
        raise InvalidSetting(
            "EMAIL_VERIFICATION", "required needs mail: set SMTP_URL, or set it to optional"
        )
    return "required" if private else verification


def _breached_passwords(text: str) -> str:
    """Returns the URL of Have I Been Pwned's range look-up or of a mirror; empty for `off`."""
    if text in ("off", "on"):
        return "https://api.pwnedpasswords.com" if text == "on" else ""
    url = split_url("PWNED_PASSWORDS", text)
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
        raise InvalidSetting(
            "PWNED_PASSWORDS", f"must be off, on, or an https URL, not {text[:80]!r}"
        )
    return text.rstrip("/")


def _contact(text: str) -> str:
    if not re.fullmatch(r"(mailto:|https://|tel:)[!-~]{3,200}", text):
        raise InvalidSetting(
            "SECURITY_CONTACT", f"must be mailto:…, https://… or tel:…, not {text[:80]!r}"
        )
    return text


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise InvalidSetting(
            "TRUSTED_PROXIES",
            f"must be IP addresses or networks, separated by commas, not {text[:80]!r}",
        ) from None
