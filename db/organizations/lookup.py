"""Finds the identity provider of an organization: by the name of its URLs, which is the domain, or
by the email of a user.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select

from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import NotFound
from db.providers.provider import DISCOVERY_PATH, Provider
from db.store import Store, pick
from db.tables import organization_roles, organizations

GOOGLE: Final = "https://accounts.google.com"


@dataclass(frozen=True, slots=True)
class OrganizationRow:
    """A row of the table. `client_secret` is encrypted with the key `kid`."""

    domain: str
    label: str
    issuer: str
    client_id: str
    client_secret: str
    kid: str
    scopes: str
    allows_sign_up: bool
    role_claim: str
    proof: str
    created_at: datetime
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class OrganizationData:
    """What an administrator chooses for an organization.

    `client_secret` is None if the stored one stays.
    """

    label: str
    issuer: str
    client_id: str
    client_secret: Secret[str] | None = field(repr=False)
    scopes: str
    allows_sign_up: bool
    role_claim: str
    roles: Sequence[tuple[str, str]]


ORGANIZATION = Statement(
    pick(OrganizationRow, organizations).where(organizations.c.domain == bindparam("domain"))
)
ROLES_OF_ORGANIZATION = Statement(
    select(organization_roles.c.claim_value, organization_roles.c.role)
    .where(organization_roles.c.domain == bindparam("domain"))
    .order_by(organization_roles.c.position)
)


async def find_provider(store: Store, name: str) -> Provider | None:
    """Returns the provider of the settings with this name, or that of the organization whose
    verified domain it is; None if there is none.
    """
    return store.providers.find(name) or await _find_organization_provider(store, name)


async def get_provider(store: Store, name: str) -> Provider:
    """Returns the same provider as `find_provider`. Raises NotFound."""
    provider = await find_provider(store, name)
    if provider is None:
        raise NotFound
    return provider


async def find_provider_of_email(store: Store, email: str) -> Provider | None:
    """Returns the provider of the organization that the domain of the email belongs to."""
    return await _find_organization_provider(store, email.rpartition("@")[2])


async def find_provider_of_identity(store: Store, name: str, issuer: str) -> Provider | None:
    """Returns the provider that can still assert a stored identity; None if there is none.

    `name` is the provider that the identity was connected with. Another one of the same issuer
    counts as well, since the identity is the issuer and the subject.
    """
    provider = await find_provider(store, name)
    if provider is not None and provider.has_issuer(issuer):
        return provider
    return store.providers.find_by_issuer(issuer)


async def _find_organization_provider(store: Store, domain: str) -> Provider | None:
    """Returns the provider of an organization whose domain was verified."""
    # The name of a provider of the settings has no dot.
    if not store.organizations.is_enabled or "." not in domain:
        return None
    row: OrganizationRow | None = await store.one(ORGANIZATION(domain=domain))
    if row is None or row.verified_at is None:
        return None
    roles = tuple(
        (str(value), str(role))
        for value, role in await store.all(ROLES_OF_ORGANIZATION(domain=domain))
    )
    secret = decrypt_secret(store, row)
    return store.providers.keep((row, roles), make_provider(store, domain, row, secret, roles))


def decrypt_secret(store: Store, row: OrganizationRow) -> Secret[str] | None:
    """Returns the client secret; None if no key of the program decrypts it."""
    secret = store.client_secrets.decrypt(row.domain, row.client_secret, row.kid)
    return Secret(secret.reveal().decode()) if secret else None


def make_provider(
    store: Store,
    domain: str,
    chosen: OrganizationRow | OrganizationData,
    client_secret: Secret[str] | None,
    roles: tuple[tuple[str, str], ...] = (),
) -> Provider:
    """Returns the provider of an organization. Without a client secret, it refuses each log-in."""
    settings = store.organizations
    return Provider(
        name=domain,
        label=chosen.label,
        issuer=chosen.issuer,
        client_id=chosen.client_id,
        client_secret=client_secret,
        redirect_uri=f"{settings.public_url}/login/with/{domain}/callback",
        scopes=tuple(chosen.scopes.split()),
        discovery_url=chosen.issuer.rstrip("/") + DISCOVERY_PATH,
        allows_sign_up=chosen.allows_sign_up,
        trusts_email=True,
        requires_hosted_domain=chosen.issuer == GOOGLE,
        email_domain=domain,
        role_claim=chosen.role_claim,
        roles=roles,
        requires_public_hosts=not settings.allows_loopback,
    )
