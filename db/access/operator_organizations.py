"""The actions of the operator on organizations with an identity provider of their own."""

from typing import TYPE_CHECKING

from db.errors import NotFound
from db.organizations import changes, rekey
from db.organizations.changes import OrganizationDetails, OrganizationSummary
from db.organizations.domain_records import has_record
from db.organizations.lookup import (
    ORGANIZATION,
    OrganizationRow,
    decrypt_secret,
    make_provider,
)
from db.providers.provider import Provider
from db.viewer import Operator

if TYPE_CHECKING:
    from db.providers.client import ProviderDocuments


async def list_organizations(operator: Operator) -> list[OrganizationSummary]:
    """Returns every organization, by domain."""
    return await changes.list_organizations(operator.store)


async def get_details(operator: Operator, domain: str) -> OrganizationDetails:
    """Returns an organization. Raises NotFound."""
    return await changes.get_details(operator.store, domain)


async def get_provider(operator: Operator, domain: str) -> Provider:
    """Returns the provider of an organization, whether or not its domain is verified.

    Raises NotFound.
    """
    row: OrganizationRow | None = await operator.store.one(ORGANIZATION(domain=domain))
    if row is None:
        raise NotFound
    secret = decrypt_secret(operator.store, row)
    return make_provider(operator.store, domain, row, secret)


async def read_documents(operator: Operator, provider: Provider) -> "ProviderDocuments":
    """Returns what a provider publishes. Raises ProviderUnavailable."""
    return await operator.store.providers.check(provider)


async def has_domain_record(operator: Operator, details: OrganizationDetails) -> bool:
    """Returns whether the domain has its DNS record. Raises DnsUnavailable."""
    return await has_record(operator.store.organizations, details.domain, details.proof)


async def verify(operator: Operator, domain: str) -> None:
    """Verifies the domain without its DNS record. Raises NotFound."""
    details = await changes.get_details(operator.store, domain)
    await changes.verify(operator, domain, details.proof)


async def remove(operator: Operator, domain: str) -> None:
    """Removes an organization. Raises NotFound."""
    await changes.remove(operator, domain)


async def rekey_client_secrets(operator: Operator) -> tuple[int, int]:
    """Encrypts the client secrets with the current key. Returns how many have it now, and how many
    no key decrypts.
    """
    return await rekey.rekey_client_secrets(operator.store)


async def count_unreadable_client_secrets(operator: Operator) -> int:
    """Returns how many organizations have a client secret that no key of the program decrypts."""
    return await rekey.count_unreadable_client_secrets(operator.store)
