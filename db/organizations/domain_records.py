"""Looks up the DNS record that verifies the domain of an organization."""

import asyncio
import hmac
from importlib import import_module
from types import ModuleType
from typing import Final

from db.errors import DnsUnavailable
from db.organizations.settings import OrganizationSettings

# The user waits, and a request of a browser has seven seconds.
DEADLINE_SECONDS: Final = 5.0
SUBDOMAIN: Final = "_latchkey"


def record_name(domain: str) -> str:
    """Returns the name of the TXT record."""
    return f"{SUBDOMAIN}.{domain}"


async def has_record(settings: OrganizationSettings, domain: str, proof: str) -> bool:
    """Returns whether the domain has the TXT record (RFC 1035, section 3.3.14) with this text.

    Raises DnsUnavailable if no DNS server answers within five seconds, or none can answer.
    """
    # Importing the resolver takes 60 ms and 6 MiB.
    dns = await asyncio.to_thread(import_module, "dns.asyncresolver")
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            texts = await _find_texts(dns, settings, record_name(domain))
    except TimeoutError:
        raise DnsUnavailable from None
    return any(hmac.compare_digest(text, proof.encode()) for text in texts)


async def _find_texts(dns: ModuleType, settings: OrganizationSettings, name: str) -> list[bytes]:
    """Returns the text of each TXT record of a name. Raises DnsUnavailable.

    A record is a list of strings of up to 255 bytes, which belong together.
    """
    exceptions = import_module("dns.exception")
    try:
        resolver = dns.Resolver(configure=settings.dns_server is None)
        resolver.lifetime = DEADLINE_SECONDS
        if settings.dns_server is not None:
            host, resolver.port = settings.dns_server
            resolver.nameservers = [host]
        answer = await resolver.resolve(f"{name}.", "TXT", search=False)
    except (dns.NXDOMAIN, dns.NoAnswer):
        return []
    except (exceptions.DNSException, OSError):
        raise DnsUnavailable from None
    return [b"".join(record.strings) for record in answer]
