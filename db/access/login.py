"""Logging in.

Every failure gets the same answer after the same work, so that neither reveals whether an account
exists.
"""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, update

from db import accounts
from db.audit import log as audit_log
from db.audit.log import anonymous_actor, user_actor
from db.crypto.secret import Secret
from db.engine.statement import Bound, Statement
from db.errors import LinkInvalid, RateLimited
from db.mail.notices import post_new_device_notice
from db.mail.outbox import post_request
from db.mail.tokens import find_token
from db.rate_limits import limiter
from db.rate_limits.ip_networks import find_largest_network, per_client
from db.rate_limits.limits import (
    GUESS_REPORT,
    LOGIN_ACCOUNT,
    LOGIN_ALL,
    LOGIN_CLIENT_ACCOUNT,
    LOGIN_DEVICE,
    LOGIN_FAILURES,
    LOGIN_POSTS,
    LOGIN_UNKNOWN,
    USER_HASHES,
)
from db.sessions.claimants import NewClaim, make_claim, needs_second_step
from db.sessions.claims import NewSession
from db.sessions.device_cookie import find_known_browser
from db.sessions.lifecycle import start_session
from db.sessions.sudo import confirm_now
from db.store import Store, pick
from db.tables import Instant, users
from db.viewer import ClientInfo, Role


@dataclass(frozen=True, slots=True)
class _Credentials:
    id: str
    role: Role
    disabled: bool
    verified: bool
    has_factor: bool
    sessions_ended_at: datetime | None
    language: str
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


@dataclass(frozen=True, slots=True)
class _Charges:
    """The tokens that an attempt takes.

    Those of `guesses` are refunded if the password was correct or the service overloaded.
    """

    posts: tuple[limiter.Charge, ...]
    guesses: tuple[limiter.Charge, ...]


class _RolledBack(Exception):
    """Rolls the transaction back, so that the audit entry is not stored."""


CREDENTIALS = Statement(
    pick(
        _Credentials,
        users,
        disabled=users.c.disabled_at.is_not(None),
        verified=users.c.verified_at.is_not(None),
    ).where(users.c.email == bindparam("email"))
)
RECORD_LOGIN = Statement(
    update(users)
    .where(
        users.c.id == bindparam("user_id"),
        users.c.disabled_at.is_(None),
        users.c.password_hash == bindparam("verified_hash"),
        # The second step was not asked for because of these two.
        users.c.has_factor == bindparam("read_has_factor"),
        users.c.sessions_ended_at.is_not_distinct_from(bindparam("read_ended_at", type_=Instant)),
    )
    .values(
        password_hash=bindparam("new_hash"),
        password_used_at=bindparam("now", type_=Instant),
        **accounts.LOGIN_VALUES,
    )
    .returning(users.c.role)
)
MAX_VERIFY_ATTEMPTS: Final = 2


async def log_in(
    store: Store,
    *,
    email: str,
    password: Secret[str],
    client: ClientInfo,
    verify_token: Secret[str] | None = None,
    is_remembered: bool = False,
    next_page: str = "",
) -> NewSession | NewClaim | None:
    """Returns a new session, or a claim if the account needs a second step; None if the email is
    unknown, the password is wrong or the account is disabled.

    Computes one hash in each of these cases. If another request replaces the stored hash in the
    meantime, verifies once more. `verify_token` comes from the browser's link cookie, and confirms
    the email. If the program requires confirmed emails, an unconfirmed one needs it. Without it,
    the right password gets the answer to a wrong one; otherwise it would show whose email it is.
    `is_remembered` says whether the user chose to stay logged in, and `next_page` is the page after
    the second step. Raises RateLimited, Unavailable, and Refused, which does not count as a wrong
    password.
    """
    read_at = store.now()
    credentials = await store.one(CREDENTIALS(email=email))
    known_browser = _find_known_browser(store, client, credentials)
    if credentials and known_browser:
        charges = _charges_at_known_browser(known_browser, credentials, client)
        user_id = credentials.id
    else:
        charges = _charges(email, client)
        user_id = None
    store.passwords.require_capacity(user_id=user_id)
    target_id = credentials.id if credentials else None
    actor = anonymous_actor(client)
    try:
        await limiter.take_tokens(
            store, actor, *charges.posts, *charges.guesses, target_id=target_id
        )
    except RateLimited as refused:
        if refused.is_account_limit:
            await _report_guesses(store, email)
        raise
    token_user_id = await _find_user_of_token(store, verify_token)
    async with limiter.refund_if_overloaded(store, *charges.guesses):
        for _ in range(MAX_VERIFY_ATTEMPTS):
            is_correct = await store.passwords.verify(
                credentials and credentials.password_hash, password, user_id=user_id
            )
            if not is_correct or credentials is None or credentials.disabled:
                break
            verifies = not credentials.verified and credentials.id == token_user_id
            if not (credentials.verified or verifies) and store.outbox.requires_verification:
                break
            if needs_second_step(
                store,
                client,
                user_id=credentials.id,
                role=credentials.role,
                has_factor=credentials.has_factor,
                sessions_ended_at=credentials.sessions_ended_at,
            ):
                await limiter.refund(store, *charges.guesses, succeeded=True)
                return make_claim(
                    store,
                    credentials.id,
                    read_at=read_at,
                    sessions_ended_at=credentials.sessions_ended_at,
                    next_page=next_page,
                    is_remembered=is_remembered,
                )
            hash_to_keep = await _renew_hash(store, credentials, password)
            with suppress(LinkInvalid):
                async with store.transaction():
                    role = await store.value(
                        _record_login(store, credentials, hash_to_keep, client)
                    )
                    if role is not None:
                        if verifies and verify_token is not None:
                            await accounts.confirm_email(store, credentials.id, verify_token)
                        if credentials.verified and known_browser is None:
                            await post_new_device_notice(store, credentials.id, email, client)
                        return await _start_session(
                            store, credentials, role, client, charges, is_remembered=is_remembered
                        )
            read_at = store.now()
            credentials = await store.one(CREDENTIALS(email=email))
    await _record_failure(store, credentials, email, client)
    return None


