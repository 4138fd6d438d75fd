"""Contains the functions that recognize loopback hosts and normalize host names."""

import ipaddress
import re
from typing import Final

import idna

from db.ip_addresses import parse_ip
from web.settings.environment import InvalidSetting

HOST_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"


def is_loopback(host: str) -> bool:
    """Returns whether a host name or an IP address refers to this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    ip = parse_ip(host)
    return ip is not None and ip.is_loopback


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
