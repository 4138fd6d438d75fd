"""Contains the one function that parses IP addresses, and recognizes those of this machine."""

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_ip(text: str) -> IPAddress | None:
    """Returns the IP address, or None if the text is not one.

    An IPv4 address in IPv6 notation (`::ffff:192.0.2.1`) becomes the IPv4 address.
    """
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def is_loopback(host: str) -> bool:
    """Returns whether a host name or an IP address refers to this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    ip = parse_ip(host)
    return ip is not None and ip.is_loopback
