"""Contains the domains that most users have their mail at, and finds a likely typo of one.

Maintain the list by hand: a domain belongs here if many users of the site have it. Every domain in
the list is accepted as it is, so also list those that differ from another by one letter.
"""

from typing import Final

COMMON_DOMAINS: Final = (
    "gmail.com",
    "googlemail.com",
    "yahoo.com",
    "yahoo.ca",
    "yahoo.co.in",
    "yahoo.co.jp",
    "yahoo.co.uk",
    "yahoo.com.br",
    "yahoo.de",
    "yahoo.es",
    "yahoo.fr",
    "yahoo.it",
    "ymail.com",
    "rocketmail.com",
    "hotmail.com",
    "hotmail.co.uk",
    "hotmail.de",
    "hotmail.es",
    "hotmail.fr",
    "hotmail.it",
    "outlook.com",
    "outlook.de",
    "outlook.es",
    "outlook.fr",
    "live.com",
    "msn.com",
    "icloud.com",
    "me.com",
    "mac.com",
    "aol.com",
    "mail.com",
    "email.com",
    "gmx.at",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "web.de",
    "freenet.de",
    "t-online.de",
    "proton.me",
    "protonmail.com",
    "fastmail.com",
    "tutanota.com",
    "zoho.com",
    "orange.fr",
    "laposte.net",
    "libero.it",
    "comcast.net",
    "verizon.net",
    "btinternet.com",
    "yandex.com",
    "yandex.ru",
    "mail.ru",
    "qq.com",
    "163.com",
    "naver.com",
)
# A shorter name differs by one letter from too many real domains: me.com and be.com.
MIN_NAME_CHARS: Final = 5
COM_TYPOS: Final = ("con", "cm", "om", "co", "comm", "vom", "xom", "ocm", "cmo")


def suggest_domain(email: str) -> str | None:
    """Returns the common domain that the email's domain is probably a typo of.

    Returns None if the domain is in the list, or not close to one.
    """
    domain = email.strip().lower().rpartition("@")[2]
    if domain in COMMON_DOMAINS:
        return None
    name, _, ending = domain.rpartition(".")
    if ending in COM_TYPOS and f"{name}.com" in COMMON_DOMAINS:
        return f"{name}.com"
    return next((known for known in COMMON_DOMAINS if _is_typo(domain, known)), None)


def _is_typo(typed: str, known: str) -> bool:
    """Returns whether one insertion, deletion, replacement or swap turns one into the other."""
    if len(known.partition(".")[0]) < MIN_NAME_CHARS or abs(len(typed) - len(known)) > 1:
        return False
    start = 0
    while start < min(len(typed), len(known)) and typed[start] == known[start]:
        start += 1
    rest, known_rest = typed[start:], known[start:]
    return (
        rest[1:] == known_rest[1:]
        or rest[1:] == known_rest
        or rest == known_rest[1:]
        or (rest[:2] == known_rest[1::-1] and rest[2:] == known_rest[2:])
    )
