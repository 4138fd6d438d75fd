"""Contains the functions that read the settings of sign-up: SIGNUP and SIGNUP_DOMAINS."""

from dataclasses import dataclass
from typing import Final, Literal

from web.settings.environment import Environment, InvalidSetting
from web.settings.hosts import canonical_host

SignUpMode = Literal["open", "invited", "closed"]
MAX_DOMAINS: Final = 50


@dataclass(frozen=True, slots=True)
class SignUpSettings:
    """Who may sign up.

    With `invited`, only who was invited by an administrator; with `closed`, nobody. `domains` are
    the domains of the emails that users may sign up with, or empty. One that begins with a dot
    stands for the sub-domains of a domain.
    """

    mode: SignUpMode = "open"
    domains: tuple[str, ...] = ()


def read_sign_up(env: Environment) -> SignUpSettings:
    """Returns SIGNUP and SIGNUP_DOMAINS. Raises InvalidSetting."""
    text = env.text("SIGNUP_DOMAINS", "")
    domains = tuple(_domain(part.strip()) for part in text.split(",")) if text else ()
    if len(domains) > MAX_DOMAINS:
        raise InvalidSetting("SIGNUP_DOMAINS", f"must be at most {MAX_DOMAINS} domains")
    return SignUpSettings(env.choice("SIGNUP", ("open", "invited", "closed")), domains)


def _domain(text: str) -> str:
    """Returns a domain in the form that emails are stored in: lower case, IDNA in ASCII."""
    name = text.removeprefix(".")
    try:
        domain = canonical_host("SIGNUP_DOMAINS", name.lower())
    except InvalidSetting:
        domain = ""
    if "." not in domain or ":" in domain or domain.replace(".", "").isdecimal():
        raise InvalidSetting(
            "SIGNUP_DOMAINS",
            f"must be domains such as example.com, separated by commas, not {text[:80]!r}",
        )
    return f".{domain}" if text.startswith(".") else domain
