"""Confirms the viewer's identity by a new log-in at a provider.

Only an account that has neither a password nor a second step can be confirmed like this. For any
other, the provider would replace something that a thief of the session does not have.
"""

from typing import Final

from sqlalchemy import bindparam, exists, update

from db.access import providers
from db.access.confirmation import ConfirmationOptions, get_options
from db.access.identities import list_identities
from db.access.providers import Departure, Failed, ProviderLink, Returned
from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.crypto.passwords import LOCKED_HASH
from db.engine.statement import Statement
from db.errors import NotFound
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Confirmation, confirm_now
from db.tables import Instant, identities, users
from db.viewer import Viewer, require_session

# The provider's clock may be slow by this much, as in the verification of ID tokens.
CLOCK_TOLERANCE_SECONDS: Final = 60

USE_IDENTITY = Statement(
    update(identities)
    .where(
        identities.c.user_id == bindparam("user_id"),
        identities.c.issuer == bindparam("issuer"),
        identities.c.subject == bindparam("subject"),
        exists().where(
            users.c.id == bindparam("user_id"),
            users.c.password_hash == LOCKED_HASH,
            users.c.has_factor.is_(False),
        ),
    )
    .values(last_used_at=bindparam("now", type_=Instant))
    .returning(identities.c.id)
)


async def list_providers(viewer: Viewer, options: ConfirmationOptions) -> list[ProviderLink]:
    """Returns the providers that can confirm the viewer's identity: those of the settings in the
    order of their buttons, then those of organizations.

    Returns none if the account has a password or a second step.
    """
    if not _may_use_provider(options):
        return []
    offered = [one for one in await list_identities(viewer) if one.is_offered]
    found = dict.fromkeys(ProviderLink(one.provider, one.provider_label) for one in offered)
    in_order = [link for link in providers.list_links(viewer.store) if link in found]
    return [*in_order, *(link for link in found if link not in in_order)]


async def begin(
    viewer: Viewer, name: str, *, next_page: str, cookie: str | None, sid_hash: str
) -> Departure | None:
    """Starts a log-in at the provider that confirms the session with this hash.

    Returns None if the account must be confirmed by its password or second step. Raises NotFound
    for a provider that the account is not connected to, and the errors of `providers.begin`.
    """
    require_session(viewer)
    options = await get_options(viewer)
    if not _may_use_provider(options):
        return None
    if name not in {link.name for link in await list_providers(viewer, options)}:
        raise NotFound
    return await providers.begin(
        viewer.store,
        name,
        next_page=next_page,
        client=viewer.client,
        cookie=cookie,
        sid_hash=sid_hash,
        confirms=True,
    )


async def confirm(viewer: Viewer, returned: Returned) -> Confirmation | Failed:
    """Returns the confirmation if the identity is one of the viewer's account.

    The provider was asked for a new log-in. If it says when the user logged in, that must not be
    before the start of the flow (OpenID Connect Core 1.0, section 3.1.2.1, `max_age`). Raises
    NotLoggedIn if the session has ended since the request was verified.
    """
    require_session(viewer)
    store, actor, asserted = viewer.store, viewer_actor(viewer), returned.asserted
    async with store.transaction():
        await require_right(viewer)
        is_new = _is_new_login(returned)
        used = USE_IDENTITY(
            user_id=viewer.id, issuer=asserted.issuer, subject=asserted.subject, now=store.now()
        )
        if not is_new or await store.value(used) is None:
            await audit_log.record(store, "confirm", actor, outcome="refused")
            return Failed("other" if is_new else "refused")
        await audit_log.record(store, "confirm", actor, {"factor": "provider"})
        return confirm_now(store, "provider")


def _may_use_provider(options: ConfirmationOptions) -> bool:
    return not (options.has_password or options.has_factor)


def _is_new_login(returned: Returned) -> bool:
    authenticated_at = returned.asserted.authenticated_at
    earliest = returned.flow.started_at - CLOCK_TOLERANCE_SECONDS
    return authenticated_at is None or authenticated_at >= earliest
