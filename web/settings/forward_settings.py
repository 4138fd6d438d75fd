"""Contains the settings for applications behind the same reverse proxy: RETURN_TO and
COOKIE_DOMAIN.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from db.ip_addresses import is_loopback, parse_ip
from web.settings.environment import Environment, InvalidSetting
from web.settings.hosts import canonical_host, canonical_origin

# A path whose meaning no browser, proxy or application can change: no empty or dot segments, no
# backslash, and no encoded slash, backslash, dot or control character.
ENCODED_CHARACTER: Final = r"%(?!2[EeFf]|5[Cc]|7[Ff]|[01])[0-9A-Fa-f]{2}"
PATH_CHARACTER: Final = rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|{ENCODED_CHARACTER})"
PLAIN_PATH: Final = re.compile(rf"(?:/(?!\.\.?(?:/|$)){PATH_CHARACTER}+)*/?")
RETURN_TO_FORM: Final = "paths such as /app and origins such as https://app.example.com"


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    """The applications that a log-in may return to, and the domain of the session cookie.

    A path includes every path below it. `cookie_domain` is empty unless sub-domains share the
    session cookie.
    """

    return_paths: tuple[str, ...] = ()
    return_origins: tuple[str, ...] = ()
    cookie_domain: str = ""

    def allows_path(self, path: str) -> bool:
        """Returns whether a path of this site, without its query, belongs to an application."""
        return bool(PLAIN_PATH.fullmatch(path)) and any(
            allowed == "/" or path == allowed or path.startswith(f"{allowed}/")
            for allowed in self.return_paths
        )

    def allows_url(self, url: str) -> bool:
        """Returns whether a URL without its query is a plain path on an allowed origin."""
        for origin in self.return_origins:
            if url == origin:
                return True
            if url.startswith(f"{origin}/") and PLAIN_PATH.fullmatch(url.removeprefix(origin)):
                return True
        return False


def read_forward_settings(env: Environment, base_url: str) -> ForwardSettings:
    """Reads RETURN_TO and COOKIE_DOMAIN. Raises InvalidSetting."""
    paths: list[str] = []
    origins: list[str] = []
    for item in (part.strip() for part in env.text("RETURN_TO", "").split(",")):
        if item.startswith("/"):
            paths.append(_return_path(item))
        elif item:
            origins.append(canonical_origin("RETURN_TO", item, RETURN_TO_FORM))
    # Paths of this site are listed as paths, so that its own pages are never taken for them.
    if base_url in origins:
        raise InvalidSetting("RETURN_TO", "contains the origin of BASE_URL: list a path instead")
    return ForwardSettings(
        tuple(dict.fromkeys(paths)),
        tuple(dict.fromkeys(origins)),
        _cookie_domain(env.text("COOKIE_DOMAIN", ""), base_url),
    )


def _return_path(path: str) -> str:
    """Returns the path without its last slash. Raises InvalidSetting."""
    if not PLAIN_PATH.fullmatch(path):
        raise InvalidSetting("RETURN_TO", f"must be {RETURN_TO_FORM}, not {path[:80]!r}")
    return path.rstrip("/") or "/"


def _cookie_domain(text: str, base_url: str) -> str:
    """Returns COOKIE_DOMAIN in lower case; empty if it is not set. Raises InvalidSetting.

    Browsers refuse a public suffix such as `co.uk`, and nobody could log in. Only one with a single
    label is recognized here.
    """
    if not text:
        return ""
    host = urlsplit(base_url).hostname or ""
    if is_loopback(host) or parse_ip(host) is not None:
        raise InvalidSetting("COOKIE_DOMAIN", "needs a BASE_URL with a domain name, not loopback")
    domain = canonical_host("COOKIE_DOMAIN", text.lower())
    if "." not in domain:
        raise InvalidSetting("COOKIE_DOMAIN", f"must have two labels or more, not {domain[:80]!r}")
    if host != domain and not host.endswith(f".{domain}"):
        raise InvalidSetting(
            "COOKIE_DOMAIN", f"must be a parent domain of {host}, not {domain[:80]!r}"
        )
    return domain
