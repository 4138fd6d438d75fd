"""Logging in with a passkey.

A passkey requires user verification, so it opens an account by itself, without a second step.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, update

from db import accounts
from db.audit import log as audit_log
from db.audit.log import anonymous_actor, user_actor
from db.engine.statement import Statement
from db.factors import passkeys
from db.factors.passkeys import Ceremony, VerifiedPasskey
from db.mail.notices import post_new_device_notice
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import LOGIN_POSTS, PASSKEY_FAILURES
from db.sessions.claims import NewSession
from db.sessions.device_cookie import find_known_browser
from db.sessions.lifecycle import start_session
from db.sessions.sudo import confirm_now
from db.store import Store
from db.tables import users
from db.viewer import ClientInfo, Role


@dataclass(frozen=True, slots=True)
class _User:
    email: str
    role: Role
    language: str
    verified_at: datetime | None
    sessions_ended_at: datetime | None


class _RolledBack(Exception):
    """Rolls the transaction back, so that nothing is stored."""


RECORD_LOGIN: Final = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.disabled_at.is_(None))
    .values(**accounts.LOGIN_VALUES)
    .returning(
        users.c.email,
        users.c.role,
        users.c.language,
        users.c.verified_at,
        users.c.sessions_ended_at,
    )
    .execution_options(into=_User)
)


async def begin_log_in(store: Store) -> Ceremony:
    """Returns the options of a log-in, without a query. They name no account and no passkey."""
    return await passkeys.begin_assertion(store, "login")


async def log_in(
    store: Store, *, credential: str, challenge: str, client: ClientInfo, is_remembered: bool
) -> NewSession | None:
    """Returns a new session; None unless a passkey of a live account signed the challenge.

    An unconfirmed email gets the same answer if the program requires confirmed ones. Raises
    RateLimited, Unavailable, and Refused of a hook, which does not count as a wrong passkey.
    """
    posts = per_client(LOGIN_POSTS, client.ip_address)
    failures = per_client(PASSKEY_FAILURES, client.ip_address)
    await limiter.take_tokens(store, anonymous_actor(client), *posts, *failures)
    async with limiter.refund_if_overloaded(store, *failures):
        verified = await passkeys.verify_assertion(store, credential, challenge, "login")
        if verified is None:
            return None
        try:
            async with store.transaction():
                session = await _start_session(store, verified, client, is_remembered=is_remembered)
                await limiter.refund(store, *failures, succeeded=True)
                details = {"with": "passkey"}
                actor = user_actor(verified.user_id, client, session.id)
                await audit_log.record(store, "login", actor, details)
        except _RolledBack:
            return None
        return session


async def find_unknown_credential(store: Store, credential: str) -> str:
    """Returns the id of a passkey that no account has, else an empty string.

    The browser can then stop offering the passkey. The ids are random, so this reveals nothing.
    """
    return await passkeys.find_unknown_credential(store, credential)


async def _start_session(
    store: Store, verified: VerifiedPasskey, client: ClientInfo, *, is_remembered: bool
) -> NewSession:
    """Records the log-in and the use of the passkey, and starts the session.

    Locks the user before the passkey, as every change of a passkey does.
    """
    user: Any = await store.one(
        RECORD_LOGIN(user_id=verified.user_id, now=store.now(), browser_language=client.language)
    )
    if user is None or (user.verified_at is None and store.outbox.requires_verification):
        raise _RolledBack
    if not await passkeys.record_use(store, verified):
        raise _RolledBack
    browser = find_known_browser(
        store, client.device_cookie, verified.user_id, user.sessions_ended_at
    )
    if user.verified_at is not None and browser is None:
        await post_new_device_notice(store, verified.user_id, user.email, client)
    session = await start_session(
        store,
        verified.user_id,
        user.role,
        client,
        confirmation=confirm_now(store, "passkey"),
        is_remembered=is_remembered,
    )
    return replace(session, language=user.language)
