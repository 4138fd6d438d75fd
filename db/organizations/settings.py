"""The settings of organizations with an identity provider of their own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrganizationSettings:
    """What the operator has set.

    `is_enabled` says whether administrators may bind the domain of an organization to an issuer.
    `public_url` is the URL of the program, without a slash at the end. With `allows_loopback`, an
    issuer may be on this machine, which is for development only. `dns_server` is the IP address and
    the port of the DNS server that verifies domains; None for those of the machine.
    """

    is_enabled: bool = False
    public_url: str = "http://localhost:8000"
    allows_loopback: bool = False
    dns_server: tuple[str, int] | None = None
