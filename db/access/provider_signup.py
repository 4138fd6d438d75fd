"""Creating accounts with an identity of another provider, and taking over an account whose email
nobody has confirmed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import bindparam, exists, literal, select, update

from db import accounts
from db.access.provider_accounts import (
    UnknownIdentity,
    insert_identity,
    log_in_with_identity,
    mark_of,
    move_identity,
    start_provider_session,
)
from db.access.providers import Failed
from db.admin_changes import lock_admin_changes
from db.audit import log as audit_log
from db.audit.log import Actor, anonymous_actor, user_actor
from db.crypto.encrypted_tokens import LIFETIMES
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import (
    AccountNotCreated,
    AppError,
    Refused,
)
from db.factors.changes import delete_factors_and_identities
from db.mail.notices import post_verification
from db.mail.outbox import MAIL_TYPES, delete_unsent, post_request
from db.mail.tokens import delete_tokens
from db.organizations.roles import change_role, existing_role
from db.providers.asserted import Asserted
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import (
    SIGNUP_HOUR,
    SIGNUP_MINUTE,
)
from db.sessions.claimants import NewClaim
from db.sessions.claims import NewSession
from db.sessions.lifecycle import end_all_sessions
from db.sessions.provider_logouts import has_ended
from db.store import Store
from db.tables import Instant, users
from db.used_tokens import use_token
from db.user_search import search_key
from db.viewer import ClientInfo, Role

ENDED_LINKS: Final = ("reset", "change", "verify", "not-me", "keep")


class _RolledBack(Exception):
    """Rolls the transaction back, because the account has changed or another request was first."""


class _EmailTaken(Exception):
    """Rolls the transaction back, so that the user can use the identity with another email."""


# The slug of the account that is taken over does not count.
SLUG_EXISTS = Statement(
    select(literal(1)).where(
        exists().where(users.c.slug == bindparam("slug"), users.c.email != bindparam("email"))
    )
)

_now = bindparam("now", type_=Instant)
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
            role = await existing_role(store, asserted)
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
            if not is_inserted and not await move_identity(store, user_id, asserted):
                raise _RolledBack
            if not is_trusted:
                await post_verification(store, user_id, email, is_first=True)
            if needs_mail:
                await _record_sign_up(store, asserted, user_actor(user_id, client))
                return "mail"
            session = await start_provider_session(
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
                await lock_admin_changes(store)
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
                role = await change_role(store, asserted, user_id, client)
            session = await start_provider_session(
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


async def _log_in_to_winner(
    store: Store, asserted: Asserted, client: ClientInfo
) -> NewSession | NewClaim | Failed:
    """Logs in to the account that another request with the same identity has created."""
    result = await log_in_with_identity(store, asserted, client=client)
    return Failed("expired") if isinstance(result, UnknownIdentity) else result


async def _has_ended(store: Store, asserted: Asserted) -> bool:
    """Returns whether the user has logged out at the provider while the identity waited in the
    cookie.
    """
    made_at = datetime.fromtimestamp(asserted.token["exp"], UTC) - LIFETIMES["identity"]
    return await has_ended(store, mark_of(asserted), made_at)


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
