"""The changes of organizations that administrators and the operator have in common.

Only `db.access` calls these functions; its functions check who may call them.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, update

from db.accounts import require_role
from db.admin_changes import open_change
from db.crypto.secret import Secret
from db.engine.statement import Statement, insert_if
from db.errors import NotFound, StateChanged, TooManyOrganizations
from db.organizations.domain_records import record_name
from db.organizations.lookup import (
    ORGANIZATION,
    ROLES_OF_ORGANIZATION,
    OrganizationData,
    OrganizationRow,
)
from db.store import Store, pick
from db.tables import Instant, identities, organization_roles, organizations
from db.viewer import Admin, Operator

MAX_ORGANIZATIONS: Final = 200
PROOF_PREFIX: Final = "latchkey-verification="


@dataclass(frozen=True, slots=True)
class OrganizationSummary:
    """An organization in a list. `user_count` is how many users its provider has asserted."""

    domain: str
    label: str
    issuer: str
    verified_at: datetime | None
    user_count: int


@dataclass(frozen=True, slots=True)
class OrganizationDetails:
    """An organization without its client secret. `roles` has pairs of a value and a role."""

    domain: str
    label: str
    issuer: str
    client_id: str
    scopes: str
    allows_sign_up: bool
    role_claim: str
    roles: tuple[tuple[str, str], ...]
    proof: str
    created_at: datetime
    verified_at: datetime | None
    user_count: int

    @property
    def record_name(self) -> str:
        """Returns the name of the TXT record whose value is the proof."""
        return record_name(self.domain)


_DOMAIN = organizations.c.domain == bindparam("domain_given")
_NEW: Final = {
    "domain": "domain_given",
    "label": "label",
    "issuer": "issuer",
    "client_id": "client_id",
    "client_secret": "client_secret",
    "kid": "kid",
    "scopes": "scopes",
    "allows_sign_up": "allows_sign_up",
    "role_claim": "role_claim",
    "proof": "proof",
    "created_at": "now",
}
_user_count = (
    select(func.count(identities.c.user_id.distinct()))
    .where(identities.c.provider == organizations.c.domain)
    .correlate(organizations)
    .scalar_subquery()
)
LIST_ORGANIZATIONS = Statement(
    pick(OrganizationSummary, organizations, user_count=_user_count).order_by(
        organizations.c.domain
    )
)
USER_COUNT = Statement(
    select(func.count(identities.c.user_id.distinct())).where(
        identities.c.provider == bindparam("domain_given")
    )
)
INSERT_ORGANIZATION = Statement(
    insert_if(
        organizations,
        _NEW,
        select(func.count()).select_from(organizations).scalar_subquery() < MAX_ORGANIZATIONS,
    )
    .on_conflict_do_nothing()
    .returning(organizations.c.domain)
)
LOCK_ORGANIZATION = Statement(pick(OrganizationRow, organizations).where(_DOMAIN).with_for_update())
CHANGE_ORGANIZATION = Statement(
    update(organizations)
    .where(_DOMAIN)
    .values(
        {
            name: bindparam(bind)
            for name, bind in _NEW.items()
            if name not in ("domain", "created_at")
        }
        | {"verified_at": bindparam("new_verified_at", type_=Instant)}
    )
)
VERIFY_ORGANIZATION = Statement(
    update(organizations).where(_DOMAIN).values(verified_at=bindparam("now", type_=Instant))
)
DELETE_ORGANIZATION = Statement(delete(organizations).where(_DOMAIN))
DELETE_ROLES = Statement(
    delete(organization_roles).where(organization_roles.c.domain == bindparam("domain_given"))
)
INSERT_ROLE = Statement(
    insert(organization_roles).values(
        domain=bindparam("domain_given"),
        claim_value=bindparam("claim_value"),
        position=bindparam("position"),
        role=bindparam("role"),
    )
)


async def list_organizations(store: Store) -> list[OrganizationSummary]:
    """Returns every organization, by domain."""
    return await store.all(LIST_ORGANIZATIONS())


async def get_details(store: Store, domain: str) -> OrganizationDetails:
    """Returns an organization. Raises NotFound."""
    row: OrganizationRow | None = await store.one(ORGANIZATION(domain=domain))
    if row is None:
        raise NotFound
    roles = await store.all(ROLES_OF_ORGANIZATION(domain=domain))
    return OrganizationDetails(
        row.domain,
        row.label,
        row.issuer,
        row.client_id,
        row.scopes,
        row.allows_sign_up,
        row.role_claim,
        tuple((str(value), str(role)) for value, role in roles),
        row.proof,
        row.created_at,
        row.verified_at,
        int(await store.value(USER_COUNT(domain_given=domain))),
    )


async def create(caller: Admin | Operator, domain: str, settings: OrganizationData) -> bool:
    """Adds an organization, whose domain is not verified, and returns whether the domain was free.

    Raises TooManyOrganizations, UnknownRole, and the errors of `open_change`.
    """
    store = caller.store
    async with open_change(caller, "organization.add") as detail:
        secret = settings.client_secret or Secret("")
        values = _values(domain, settings, proof=_new_proof(store))
        values |= _encrypt(store, domain, secret)
        if await store.value(INSERT_ORGANIZATION(now=store.now(), **values)) is None:
            if await store.one(ORGANIZATION(domain=domain)) is None:
                raise TooManyOrganizations
            return False
        await _insert_roles(store, domain, settings.roles)
        detail |= {"domain": domain, "issuer": settings.issuer}
    return True


async def change(caller: Admin | Operator, domain: str, settings: OrganizationData) -> bool:
    """Changes an organization, and returns whether its domain must be verified again.

    The proof belongs to the domain and the issuer, so a new issuer gets a new one. It never gets
    the client secret of the former one: raises StateChanged if it has none of its own. Raises
    NotFound, UnknownRole, and the errors of `open_change`.
    """
    store = caller.store
    async with open_change(caller, "organization.change") as detail:
        row = await _lock(store, domain)
        is_other_issuer = settings.issuer != row.issuer
        if is_other_issuer and settings.client_secret is None:
            raise StateChanged
        proof = _new_proof(store) if is_other_issuer else row.proof
        values = _values(domain, settings, proof=proof)
        if settings.client_secret is None:
            values |= {"client_secret": row.client_secret, "kid": row.kid}
        else:
            values |= _encrypt(store, domain, settings.client_secret)
        verified_at = None if is_other_issuer else row.verified_at
        await store.count(CHANGE_ORGANIZATION(new_verified_at=verified_at, **values))
        await store.count(DELETE_ROLES(domain_given=domain))
        await _insert_roles(store, domain, settings.roles)
        detail |= {"domain": domain, "issuer": settings.issuer}
    return is_other_issuer


async def verify(caller: Admin | Operator, domain: str, proof: str) -> None:
    """Marks the domain as verified if the proof is still the one that was looked up.

    Raises NotFound, StateChanged, and the errors of `open_change`.
    """
    store = caller.store
    async with open_change(caller, "organization.verify") as detail:
        row = await _lock(store, domain)
        if not hmac.compare_digest(row.proof, proof):
            raise StateChanged
        await store.count(VERIFY_ORGANIZATION(domain_given=domain, now=store.now()))
        detail |= {"domain": domain, "issuer": row.issuer}


async def remove(caller: Admin | Operator, domain: str) -> None:
    """Removes an organization. The identities that its provider asserted stay, without a provider.

    Raises NotFound, and the errors of `open_change`.
    """
    store = caller.store
    async with open_change(caller, "organization.remove") as detail:
        row = await _lock(store, domain)
        await store.count(DELETE_ORGANIZATION(domain_given=domain))
        detail |= {"domain": domain, "issuer": row.issuer}


async def _lock(store: Store, domain: str) -> OrganizationRow:
    row: OrganizationRow | None = await store.one(LOCK_ORGANIZATION(domain_given=domain))
    if row is None:
        raise NotFound
    return row


def _new_proof(store: Store) -> str:
    return f"{PROOF_PREFIX}{store.token(24)}"


def _values(domain: str, settings: OrganizationData, *, proof: str) -> dict[str, Any]:
    """Returns the values of the columns that a change replaces, without those of the secret."""
    return {
        "domain_given": domain,
        "label": settings.label,
        "issuer": settings.issuer,
        "client_id": settings.client_id,
        "scopes": settings.scopes,
        "allows_sign_up": settings.allows_sign_up,
        "role_claim": settings.role_claim,
        "proof": proof,
    }


def _encrypt(store: Store, domain: str, secret: Secret[str]) -> dict[str, str]:
    """Returns the columns of an encrypted client secret."""
    text = store.client_secrets.encrypt(domain, Secret(secret.reveal().encode()))
    return {"client_secret": text, "kid": store.client_secrets.kid}


async def _insert_roles(store: Store, domain: str, roles: Sequence[tuple[str, str]]) -> None:
    """Inserts the roles in their order. Raises UnknownRole."""
    for position, (value, role) in enumerate(roles):
        await require_role(store, role)
        await store.count(
            INSERT_ROLE(domain_given=domain, claim_value=value, position=position, role=role)
        )
