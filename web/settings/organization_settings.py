"""Contains the function that reads the settings of organizations with an identity provider of their
own.
"""

from db.ip_addresses import parse_ip
from db.organizations.settings import OrganizationSettings
from web.settings.environment import Environment, InvalidSetting

DNS_PORT = 53


def read_organization_settings(
    env: Environment, public_url: str, *, loopback: bool
) -> OrganizationSettings:
    """Returns ORGANIZATIONS and DNS_SERVER. Raises InvalidSetting.

    `public_url` is the URL of this program, without a slash at the end, and `loopback` says whether
    its host is this machine.
    """
    return OrganizationSettings(
        is_enabled=env.choice("ORGANIZATIONS", ("off", "on")) == "on",
        public_url=public_url,
        allows_loopback=loopback,
        dns_server=_dns_server(env.text("DNS_SERVER", "")),
    )


def _dns_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    # An IPv6 address has more than one colon, and brackets if a port follows.
    host, _, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    host = host.strip("[]")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port) < 65_536
    if parse_ip(host) is None or not (is_port or not port):
        raise InvalidSetting(
            "DNS_SERVER", f"must be an IP address, or one with a port, not {text[:80]!r}"
        )
    return host, int(port or DNS_PORT)