async def _find_user_of_token(store: Store, token: Secret[str] | None) -> str | None:
    """Returns the id of the user whose email the token confirms; None if it is not live.

    The look-up precedes the verification. After it, only the right password of an unconfirmed
    account would cause it, and its time would show that a sign-up has created the account.
    """
    with suppress(LinkInvalid):
        return (await find_token(store, "verify", token)).user_id
    return None


async def _report_guesses(store: Store, email: str) -> None:
    """Asks the sending task to tell the user about guesses, at most once a day.

    Does the same for an email without an account, because the time would show the difference.
    """
    if store.outbox.is_enabled:
        async with store.transaction():
            if await limiter.try_take_token(store, GUESS_REPORT, email):
                await post_request(store, "guessed", email)


def _find_known_browser(
    store: Store, client: ClientInfo, credentials: _Credentials | None
) -> str | None:
    """Returns the id of the browser if its device cookie shows a log-in to this account."""
    browser = find_known_browser(
        store,
        client.device_cookie,
        credentials.id if credentials else None,
        credentials.sessions_ended_at if credentials else None,
    )
    return browser.id if browser else None


def _charges(email: str, client: ClientInfo) -> _Charges:
    """Returns the charges at an unknown browser.

    Each client has its own bucket for an email, whether or not an account has it. With one bucket
    for all clients, a few guesses an hour by one client would lock the user out.
    """
    guesses = (
        *per_client(LOGIN_FAILURES, client.ip_address),
        *per_client(LOGIN_CLIENT_ACCOUNT, client.ip_address, email),
        (LOGIN_ACCOUNT, email),
    )
    return _Charges(per_client(LOGIN_POSTS, client.ip_address), guesses)


def _charges_at_known_browser(
    device_id: str, credentials: _Credentials, client: ClientInfo
) -> _Charges:
    """Returns the charges at a browser with an earlier log-in, whose buckets the guesses of other
    clients do not use up.

    Posts are charged to the account, because each log-in without a device cookie creates a new
    device id. They are also charged to the client, since one client could create many accounts.
    """
    posts = (
        (LOGIN_POSTS, f"account {credentials.id}"),
        *per_client(USER_HASHES, client.ip_address),
    )
    return _Charges(posts, ((LOGIN_DEVICE, f"{device_id} {credentials.id}"),))


async def _start_session(
    store: Store,
    credentials: _Credentials,
    role: Role,
    client: ClientInfo,
    charges: _Charges,
    *,
    is_remembered: bool,
) -> NewSession:
    """Starts the session and refunds the tokens of this attempt.

    Earlier wrong guesses of the client stay counted.
    """
    await limiter.refund(store, *charges.guesses, succeeded=True)
    # A remembered browser replaces the second step of a log-in, but not that of a confirmation.
    confirmation = None if credentials.has_factor else confirm_now(store, "password")
    session = await start_session(
        store,
        credentials.id,
        role,
        client,
        confirmation=confirmation,
        is_remembered=is_remembered,
    )
    detail = {"with": "password"}
    if credentials.has_factor:
        detail["factor"] = "remembered browser"
    await audit_log.record(store, "login", user_actor(credentials.id, client, session.id), detail)
    return replace(session, language=credentials.language)


async def _record_failure(
    store: Store, credentials: _Credentials | None, email: str, client: ClientInfo
) -> None:
    """Writes an audit entry about a failed log-in.

    During a flood, which has an entry of its own, an entry about an unknown email is written and
    rolled back. The work is therefore the same whether or not an account exists.
    """
    actor = anonymous_actor(client)
    target_id = credentials.id if credentials else None
    async with store.transaction():
        is_below_flood = await limiter.take_token_or_record(store, actor, LOGIN_ALL, "all clients")
        is_below_flood = is_below_flood and await limiter.take_token_or_record(
            store, actor, LOGIN_UNKNOWN, find_largest_network(client.ip_address)
        )
        with suppress(_RolledBack):
            async with store.transaction():
                await audit_log.record(
                    store,
                    "login",
                    actor,
                    target_id=target_id,
                    outcome="refused",
                    budget_subject=email,
                )
                if not is_below_flood and credentials is None:
                    raise _RolledBack


def _record_login(
    store: Store, credentials: _Credentials, hash_to_keep: Secret[str], client: ClientInfo
) -> Bound[Any]:
    """Returns the statement that records the log-in.

    It changes no row if the password or a second step has changed, all sessions were ended, or the
    account was disabled since the verification.
    """
    verified = credentials.password_hash.reveal()
    kept = hash_to_keep.reveal()
    return RECORD_LOGIN(
        user_id=credentials.id,
        verified_hash=verified,
        new_hash=kept,
        read_has_factor=credentials.has_factor,
        read_ended_at=credentials.sessions_ended_at,
        now=store.now(),
        browser_language=client.language,
    )


async def _renew_hash(
    store: Store, credentials: _Credentials, password: Secret[str]
) -> Secret[str]:
    """Returns the stored hash, or a new hash if the stored one has outdated parameters."""
    if store.passwords.is_outdated(credentials.password_hash):
        return await store.passwords.hash(password)
    return credentials.password_hash
