"""The networks of an IP address, by which a client's rate limits count."""

import ipaddress
from functools import lru_cache
from typing import Final, NamedTuple

from db.ip_addresses import parse_ip
from db.rate_limits.limits import RateLimit

# The prefix length, and the factor of the network's limits.
IPV6_NETWORKS: Final = ((64, 1), (56, 2), (48, 4))
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.1
LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215


class Network(NamedTuple):
    """A network as text, and the factor by which its limits are larger than those of one client."""

    name: str
    factor: int


@lru_cache(1024)
def find_networks(ip_address: str) -> tuple[Network, ...]:
    """Returns the networks of the IP address, the smallest first.

    IPv4 has one network, the IP address alone. IPv6 has the /64, which is one client, and the /56
    and /48 around it, since providers assign up to a /48 to one customer (RFC 6177). An IPv6
    address that embeds an IPv4 address counts as that one: all NAT64 clients share a /64, and each
    6to4 client has a /48.
    """
    ip = parse_ip(ip_address)
    if ip is None:
        return (Network("unknown", 1),)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = _ipv4_in(ip) or ip
    # In a local NAT64 prefix, the position of the embedded IPv4 address is unknown.
    if isinstance(ip, ipaddress.IPv4Address) or ip in LOCAL_NAT64:
        return (Network(str(ip), 1),)
    return tuple(
        Network(str(ipaddress.IPv6Network((int(ip), size), strict=False)), n)
        for size, n in IPV6_NETWORKS
    )


def per_client(
    limit: RateLimit, ip_address: str, account: str = ""
) -> tuple[tuple[RateLimit, str], ...]:
    """Returns the limit for each network of the client, or for each pair of the account and a
    network.
    """
    about = f"{account}\n" if account else ""
    return tuple(
        (limit.scaled(network.factor), f"{about}{network.name}")
        for network in find_networks(ip_address)
    )


def find_largest_network(ip_address: str) -> str:
    """Returns the IPv4 address, or the /48 of an IPv6 address."""
    return find_networks(ip_address)[-1].name


def _ipv4_in(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Returns the embedded IPv4 address of a 6to4 (RFC 3056) or NAT64 address, or None."""
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.sixtofour
