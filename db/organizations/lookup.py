"""Finds the identity provider of an organization: by the name of its URLs, which is the domain, or
by the email of a user.
"""

from dataclasses import dataclass
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
    return store.providers.keep((row, roles), make_provider(store, row, roles))


def make_provider(
    store: Store, row: OrganizationRow, roles: tuple[tuple[str, str], ...] = ()
) -> Provider:
    """Returns the provider of an organization.

    It has no client secret if no key of the program decrypts it, so that the provider refuses each
    log-in.
    """
    settings = store.organizations
    secret = store.client_secrets.decrypt(row.domain, row.client_secret, row.kid)
    return Provider(
        name=row.domain,
        label=row.label,
        issuer=row.issuer,
        client_id=row.client_id,
        client_secret=Secret(secret.reveal().decode()) if secret else None,
        redirect_uri=f"{settings.public_url}/login/with/{row.domain}/callback",
        scopes=tuple(row.scopes.split()),
        discovery_url=row.issuer.rstrip("/") + DISCOVERY_PATH,
        allows_sign_up=row.allows_sign_up,
        trusts_email=True,
        requires_hosted_domain=row.issuer == GOOGLE,
        email_domain=row.domain,
        role_claim=row.role_claim,
        roles=roles,
        requires_public_hosts=not settings.allows_loopback,
    )
