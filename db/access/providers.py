"""The log-in at another identity provider: its start, its callback, and the identity that waits in
a cookie.
"""

import logging
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Literal

from db.audit import log as audit_log
from db.audit.log import Actor, anonymous_actor
from db.crypto.encrypted_tokens import LIFETIMES
from db.crypto.secret import Secret
from db.errors import ProviderRefused, ProviderUnavailable, Unavailable
from db.organizations import lookup
from db.providers.answers import ProviderAnswer, StartedFlow
from db.providers.asserted import Asserted, decrypt_asserted, encrypt_asserted
from db.providers.flows import (
    MAX_NEXT_PAGE_CHARS,
    Flow,
    Purpose,
    add_flow,
    encrypt_flows,
    find_flow,
    finish_flow,
    read_flows,
)
from db.providers.provider import Provider
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import PROVIDER_REPORT, PROVIDER_RETURN, PROVIDER_START
from db.sessions.claims import NewCookie
from db.store import Store
from db.used_tokens import use_token
from db.viewer import ClientInfo

logger = logging.getLogger("latchkey")

# Why a log-in ended without a session. Each is a value of the query parameter `trouble`.
Trouble = Literal["cancelled", "expired", "refused", "down", "closed", "other", "limited", "busy"]
CANCELLATIONS: Final = frozenset({"access_denied", "user_cancelled_authorize"})


@dataclass(frozen=True, slots=True)
class ProviderLink:
    """A provider as pages show it."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Departure:
    """The URL of the provider's log-in, and the cookie that its callback needs."""

    url: str = field(repr=False)
    cookie: NewCookie = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The log-in has ended without a session."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class AlreadyFinished:
    """The browser has called the callback a second time, after the first has succeeded."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A verified identity, and the flow that it belongs to. `cookie` replaces that of the flows."""

    asserted: Asserted
    flow: Flow
    cookie: NewCookie = field(repr=False)


def list_links(store: Store) -> list[ProviderLink]:
    """Returns the providers in the order of their buttons."""
    return [ProviderLink(provider.name, provider.label) for provider in store.providers.all]


async def list_links_for(store: Store, email: str) -> list[ProviderLink]:
    """Returns the providers that a user may connect: those of the settings, then that of the
    organization which the email belongs to.
    """
    organization = await lookup.find_provider_of_email(store, email)
    added = [ProviderLink(organization.name, organization.label)] if organization else []
    return [*list_links(store), *added]


async def get_provider(store: Store, name: str) -> Provider:
    """Returns the provider with this name, or that of the organization with this domain.

    Raises NotFound.
    """
    return await lookup.get_provider(store, name)


async def find_provider_of_email(store: Store, email: str) -> Provider | None:
    """Returns the provider of the organization that the domain of the email belongs to."""
    return await lookup.find_provider_of_email(store, email)


async def find_label(store: Store, name: str) -> str:
    """Returns the label of a provider for pages; empty for an unknown one."""
    provider = await lookup.find_provider(store, name)
    return provider.label if provider else ""


async def begin(
    store: Store,
    name: str,
    *,
    next_page: str,
    client: ClientInfo,
    cookie: str | None,
    sid_hash: str = "",
    is_remembered: bool = False,
    confirms: bool = False,
) -> Departure:
    """Starts a log-in at a provider, without a query for one of the settings.

    `sid_hash` is that of the session that will connect the identity, empty for a log-in. With
    `confirms`, the session will be confirmed instead, and the provider is asked to log in again.
    `cookie` is that of the flows that the browser has started before. Raises NotFound, RateLimited,
    ProviderUnavailable, and Unavailable if too many requests to the provider run.
    """
    provider = await lookup.get_provider(store, name)
    charges = per_client(PROVIDER_START, client.ip_address)
    await limiter.take_tokens(store, anonymous_actor(client), *charges)
    now = store.now().timestamp()
    flow = Flow(
        state=store.token(24),
        nonce=store.token(24),
        verifier=store.token(48),
        provider=name,
        next_page=next_page if len(next_page) <= MAX_NEXT_PAGE_CHARS else "",
        started_at=now,
        sid_hash=sid_hash,
        is_remembered=is_remembered,
        confirms=confirms,
    )
    provider_client = await store.providers.get_client(provider)
    try:
        url = await provider_client.make_authorization_url(
            state=flow.state,
            nonce=flow.nonce,
            verifier=Secret(flow.verifier),
            asks_again=confirms,
        )
    except ProviderUnavailable as error:
        await report_failure(store, name, error.code, client)
        raise
    flows = add_flow(read_flows(store.encrypted_tokens, cookie, now), flow)
    return Departure(url, _flow_cookie(store, flows))


def find_purpose(store: Store, name: str, state: str, cookie: str | None) -> Purpose:
    """Returns what a callback is for: a log-in, also if its flow is unknown."""
    flows = read_flows(store.encrypted_tokens, cookie, store.now().timestamp())
    flow = find_flow(flows, state, name)
    return flow.purpose if flow else "login"


