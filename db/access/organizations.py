"""The administration of organizations with an identity provider of their own."""

from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.organizations import changes
from db.organizations.changes import OrganizationDetails, OrganizationSummary
from db.organizations.domain_records import has_record
from db.organizations.lookup import OrganizationData, make_provider
from db.rate_limits import limiter
from db.rate_limits.limits import ADMIN_CHANGE, ADMIN_DAY
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.store import Store
from db.viewer import Admin


async def list_organizations(admin: Admin) -> list[OrganizationSummary]:
    """Returns every organization, by domain."""
    return await changes.list_organizations(admin.store)


async def get_details(admin: Admin, domain: str) -> OrganizationDetails:
    """Returns an organization. Raises NotFound."""
    return await changes.get_details(admin.store, domain)


async def create(sudo: Sudo[Admin], domain: str, settings: OrganizationData) -> bool:
    """Adds an organization, whose domain is not verified, and returns whether the domain was free.

    Raises ProviderUnavailable if its provider cannot be used, TooManyOrganizations, UnknownRole,
    RateLimited, NotLoggedIn and Forbidden.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    await _require_usable(admin.store, domain, settings)
    return await changes.create(admin, domain, settings)


async def change(sudo: Sudo[Admin], domain: str, settings: OrganizationData) -> bool:
    """Changes an organization, and returns whether its domain must be verified again.

    Raises NotFound, StateChanged for a new issuer without a client secret, and the errors of
    `create`.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    await changes.get_details(admin.store, domain)
    await _require_usable(admin.store, domain, settings)
    return await changes.change(admin, domain, settings)


async def verify(sudo: Sudo[Admin], domain: str) -> bool:
    """Verifies the domain by its DNS record, and returns whether the record is there.

    Raises DnsUnavailable, NotFound, StateChanged, RateLimited, NotLoggedIn and Forbidden.
    """
    admin = sudo.viewer
    store = admin.store
    await _take_tokens(admin)
    details = await changes.get_details(store, domain)
    if await has_record(store.organizations, domain, details.proof):
        await changes.verify(admin, domain, details.proof)
        return True
    async with store.transaction():
        await require_right(admin)
        detail = {"domain": domain, "issuer": details.issuer}
        await audit_log.record(
            store, "organization.verify", viewer_actor(admin), detail, outcome="refused"
        )
    return False


async def remove(sudo: Sudo[Admin], domain: str) -> None:
    """Removes an organization. Raises NotFound, RateLimited, NotLoggedIn and Forbidden."""
    admin = sudo.viewer
    await _take_tokens(admin)
    await changes.remove(admin, domain)


async def _require_usable(store: Store, domain: str, settings: OrganizationData) -> None:
    """Fetches what the provider publishes, since most mistakes are typing errors.

    Raises ProviderUnavailable, and Unavailable if too many requests run.
    """
    await store.providers.check(make_provider(store, domain, settings, settings.client_secret))


async def _take_tokens(admin: Admin) -> None:
    """Takes the tokens of one change. Raises RateLimited."""
    await limiter.take_tokens(
        admin.store, viewer_actor(admin), (ADMIN_CHANGE, admin.id), (ADMIN_DAY, admin.id)
    )
