"""The identities of other providers that can log in to the viewer's account."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import bindparam, delete, func, select

from db.access.provider_accounts import insert_identity
from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.engine.statement import Statement
from db.errors import NotFound
from db.factors.changes import FactorChange, finish_change
from db.organizations.lookup import find_provider_of_identity
from db.providers.asserted import Asserted
from db.rate_limits import limiter
from db.rate_limits.limits import IDENTITY_CHANGE
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.store import Store, pick
from db.tables import identities
from db.used_tokens import use_token
from db.viewer import Viewer, require_session

MAX_IDENTITIES: Final = 10


@dataclass(frozen=True, slots=True)
class _IdentityRow:
    id: str
    provider: str
    issuer: str
    label: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity of the viewer. `label` is its email or name from when it was connected.

    `is_offered` says whether a provider can still assert the identity. If none can, `provider` and
    `provider_label` are the name that it had.
    """

    id: str
    provider: str
    provider_label: str
    is_offered: bool
    label: str
    created_at: datetime
    last_used_at: datetime | None


class _RolledBack(Exception):
    """Rolls the transaction back, so that nothing is stored."""


LIST_IDENTITIES = Statement(
    pick(_IdentityRow, identities)
    .where(identities.c.user_id == bindparam("user_id"))
    .order_by(identities.c.created_at, identities.c.id)
)
COUNT_IDENTITIES = Statement(
    select(func.count()).select_from(identities).where(identities.c.user_id == bindparam("user_id"))
)
DELETE_IDENTITY = Statement(
    delete(identities)
    .where(
        identities.c.id == bindparam("identity_id"), identities.c.user_id == bindparam("user_id")
    )
    .returning(identities.c.provider)
)


async def list_identities(viewer: Viewer) -> Sequence[Identity]:
    """Returns the identities of the viewer, the oldest first, without a query if nobody may log in
    with a provider.
    """
    if not (viewer.store.providers.all or viewer.store.organizations.is_enabled):
        return []
    rows: list[_IdentityRow] = await viewer.store.all(LIST_IDENTITIES(user_id=viewer.id))
    return [await _describe(viewer.store, row) for row in rows]


async def connect(
    sudo: Sudo[Viewer], asserted: Asserted
) -> FactorChange | Literal["taken", "many", "expired"]:
    """Connects an identity to the viewer's account, and ends the other sessions of the account.

    Returns `taken` if an account has the identity, `many` if the viewer has ten, and `expired` if
    its token was used. Raises RateLimited, NotLoggedIn, and Forbidden for an access token.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    require_session(viewer)
    await limiter.take_tokens(store, viewer_actor(viewer), (IDENTITY_CHANGE, viewer.id))
    detail = {"provider": asserted.provider}
    failure: Literal["taken", "many", "expired"]
    try:
        async with store.transaction():
            await require_right(viewer)
            failure = "expired"
            if not await use_token(store, asserted.token):
                raise _RolledBack
            failure = "many"
            if await store.value(COUNT_IDENTITIES(user_id=viewer.id)) >= MAX_IDENTITIES:
                raise _RolledBack
            failure = "taken"
            if not await insert_identity(store, viewer.id, asserted):
                raise _RolledBack
            return await finish_change(sudo, "identity.link", "identity-added", detail)
    except _RolledBack:
        async with store.transaction():
            actor = viewer_actor(viewer)
            refused = {**detail, "reason": failure}
            await audit_log.record(store, "identity.link", actor, refused, outcome="refused")
        return failure


async def remove(sudo: Sudo[Viewer], identity_id: str) -> FactorChange:
    """Disconnects one of the viewer's identities, and ends the other sessions of the account.

    Raises LastWayIn if nothing else opens the account, NotFound, RateLimited, NotLoggedIn, and
    Forbidden for an access token.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    require_session(viewer)
    await limiter.take_tokens(store, viewer_actor(viewer), (IDENTITY_CHANGE, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        name = await store.value(DELETE_IDENTITY(identity_id=identity_id, user_id=viewer.id))
        if name is None:
            raise NotFound
        detail = {"provider": str(name)}
        return await finish_change(sudo, "identity.unlink", "identity-removed", detail)


async def _describe(store: Store, row: _IdentityRow) -> Identity:
    provider = await find_provider_of_identity(store, row.provider, row.issuer)
    return Identity(
        row.id,
        provider.name if provider else row.provider,
        provider.label if provider else row.provider,
        provider is not None,
        row.label,
        row.created_at,
        row.last_used_at,
    )
