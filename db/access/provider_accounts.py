"""Logging in with an identity of another provider, and connecting it to an account.

An identity is the issuer and the subject, never the email: no account is found by an email alone.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import bindparam, update

from db import accounts
from db.access.providers import Failed, Returned
from db.audit import log as audit_log
from db.audit.log import user_actor
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.errors import (
    LinkInvalid,
)
from db.mail.notices import post_new_device_notice
from db.mail.tokens import find_token
from db.organizations.roles import follow_role
from db.providers.asserted import Asserted
from db.sessions.claimants import NewClaim, make_claim, needs_second_step
from db.sessions.claims import NewSession
from db.sessions.device_cookie import find_known_browser
from db.sessions.lifecycle import start_session
from db.sessions.provider_login import ProviderLogin
from db.sessions.sudo import confirm_now
from db.store import Store, pick
from db.tables import Instant, identities, users
from db.viewer import ClientInfo, Role


@dataclass(frozen=True, slots=True)
class UnknownIdentity:
    """The identity opens no account: none has it, or its account must confirm its email first.

    `email_owner` describes the account that has the identity's trusted email: `none`, `confirmed`,
    or `unconfirmed` if its user has never confirmed the email.
    """

    asserted: Asserted
    email_owner: Literal["none", "confirmed", "unconfirmed"]


@dataclass(frozen=True, slots=True)
class _IdentityUser:
    user_id: str
    identity_id: str
    provider: str
    email: str
    role: Role
    language: str
    disabled: bool
    verified: bool
    has_password: bool
    has_factor: bool
    sessions_ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class _EmailUser:
    id: str
    verified: bool
    disabled: bool


class _RolledBack(Exception):
    """Rolls the transaction back, because the account has changed or another request was first."""


IDENTITY_USER = Statement(
    pick(
        _IdentityUser,
        users,
        user_id=users.c.id,
        identity_id=identities.c.id,
        provider=identities.c.provider,
        disabled=users.c.disabled_at.is_not(None),
        verified=users.c.verified_at.is_not(None),
        has_password=users.c.password_hash != LOCKED_HASH,
    )
    .select_from(identities.join(users, users.c.id == identities.c.user_id))
    .where(identities.c.issuer == bindparam("issuer"), identities.c.subject == bindparam("subject"))
)

EMAIL_USER = Statement(
    pick(
        _EmailUser,
        users,
        verified=users.c.verified_at.is_not(None),
        disabled=users.c.disabled_at.is_not(None),
    ).where(users.c.email == bindparam("email"))
)

_now = bindparam("now", type_=Instant)

RECORD_LOGIN = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.disabled_at.is_(None))
    .values(**accounts.LOGIN_VALUES)
    .returning(users.c.role)
)

RECORD_USE = Statement(
    update(identities)
    .where(
        identities.c.id == bindparam("identity_id"), identities.c.user_id == bindparam("user_id")
    )
    .values(last_used_at=_now)
    .returning(identities.c.id)
)

INSERT_IDENTITY = Statement(
    insert(identities)
    .values(
        {
            name: bindparam(name, type_=identities.c[name].type)
            for name in ("id", "user_id", "provider", "issuer", "subject", "label")
        }
        | {"created_at": _now, "last_used_at": _now}
    )
    .on_conflict_do_nothing()
    .returning(identities.c.id)
)

MOVE_IDENTITY = Statement(
    update(identities)
    .where(
        identities.c.id == bindparam("identity_id"), identities.c.user_id == bindparam("old_user")
    )
    .values(
        user_id=bindparam("new_user"),
        provider=bindparam("new_provider"),
        label=bindparam("new_label"),
        created_at=_now,
        last_used_at=_now,
    )
    .returning(identities.c.id)
)


async def log_in(
    store: Store,
    returned: Returned,
    *,
    client: ClientInfo,
    verify_token: Secret[str] | None = None,
) -> NewSession | NewClaim | UnknownIdentity | Failed:
    """Logs in to the account that has the identity.

    Returns a claim if the account needs a second step: a provider is one step, whatever it says
    about the log-in there. `verify_token` comes from the browser's link cookie and confirms the
    email of the account. Raises Refused of a hook.
    """
    return await log_in_with_identity(
        store,
        returned.asserted,
        client=client,
        verify_token=verify_token,
        next_page=returned.flow.next_page,
        is_remembered=returned.flow.is_remembered,
    )


async def find_email_owner(
    store: Store, asserted: Asserted
) -> Literal["none", "confirmed", "unconfirmed"]:
    """Returns whether an account has the email of the identity, if the email is trusted.

    That shows nothing to an attacker, since a trusted email belongs to the user of the identity.
    """
    if not asserted.has_trusted_email:
        return "none"
    found = await store.one(EMAIL_USER(email=asserted.email))
    if found is None:
        return "none"
    return "unconfirmed" if not found.verified and not found.disabled else "confirmed"


async def insert_identity(store: Store, user_id: str, asserted: Asserted) -> bool:
    """Connects the identity to an account; returns False if an account has it already.

    Must run inside a transaction that has locked the user. The UNIQUE index decides.
    """
    inserted = await store.value(
        INSERT_IDENTITY(
            id=store.token(16),
            user_id=user_id,
            provider=asserted.provider,
            issuer=asserted.issuer,
            subject=asserted.subject,
            label=asserted.email or asserted.name,
            now=store.now(),
        )
    )
    return inserted is not None


async def move_identity(store: Store, user_id: str, asserted: Asserted) -> bool:
    """Connects the identity to a new account instead of one that must confirm its email first.

    The user may have typed a wrong email there, and cannot log in to that account. Returns False if
    the identity opens its account.
    """
    old: _IdentityUser | None = await store.one(
        IDENTITY_USER(issuer=asserted.issuer, subject=asserted.subject)
    )
    if old is None or old.verified or old.disabled or not store.outbox.requires_verification:
        return False
    moved = MOVE_IDENTITY(
        identity_id=old.identity_id,
        old_user=old.user_id,
        new_user=user_id,
        new_provider=asserted.provider,
        new_label=asserted.email or asserted.name,
        now=store.now(),
    )
    return await store.value(moved) is not None


async def log_in_with_identity(
    store: Store,
    asserted: Asserted,
    *,
    client: ClientInfo,
    verify_token: Secret[str] | None = None,
    next_page: str = "",
    is_remembered: bool = False,
) -> NewSession | NewClaim | UnknownIdentity | Failed:
    read_at = store.now()
    user: _IdentityUser | None = await store.one(
        IDENTITY_USER(issuer=asserted.issuer, subject=asserted.subject)
    )
    if user is None:
        return UnknownIdentity(asserted, await find_email_owner(store, asserted))
    if user.disabled:
        return Failed("closed")
    verifies = not user.verified and await _belongs_to(store, verify_token, user.user_id)
    if store.outbox.requires_verification and not (user.verified or verifies):
        # Another answer would show that the email typed at the sign-up belonged to no account.
        return UnknownIdentity(asserted, await find_email_owner(store, asserted))
    role = user.role
    # Another organization, or a provider of the settings, may have the same issuer.
    if asserted.role not in ("", role) and user.provider == asserted.provider:
        role = await follow_role(store, asserted, user.user_id, client)
    if needs_second_step(
        store,
        client,
        user_id=user.user_id,
        role=role,
        has_factor=user.has_factor,
        sessions_ended_at=user.sessions_ended_at,
    ):
        return make_claim(
            store,
            user.user_id,
            read_at=read_at,
            sessions_ended_at=user.sessions_ended_at,
            next_page=next_page,
            is_remembered=is_remembered,
            first_step=asserted.provider,
            provider_login=mark_of(asserted),
        )
    try:
        async with store.transaction():
            recorded = await store.value(
                RECORD_LOGIN(
                    user_id=user.user_id, now=store.now(), browser_language=client.language
                )
            )
            used = RECORD_USE(identity_id=user.identity_id, user_id=user.user_id, now=store.now())
            if recorded is None or await store.value(used) is None:
                raise _RolledBack
            if verifies and verify_token is not None:
                await accounts.confirm_email(store, user.user_id, verify_token)
            browser = find_known_browser(
                store, client.device_cookie, user.user_id, user.sessions_ended_at
            )
            if user.verified and browser is None:
                await post_new_device_notice(store, user.user_id, user.email, client)
            session = await start_provider_session(
                store,
                asserted,
                user.user_id,
                str(recorded),
                client,
                is_remembered=is_remembered,
                confirms=not (user.has_factor or user.has_password),
            )
            actor = user_actor(user.user_id, client, session.id)
            detail = {"with": asserted.provider}
            if user.has_factor:
                detail["factor"] = "remembered browser"
            await audit_log.record(store, "login", actor, detail)
    except (_RolledBack, LinkInvalid):
        return Failed("closed")
    return replace(session, language=user.language)


async def start_provider_session(
    store: Store,
    asserted: Asserted,
    user_id: str,
    role: Role,
    client: ClientInfo,
    *,
    is_remembered: bool,
    confirms: bool,
) -> NewSession:
    """Starts the session. It counts as a confirmation only if the account has nothing stronger."""
    return await start_session(
        store,
        user_id,
        role,
        client,
        confirmation=confirm_now(store, "provider") if confirms else None,
        is_remembered=is_remembered,
        provider_login=mark_of(asserted),
    )


def mark_of(asserted: Asserted) -> ProviderLogin:
    """Returns the mark of the session that this log-in begins."""
    return ProviderLogin(asserted.subject_hash, asserted.sid_hash)


async def _belongs_to(store: Store, token: Secret[str] | None, user_id: str) -> bool:
    """Returns whether the link of the browser confirms the email of this account."""
    try:
        return (await find_token(store, "verify", token)).user_id == user_id
    except LinkInvalid:
        return False
