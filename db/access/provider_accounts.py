"""Logging in and signing up with an identity of another provider.

An identity is the issuer and the subject, never the email: no account is found by an email alone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import bindparam, exists, literal, select, update

from db import accounts
from db.access.providers import Failed, Returned
from db.audit import log as audit_log
from db.audit.log import Actor, anonymous_actor, user_actor
from db.crypto.encrypted_tokens import LIFETIMES
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.errors import (
    AccountNotCreated,
    AppError,
    LinkInvalid,
    Refused,
)
from db.factors.changes import delete_factors_and_identities
from db.mail.notices import post_new_device_notice, post_verification
from db.mail.outbox import MAIL_TYPES, delete_unsent, post_request
from db.mail.tokens import delete_tokens, find_token
from db.providers.asserted import Asserted
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import (
    SIGNUP_HOUR,
    SIGNUP_MINUTE,
)
from db.sessions.claimants import NewClaim, make_claim, needs_second_step
from db.sessions.claims import NewSession
from db.sessions.device_cookie import find_known_browser
from db.sessions.lifecycle import end_all_sessions, start_session
from db.sessions.provider_login import ProviderLogin
from db.sessions.provider_logouts import has_ended
from db.sessions.sudo import confirm_now
from db.store import Store, pick
from db.tables import Instant, identities, users
from db.used_tokens import use_token
from db.user_search import search_key
from db.viewer import ClientInfo, Role

ENDED_LINKS: Final = ("reset", "change", "verify", "not-me", "keep")


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


class _EmailTaken(Exception):
    """Rolls the transaction back, so that the user can use the identity with another email."""


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
# The slug of the account that is taken over does not count.
SLUG_EXISTS = Statement(
    select(literal(1)).where(
        exists().where(users.c.slug == bindparam("slug"), users.c.email != bindparam("email"))
    )
)
# An account whose email nobody has confirmed gets the columns of a new one: see `take_over`.
TAKE_OVER = Statement(
    update(users)
    .where(
        users.c.email == bindparam("email_given"),
        users.c.verified_at.is_(None),
        users.c.disabled_at.is_(None),
    )
    .values(
        password_hash=LOCKED_HASH,
        password_changed_at=None,
        password_used_at=None,
        passkey_declined_at=None,
        name=bindparam("new_name"),
        search_key=bindparam("new_search_key"),
        slug=bindparam("new_slug"),
        phone="",
        team="",
        language="",
        browser_language=bindparam("new_browser_language"),
        created_at=_now,
        verified_at=_now,
        last_login_at=_now,
        previous_login_at=None,
        delete_at=None,
    )
    .returning(users.c.id, users.c.role)
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
    return await _log_in(
        store,
        returned.asserted,
        client=client,
        verify_token=verify_token,
        next_page=returned.flow.next_page,
        is_remembered=returned.flow.is_remembered,
    )


async def sign_up(
    store: Store,
    asserted: Asserted,
    *,
    name: str,
    email: str,
    client: ClientInfo,
    is_remembered: bool = False,
    is_private: bool = False,
) -> NewSession | NewClaim | Literal["taken", "mail"] | Failed:
    """Creates an account with the identity, and its first session.

    The email of the identity is used if it is trusted, otherwise `email`, which the user has typed.
    Returns `taken` if another account has it, `mail` if the email must be confirmed before a
    session, or if the answer must not show whether the email is taken. If another request was
    first with the same identity, logs in to the account that it created. Raises RateLimited,
    Refused, and AccountNotCreated.
    """
    charges = (
        *per_client(SIGNUP_MINUTE, client.ip_address),
        *per_client(SIGNUP_HOUR, client.ip_address),
    )
    await limiter.take_tokens(store, anonymous_actor(client), *charges)
    is_trusted = asserted.has_trusted_email
    needs_mail = store.outbox.requires_verification and not is_trusted
    try:
        async with _begin_creation(store):
            if not await use_token(store, asserted.token):
                raise _RolledBack
            if await _has_ended(store, asserted):
                return Failed("expired")
            role = await _existing_role(store, asserted)
            user_id = await accounts.insert_user(
                store,
                name,
                asserted.email if is_trusted else email,
                Secret(LOCKED_HASH),
                role=role,
                logs_in=not needs_mail,
                verified=is_trusted,
                has_random_slug=is_private,
                browser_language=client.language,
            )
            if user_id is None and not needs_mail:
                raise _EmailTaken
            if user_id is None:
                return await _record_taken(store, email, client, needs_mail=True)
            is_inserted = await insert_identity(store, user_id, asserted)
            if not is_inserted and not await _move_identity(store, user_id, asserted):
                raise _RolledBack
            if not is_trusted:
                await post_verification(store, user_id, email, is_first=True)
            if needs_mail:
                await _record_sign_up(store, asserted, user_actor(user_id, client))
                return "mail"
            session = await _start_session(
                store, asserted, user_id, role, client, is_remembered=is_remembered, confirms=True
            )
            await _record_sign_up(store, asserted, user_actor(user_id, client, session.id))
            return session
    except Refused:
        if not (is_private and needs_mail):
            raise
        # Only a free email causes a refusal by a hook, so the answer must not show it.
        async with store.transaction():
            await audit_log.record(store, "signup", anonymous_actor(client), outcome="refused")
        return "mail"
    except _EmailTaken:
        async with store.transaction():
            return await _record_taken(store, email, client, needs_mail=False)
    except _RolledBack:
        result = await _log_in_to_winner(store, asserted, client)
        return "mail" if needs_mail and isinstance(result, Failed) else result


async def take_over(
    store: Store,
    asserted: Asserted,
    *,
    name: str,
    client: ClientInfo,
    is_remembered: bool = False,
    is_private: bool = False,
) -> NewSession | NewClaim | Failed:
    """Gives the account with the identity's trusted email to its user.

    Only an account whose email nobody has ever confirmed: someone else may have set it up before
    ("Pre-hijacked accounts", Sudhodanan and Paverd, 2022). The account becomes that of a new user:
    only its id, its email and its role stay. The role is what administrators gave to the email, or
    what the provider of an organization asserts. The rows of a product stay too; its hooks of
    `identity.take-over` may delete them. Raises RateLimited, Refused, and AccountNotCreated.
    """
    charges = (
        *per_client(SIGNUP_MINUTE, client.ip_address),
        *per_client(SIGNUP_HOUR, client.ip_address),
    )
    await limiter.take_tokens(store, anonymous_actor(client), *charges)
    if not asserted.has_trusted_email:
        return Failed("expired")
    try:
        async with _begin_creation(store):
            if asserted.role:
                await accounts.lock_admin_changes(store)
            if not await use_token(store, asserted.token):
                raise _RolledBack
            if await _has_ended(store, asserted):
                return Failed("expired")
            user_id, role = await _reset_user(
                store, asserted.email, name, client, has_random_slug=is_private
            )
            ended = await _delete_former_access(store, user_id)
            if not await insert_identity(store, user_id, asserted):
                raise _RolledBack
            if asserted.role not in ("", role):
                role = await _change_role(store, asserted, user_id, client)
            session = await _start_session(
                store, asserted, user_id, role, client, is_remembered=is_remembered, confirms=True
            )
            actor = user_actor(user_id, client, session.id)
            detail: dict[str, str | int] = {"with": asserted.provider, "ended": ended}
            await audit_log.record(store, "identity.take-over", actor, detail)
            return session
    except _RolledBack:
        return await _log_in_to_winner(store, asserted, client)


async def _reset_user(
    store: Store, email: str, name: str, client: ClientInfo, *, has_random_slug: bool
) -> tuple[str, Role]:
    """Gives an unconfirmed account the columns of a new one, and returns its id and its role."""
    slug = accounts.make_slug(name)
    is_taken = await store.value(SLUG_EXISTS(slug=slug, email=email)) is not None
    if has_random_slug or is_taken or not slug:
        slug = accounts.add_random_suffix(store, slug or "user")
    found = await store.all(
        TAKE_OVER(
            email_given=email,
            new_name=name,
            new_search_key=search_key(name, email),
            new_slug=slug,
            new_browser_language=client.language,
            now=store.now(),
        )
    )
    if not found:
        raise _RolledBack
    return str(found[0][0]), str(found[0][1])


async def _delete_former_access(store: Store, user_id: str) -> int:
    """Deletes everything with which the former user could come back, and returns how many sessions
    had a row.
    """
    ended = await end_all_sessions(store, user_id)
    await delete_factors_and_identities(store, user_id)
    await delete_tokens(store, user_id, ENDED_LINKS)
    await delete_unsent(store, user_id, MAIL_TYPES)
    await accounts.withdraw_invitations(store, user_id)
    return ended


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


async def _move_identity(store: Store, user_id: str, asserted: Asserted) -> bool:
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


async def _log_in(
    store: Store,
    asserted: Asserted,
    *,
    client: ClientInfo,
    verify_token: Secret[str] | None,
    next_page: str,
    is_remembered: bool,
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
        role = await _follow_role(store, asserted, user.user_id, client)
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
            provider_login=_mark_of(asserted),
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
            session = await _start_session(
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


async def _existing_role(store: Store, asserted: Asserted) -> Role:
    """Returns the role that the provider gives to a new account. The role may have been deleted."""
    if not asserted.role or await store.value(accounts.LOCK_ROLE(name=asserted.role)) is None:
        return "user"
    return asserted.role


async def _follow_role(store: Store, asserted: Asserted, user_id: str, client: ClientInfo) -> Role:
    """Gives the account the role that its organization's provider asserts, and returns its role."""
    async with store.transaction():
        await accounts.lock_admin_changes(store)
        return await _change_role(store, asserted, user_id, client)


