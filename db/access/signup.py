"""Signing up. An anonymous user can create one account per email."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from db import accounts
from db.access.login import log_in
from db.audit import log as audit_log
from db.audit.log import anonymous_actor, user_actor
from db.crypto.secret import Secret
from db.errors import AccountNotCreated, AppError, RateLimited, Refused
from db.mail.notices import post_verification
from db.mail.outbox import post_request
from db.rate_limits import limiter
from db.rate_limits.ip_networks import find_networks, per_client
from db.rate_limits.limits import (
    EMAIL_ALL,
    EMAIL_HOUR,
    EMAIL_MINUTE,
    EMAIL_SEEN,
    SIGNUP_HOUR,
    SIGNUP_MINUTE,
)
from db.sessions.claimants import NewClaim
from db.sessions.claims import NewSession
from db.sessions.lifecycle import start_session
from db.sessions.sudo import confirm_now
from db.store import Store
from db.viewer import ClientInfo


async def is_email_taken(store: Store, email: str, client: ClientInfo) -> bool | None:
    """Returns whether an account has the email, as a hint while the user types.

    Only the UNIQUE index prevents a second account.

    Returns None if the client has looked up too many emails.
    """
    try:
        await limiter.take_tokens_once(
            store,
            anonymous_actor(client),
            *_look_up_charges(email, client),
            (EMAIL_ALL, "all clients"),
        )
    except RateLimited:
        return None
    return await accounts.email_exists(store, email)


async def sign_up(
    store: Store,
    *,
    name: str,
    email: str,
    password: Secret[str],
    client: ClientInfo,
    is_remembered: bool = False,
    next_page: str = "",
) -> NewSession | NewClaim | None:
    """Creates an account and its first session in one transaction.

    If an account has the email, logs in with the password, because a browser may repeat a sign-up
    whose response was lost. Returns None if this log-in fails, and a claim if it needs a second
    step. `is_remembered` says whether the user chose to stay logged in, and `next_page` is the page
    after that step. Raises RateLimited, BreachedPassword, Unavailable, Refused, and
    AccountNotCreated if the database rejects the account; then nothing is stored.
    """
    password_hash = await _hash(store, email, password, client)
    async with _begin_creation(store):
        user_id = await accounts.insert_user(
            store,
            name,
            email,
            password_hash,
            logs_in=True,
            browser_language=client.language,
        )
        if user_id is not None:
            session = await start_session(
                store,
                user_id,
                "user",
                client,
                confirmation=confirm_now(store, "password"),
                is_remembered=is_remembered,
            )
            await post_verification(store, user_id, email, is_first=True)
            await audit_log.record(store, "signup", user_actor(user_id, client, session.id))
            return session
    return await _log_in(
        store,
        email=email,
        password=password,
        client=client,
        is_remembered=is_remembered,
        next_page=next_page,
    )


async def sign_up_privately(
    store: Store, *, name: str, email: str, password: Secret[str], client: ClientInfo
) -> None:
    """Creates an account if none has the email, and does not reveal whether it did.

    If an account has the email, its user sees an entry in the audit log. Both cases do the same
    work: one hash, and one transaction with as many writes. Raises the errors of `sign_up`. The
    caller must not show an error of the type Refused if emails are private, because only a free
    email causes it.
    """
    password_hash = await _hash(store, email, password, client)
    try:
        await _create_or_record(store, name, email, password_hash, client)
    except Refused:
        # The entry is also as much work as that about a taken email.
        async with _begin_creation(store):
            await _record_failure(store, None, client)
        raise


async def _create_or_record(
    store: Store, name: str, email: str, password_hash: Secret[str], client: ClientInfo
) -> None:
    """Creates an account, or records the attempt if an account has the email."""
    async with _begin_creation(store):
        user_id = await accounts.insert_user(
            store,
            name,
            email,
            password_hash,
            has_random_slug=True,
            browser_language=client.language,
        )
        if user_id is None:
            await post_request(store, "taken", email)
            # Otherwise the time that the hooks take would show that the email was free.
            await audit_log.rehearse_hooks(store, "signup", user_actor(store.token(16), client))
            await _record_failure(store, await accounts.find_user_id(store, email), client)
        else:
            await post_verification(store, user_id, email, is_first=True)
            await audit_log.record(store, "signup", user_actor(user_id, client))


async def _log_in(
    store: Store,
    *,
    email: str,
    password: Secret[str],
    client: ClientInfo,
    is_remembered: bool,
    next_page: str,
) -> NewSession | NewClaim | None:
    """Logs in to the existing account with the limits, verification and audit entries of any
    log-in.

    An attempt above the limits of log-in verifies nothing and gets the answer to a wrong password.
    """
    with suppress(RateLimited):
        session = await log_in(
            store,
            email=email,
            password=password,
            client=client,
            is_remembered=is_remembered,
            next_page=next_page,
        )
        if session is not None:
            return session
    async with _begin_creation(store):
        await _record_failure(store, await accounts.find_user_id(store, email), client)
    return None


async def _hash(store: Store, email: str, password: Secret[str], client: ClientInfo) -> Secret[str]:
    """Applies the rate limits, then returns the password hash.

    A flood therefore costs neither a hash nor a look-up.
    """
    store.passwords.require_capacity()
    await _take_tokens(store, email, client)
    async with limiter.refund_if_overloaded(store, *_sign_up_charges(client)):
        await store.breached_passwords.require_not_breached(password)
        return await store.passwords.hash(password)


async def _take_tokens(store: Store, email: str, client: ClientInfo) -> None:
    """Takes the tokens of a sign-up and of an email look-up, because a sign-up also shows whether
    an account has the email.

    It does not take a token of the look-up limit that all clients share: one client could use it up
    and block every sign-up.
    """
    await limiter.take_tokens(store, anonymous_actor(client), *_sign_up_charges(client))
    await limiter.take_tokens_once(store, anonymous_actor(client), *_look_up_charges(email, client))


def _sign_up_charges(client: ClientInfo) -> tuple[limiter.Charge, ...]:
    return *per_client(SIGNUP_MINUTE, client.ip_address), *per_client(
        SIGNUP_HOUR, client.ip_address
    )


def _look_up_charges(email: str, client: ClientInfo) -> tuple[limiter.Charge, ...]:
    """Returns the mark that the client has looked up the email, then the charges of a first
    look-up.
    """
    seen = (EMAIL_SEEN, f"{find_networks(client.ip_address)[0].name} {email}")
    return (
        seen,
        *per_client(EMAIL_MINUTE, client.ip_address),
        *per_client(EMAIL_HOUR, client.ip_address),
    )


async def _record_failure(store: Store, target_id: str | None, client: ClientInfo) -> None:
    await audit_log.record(
        store, "signup", anonymous_actor(client), target_id=target_id, outcome="refused"
    )


@asynccontextmanager
async def _begin_creation(store: Store) -> AsyncIterator[None]:
    """Opens a transaction.

    Rolls back and raises AccountNotCreated on any exception that is not an AppError.
    """
    try:
        async with store.transaction():
            yield
    except AppError:
        raise
    except Exception as error:
        raise AccountNotCreated from error
