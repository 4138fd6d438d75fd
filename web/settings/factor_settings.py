"""Contains the function that reads the settings of second steps and passkeys."""

from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from db.factor_settings import FactorSettings
from db.ip_addresses import parse_ip
from web.settings.environment import Environment, InvalidSetting
from web.settings.hosts import canonical_host

# The second-level labels below which country domains are registered, such as `co.uk`. The Public
# Suffix List has many more, which browsers know.
REGISTRY_LABELS: Final = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "ltd", "me", "ne", "net", "or", "org", "plc"}
)


def read_factor_settings(env: Environment, base_url: str) -> FactorSettings:
    """Returns REQUIRE_FACTOR, REMEMBER_BROWSER_DAYS and PASSKEY_RP_ID. Raises InvalidSetting."""
    return FactorSettings(
        origin=base_url,
        rp_id=_rp_id(env, urlsplit(base_url).hostname or ""),
        remembered_for=timedelta(days=env.number("REMEMBER_BROWSER_DAYS", 30, 0, 90)),
        requires_admin_factor=env.choice("REQUIRE_FACTOR", ("none", "admins")) == "admins",
    )


def _rp_id(env: Environment, host: str) -> str:
    """Returns the domain of passkeys: BASE_URL's host or a parent domain of it.

    Returns an empty string at an IP address, which cannot have passkeys (WebAuthn Level 3,
    section 5.1.3).
    """
    text = env.text("PASSKEY_RP_ID", "")
    if parse_ip(host.strip("[]")):
        if text:
            raise InvalidSetting("PASSKEY_RP_ID", "needs a domain in BASE_URL, not an IP address")
        return ""
    rp_id = canonical_host("PASSKEY_RP_ID", text.lower()) if text else host
    is_parent = "." in rp_id and host.endswith(f".{rp_id}")
    if rp_id != host and not is_parent:
        raise InvalidSetting(
            "PASSKEY_RP_ID", f"must be {host} or a parent domain of it, not {text[:80]!r}"
        )
    if rp_id != host and _is_public_suffix(rp_id):
        raise InvalidSetting(
            "PASSKEY_RP_ID", f"must not be a public suffix, because browsers refuse {rp_id}"
        )
    return rp_id


def _is_public_suffix(domain: str) -> bool:
    """Returns whether the domain is a known kind of public suffix, such as `co.uk`."""
    labels = domain.split(".")
    return len(labels) == 2 and labels[0] in REGISTRY_LABELS and len(labels[1]) == 2
