"""Contains the functions that recognize loopback hosts and normalize host names and origins."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

import idna

from db.ip_addresses import is_loopback, parse_ip
from web.settings.environment import InvalidSetting

HOST_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"


def canonical_host(name: str, host: str) -> str:
    """Returns a host in lower case, with IDNA in ASCII and the shortest IPv6, without brackets.

    Raises InvalidSetting for the variable `name`, without the value.
    """
    try:
        if ":" in host:
            return str(ipaddress.IPv6Address(host))
        ascii_host = (
            host if host.isascii() else idna.encode(host, uts46=True, transitional=False).decode()
        )
    except (idna.IDNAError, ValueError):
        ascii_host = ""
    # Browsers parse a host that ends in a number as IPv4.
    ends_in_number = re.search(r"(^|\.)(0x[0-9a-f]*|[0-9]+)$", ascii_host)
    if not re.fullmatch(rf"{HOST_LABEL}(\.{HOST_LABEL})*", ascii_host) or (
        ends_in_number and parse_ip(ascii_host) is None
    ):
        raise InvalidSetting(name, "has no valid host")
    return ascii_host


def split_url(name: str, text: str) -> SplitResult:
    """Returns the parts of a URL. Raises InvalidSetting for the variable `name`."""
    try:
        url = urlsplit(text)
        _ = url.port  # Raises ValueError if the port is not a number.
    except ValueError:
        raise InvalidSetting(name, "is not a URL") from None
    return url


def canonical_origin(
    name: str, text: str, form: str = "an origin such as https://example.com"
) -> str:
    """Returns an origin in the form of an Origin header. Raises InvalidSetting.

    `form` describes the values of the variable `name`. Only a loopback host may use http, because
    others on the network could read what is sent.
    """
    url = split_url(name, text)
    if (
        url.scheme not in ("http", "https")
        or not url.hostname
        or url.path.strip("/")
        or url.query
        or url.fragment
    ):
        raise InvalidSetting(name, f"must be {form}, not {text[:80]!r}")
    if "@" in url.netloc:
        raise InvalidSetting(name, "must not contain a user name or password")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise InvalidSetting(name, f"must be https unless it is loopback, not {text[:80]!r}")
    # Browsers write the host in this way (URL standard, section 4.5).
    host = canonical_host(name, url.hostname)
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}{_port_of(url)}"


def _port_of(url: SplitResult) -> str:
    """Returns the port with a colon, or an empty string for the default port of the scheme."""
    default = {"http": 80, "https": 443}[url.scheme]
    return f":{url.port}" if url.port not in (None, default) else ""