async def _change_role(store: Store, asserted: Asserted, user_id: str, client: ClientInfo) -> Role:
    """Does the same as `_follow_role`, inside a transaction that has locked admin changes.

    The role becomes `user` if the asserted one has been deleted. It stays as it is if no
    administrator would be left.
    """
    actor = Actor("system", ip_address=client.ip_address, browser=client.name)
    before = await accounts.get_user_state(store, user_id)
    role = await _existing_role(store, asserted)
    if role == before.role:
        return role
    change = accounts.CHANGE_ROLE(user_id=user_id, new_role=role)
    is_changed = await store.value(change) is not None
    await audit_log.record(
        store,
        "role.change",
        actor,
        {"from": before.role, "to": role, "with": asserted.provider},
        target_id=user_id,
        outcome="done" if is_changed else "refused",
    )
    return role if is_changed else before.role


async def _log_in_to_winner(
    store: Store, asserted: Asserted, client: ClientInfo
) -> NewSession | NewClaim | Failed:
    """Logs in to the account that another request with the same identity has created."""
    result = await _log_in(
        store, asserted, client=client, verify_token=None, next_page="", is_remembered=False
    )
    return Failed("expired") if isinstance(result, UnknownIdentity) else result


async def _start_session(
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
        provider_login=_mark_of(asserted),
    )


