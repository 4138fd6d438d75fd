"""The settings of second steps and passkeys, which the data layer needs."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class FactorSettings:
    """What the operator has set.

    `origin` is that of the site, such as `https://example.com`. `rp_id` is the domain that passkeys
    belong to (WebAuthn Level 3, section 4); empty if the site has none, because its host is an IP
    address. `remembered_for` is how long a trusted browser is not asked for the second step again;
    zero if it is always asked. `requires_admin_factor` says whether administrators need a second
    step.
    """

    origin: str = "http://localhost:8000"
    rp_id: str = "localhost"
    remembered_for: timedelta = timedelta(days=30)
    requires_admin_factor: bool = False
