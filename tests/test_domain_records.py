"""Tests of the DNS record that verifies the domain of an organization, with a real DNS server."""

from collections.abc import Iterator

import dns.rcode
import pytest

from db.errors import DnsUnavailable
from db.organizations.domain_records import has_record
from db.organizations.settings import OrganizationSettings
from tests.dns_server import DnsServer, Record, serving_dns

NAME = "_latchkey.example.com"
PROOF = "latchkey-verification=abc123"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with serving_dns() as server:
        yield server


async def look_up(server: DnsServer, domain: str = "example.com") -> bool:
    settings = OrganizationSettings(dns_server=("127.0.0.1", server.port))
    return await has_record(settings, domain, PROOF)


@pytest.mark.parametrize(
    "records",
    [
        [PROOF],
        ["v=spf1 -all", PROOF, "other"],
        [(PROOF[:10], PROOF[10:])],
        ["x" * 200, PROOF],
    ],
)
async def test_a_record_with_the_text_verifies(server: DnsServer, records: list[Record]) -> None:
    server.records[NAME] = records
    assert await look_up(server)
    assert server.questions == [NAME]


@pytest.mark.parametrize(
    "records",
    [
        [],
        ["latchkey-verification=other"],
        [PROOF.upper()],
        [f"{PROOF} "],
        [f" {PROOF}"],
        [(PROOF, "more")],
        [PROOF[:-1]],
        ["latchkey-verification=", "abc123"],
    ],
)
async def test_any_other_record_does_not_verify(server: DnsServer, records: list[Record]) -> None:
    server.records[NAME] = records
    assert not await look_up(server)


async def test_a_record_of_another_name_does_not_verify(server: DnsServer) -> None:
    server.records |= {"example.com": [PROOF], "_latchkey.example.com.example.com": [PROOF]}
    assert not await look_up(server)


async def test_an_alias_of_the_name_is_followed(server: DnsServer) -> None:
    server.aliases[NAME] = "records.example.net"
    server.records["records.example.net"] = [PROOF]
    assert await look_up(server)


async def test_a_truncated_answer_is_asked_for_by_tcp(server: DnsServer) -> None:
    server.records[NAME] = [PROOF]
    server.is_truncated = True
    assert await look_up(server)
    assert server.questions == [NAME, NAME]


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_an_error_of_the_server_is_no_answer(
    server: DnsServer, rcode: dns.rcode.Rcode
) -> None:
    server.rcode = rcode
    server.records[NAME] = [PROOF]
    with pytest.raises(DnsUnavailable):
        await look_up(server)


@pytest.mark.parametrize(
    "change", [{"is_silent": True}, {"changes_id": True}, {"garbage": b"\0" * 5}]
)
async def test_a_server_without_a_matching_answer_is_unavailable(
    server: DnsServer, change: dict[str, bool | bytes]
) -> None:
    server.records[NAME] = [PROOF]
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(DnsUnavailable):
        await look_up(server)


async def test_a_domain_that_is_too_long_for_dns_has_no_record(server: DnsServer) -> None:
    with pytest.raises(DnsUnavailable):
        await look_up(server, ".".join(["a" * 60] * 4) + ".example")
    assert server.questions == []