def _mark_of(asserted: Asserted) -> ProviderLogin:
    """Returns the mark of the session that this log-in begins."""
    return ProviderLogin(asserted.subject_hash, asserted.sid_hash)


async def _has_ended(store: Store, asserted: Asserted) -> bool:
    """Returns whether the user has logged out at the provider while the identity waited in the
    cookie.
    """
    made_at = datetime.fromtimestamp(asserted.token["exp"], UTC) - LIFETIMES["identity"]
    return await has_ended(store, _mark_of(asserted), made_at)


async def _record_sign_up(store: Store, asserted: Asserted, actor: Actor) -> None:
    await audit_log.record(store, "signup", actor, {"with": asserted.provider})


async def _record_taken(
    store: Store, email: str, client: ClientInfo, *, needs_mail: bool
) -> Literal["taken", "mail"]:
    """Records the attempt to sign up with the email of another account."""
    if needs_mail:
        await post_request(store, "taken", email)
        # Otherwise the time that the hooks take would show that the email was free.
        await audit_log.rehearse_hooks(store, "signup", user_actor(store.token(16), client))
    await audit_log.record(
        store,
        "signup",
        anonymous_actor(client),
        target_id=await accounts.find_user_id(store, email),
        outcome="refused",
    )
    return "mail" if needs_mail else "taken"


async def _belongs_to(store: Store, token: Secret[str] | None, user_id: str) -> bool:
    """Returns whether the link of the browser confirms the email of this account."""
    try:
        return (await find_token(store, "verify", token)).user_id == user_id
    except LinkInvalid:
        return False


@asynccontextmanager
async def _begin_creation(store: Store) -> AsyncIterator[None]:
    """Opens a transaction. Raises AccountNotCreated on any exception that is not expected."""
    try:
        async with store.transaction():
            yield
    except (AppError, _EmailTaken, _RolledBack):
        raise
    except Exception as error:
        raise AccountNotCreated from error