async def finish(
    store: Store,
    name: str,
    state: str,
    answer: ProviderAnswer,
    *,
    client: ClientInfo,
    cookie: str | None,
    sid_hash: str = "",
) -> Returned | Failed | AlreadyFinished:
    """Returns the identity that a provider has asserted, after every check.

    The state is used before the code is exchanged, so that of two callbacks with one state only one
    goes on. An unknown state needs no query at a provider of the settings. `sid_hash` is that of
    the session of the request. Raises NotFound, RateLimited and Unavailable.
    """
    provider = await lookup.get_provider(store, name)
    flows = read_flows(store.encrypted_tokens, cookie, store.now().timestamp())
    flow = find_flow(flows, state, name)
    if flow is None or (flow.sid_hash and flow.sid_hash != sid_hash):
        return Failed("expired")
    if flow.is_finished:
        return AlreadyFinished()
    charges = per_client(PROVIDER_RETURN, client.ip_address)
    await limiter.take_tokens(store, anonymous_actor(client), *charges)
    expires_at = flow.started_at + LIFETIMES["flow"].total_seconds()
    if not await use_token(store, {"jti": flow.state, "exp": expires_at}):
        return Failed("expired")
    try:
        asserted = await _fetch_identity(store, provider, flow, answer)
    except ProviderRefused as error:
        if error.code in CANCELLATIONS:
            return Failed("cancelled")
        await report_failure(store, name, error.code, client)
        return Failed("refused")
    except ProviderUnavailable as error:
        await report_failure(store, name, error.code, client)
        return Failed("down")
    return Returned(asserted, flow, _flow_cookie(store, finish_flow(flows, flow)))


def keep_identity(store: Store, asserted: Asserted, *, sid_hash: str = "") -> NewCookie:
    """Returns the cookie of a verified identity that waits for its user's decision.

    `sid_hash` is that of the session which has started to connect it. The next user of the browser
    must not be asked to connect it.
    """
    token = encrypt_asserted(store.encrypted_tokens, asserted, session_hash=sid_hash)
    return NewCookie(token, int(LIFETIMES["identity"].total_seconds()))


async def find_kept_identity(
    store: Store, cookie: str | None, *, sid_hash: str = ""
) -> Asserted | None:
    """Returns the identity of the cookie; None if there is none, it is older than 10 minutes, it
    waits for another session than the request's, or its provider is not offered anymore.
    """
    asserted = decrypt_asserted(store.encrypted_tokens, cookie)
    # Tokens before schema 0009 lack the session.
    if asserted is None or asserted.token.get("session_hash", "") not in ("", sid_hash):
        return None
    provider = await lookup.find_provider(store, asserted.provider)
    if provider is None or not provider.has_issuer(asserted.issuer):
        return None
    # The organization may have changed its roles since.
    possible = {"", "user", *(role for _, role in provider.roles)}
    return asserted if asserted.role in possible else None


async def report_failure(
    store: Store,
    name: str,
    code: str,
    client: ClientInfo,
    *,
    event: Literal["provider", "provider.logout"] = "provider",
) -> None:
    """Writes a warning and an audit entry about a refused log-in or log-out, each of them at most
    once a minute per provider.
    """
    is_login = event == "provider"
    async with store.transaction():
        subject = name if is_login else f"{name} logout"
        if await limiter.try_take_token(store, PROVIDER_REPORT, subject):
            if is_login:
                logger.warning("log-in with %s failed: %s", name, code)
            else:
                logger.warning("log-out by %s failed: %s", name, code)
            await audit_log.record(
                store,
                event,
                Actor("system", ip_address=client.ip_address, browser=client.name),
                {"provider": name, "code": code},
                outcome="refused",
            )


async def _fetch_identity(
    store: Store, provider: Provider, flow: Flow, answer: ProviderAnswer
) -> Asserted:
    """Returns the identity, and observes the outcome and the duration for the metrics.

    Raises ProviderRefused, ProviderUnavailable and Unavailable.
    """
    provider_client = await store.providers.get_client(provider)
    started = StartedFlow(flow.nonce, Secret(flow.verifier))
    started_at, outcome = perf_counter(), "failed"
    try:
        asserted = await provider_client.fetch_identity(started, answer)
        outcome = "done"
        return asserted
    except ProviderRefused as error:
        outcome = "canceled" if error.code in CANCELLATIONS else "refused"
        raise
    except ProviderUnavailable:
        outcome = "down"
        raise
    except Unavailable:
        outcome = "busy"
        raise
    finally:
        store.providers.observe(provider.name, outcome, perf_counter() - started_at)


def _flow_cookie(store: Store, flows: tuple[Flow, ...]) -> NewCookie:
    token = encrypt_flows(store.encrypted_tokens, flows)
    return NewCookie(token, int(LIFETIMES["flow"].total_seconds()))
