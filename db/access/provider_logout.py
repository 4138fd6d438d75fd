"""Ends sessions after a log-out at the identity provider whose log-ins began them (OpenID Connect
Back-Channel Logout 1.0).
"""

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from db.access.providers import report_failure
from db.audit import log as audit_log
from db.audit.log import Actor, anonymous_actor
from db.engine.statement import Statement
from db.errors import ProviderRefused, ProviderUnavailable
from db.organizations import lookup
from db.providers.provider import Provider
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import PROVIDER_LOGOUT
from db.sessions.lifecycle import end_stateless_sessions
from db.sessions.provider_login import ProviderLogin
from db.sessions.provider_logouts import end_marked_sessions
from db.store import Store
from db.tables import identities
from db.used_tokens import use_token
from db.viewer import ClientInfo

if TYPE_CHECKING:
    from db.providers.logout_token import LoggedOut

USER_OF_IDENTITY = Statement(
    select(identities.c.user_id).where(
        identities.c.issuer == bindparam("issuer"), identities.c.subject == bindparam("subject")
    )
)


async def end_sessions(store: Store, name: str, logout_token: str, *, client: ClientInfo) -> None:
    """Ends the sessions that a logout token names.

    Only a token that is refused counts towards the limit of the client. Raises NotFound,
    ProviderRefused, ProviderUnavailable, and RateLimited after too many refused tokens.
    """
    provider = await lookup.get_provider(store, name)
    try:
        provider_client = await store.providers.get_client(provider)
        logged_out = await provider_client.read_logout(logout_token)
        await _end(store, provider, logged_out, client)
    except (ProviderRefused, ProviderUnavailable) as error:
        charges = per_client(PROVIDER_LOGOUT, client.ip_address)
        await limiter.take_tokens(store, anonymous_actor(client), *charges)
        await report_failure(store, name, error.code, client, event="provider.logout")
        raise


async def _end(
    store: Store, provider: Provider, logged_out: "LoggedOut", client: ClientInfo
) -> None:
    """Uses the token and ends the sessions, in one transaction. Raises ProviderRefused."""
    async with store.transaction():
        used = {"jti": logged_out.token_hash, "exp": logged_out.acceptable_until}
        if not await use_token(store, used):
            raise ProviderRefused("logout_token_used")
        is_stateless = store.strategy == "stateless"
        end = _end_stateless if is_stateless else _end_stored
        actor = Actor("system", ip_address=client.ip_address, browser=client.name)
        for user_id, ended in (await end(store, logged_out)).items():
            detail: dict[str, str | int] = {"provider": provider.name, **ended}
            await audit_log.record(store, "provider.logout", actor, detail, target_id=user_id)


async def _end_stored(store: Store, logged_out: "LoggedOut") -> dict[str, dict[str, int]]:
    """Ends the sessions with the mark of the log-in, and returns what the audit entry of each user
    says.
    """
    mark = ProviderLogin(logged_out.subject_hash, logged_out.sid_hash)
    ended = await end_marked_sessions(store, mark, user_id=await _find_user(store, logged_out))
    return {user_id: {"ended": count} for user_id, count in sorted(ended.items())}


async def _end_stateless(store: Store, logged_out: "LoggedOut") -> dict[str, dict[str, int]]:
    """Ends every session of the account with the identity, since no row says which are meant."""
    if not logged_out.subject:
        raise ProviderRefused("logout_token_sid_alone")
    user_id = await _find_user(store, logged_out)
    if not user_id:
        return {}
    await end_stateless_sessions(store, user_id)
    return {user_id: {}}


async def _find_user(store: Store, logged_out: "LoggedOut") -> str:
    """Returns the account that has the identity, empty if there is none."""
    found = USER_OF_IDENTITY(issuer=logged_out.issuer, subject=logged_out.subject)
    return str(await store.value(found) or "")
