"""Tests of the networks whose rate limits apply to an IP address."""

import pytest

from db.rate_limits.ip_networks import find_largest_network, find_networks, per_client
from db.rate_limits.limits import SIGNUP_MINUTE


@pytest.mark.asvs("S56")
@pytest.mark.parametrize(
    ("ip_address", "names"),
    [
        ("198.51.100.9", ["198.51.100.9"]),
        ("::ffff:198.51.100.9", ["198.51.100.9"]),
        ("2002:c633:6409:7:1::2", ["198.51.100.9"]),  # 6to4 (RFC 3056)
        ("64:ff9b::c633:6409", ["198.51.100.9"]),  # NAT64 (RFC 6052)
        # The local NAT64 prefix of RFC 8215 is a network of one site.
        ("64:ff9b:1:fffe::c633:6409", ["64:ff9b:1:fffe::c633:6409"]),
        ("2001:db8:1:2ff::1", ["2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]),
        (
            "2001:DB8:1:2ff:ffff::9",
            ["2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"],
        ),
        ("fe80::1%eth0", ["fe80::/64", "fe80::/56", "fe80::/48"]),
        ("::1", ["::/64", "::/56", "::/48"]),
        ("", ["unknown"]),
        ("nonsense", ["unknown"]),
    ],
)
def test_an_ip_address_counts_for_its_client_and_its_networks(
    ip_address: str, names: list[str]
) -> None:
    assert [network.name for network in find_networks(ip_address)] == names
    assert find_largest_network(ip_address) == names[-1]


@pytest.mark.asvs("S56")
def test_a_larger_network_has_larger_buckets() -> None:
    bursts = [limit.burst for limit, _ in per_client(SIGNUP_MINUTE, "2001:db8::1")]
    assert bursts == [SIGNUP_MINUTE.burst, 2 * SIGNUP_MINUTE.burst, 4 * SIGNUP_MINUTE.burst]
