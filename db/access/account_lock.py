"""Contains the lock of an account by the "this wasn't me" link of a notice."""

from dataclasses import dataclass

from sqlalchemy import bindparam, exists, func, or_, update

from db import accounts
from db.audit import log as audit_log
from db.audit.log import anonymous_actor, user_actor
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import LinkInvalid
from db.factors.changes import delete_factors_and_identities, delete_factors_since
from db.mail.outbox import delete_unsent_of_locked_account, post, until
from db.mail.tokens import (
    Token,
    consume_token,
    delete_tokens_of_locked_account,
    require_same_link,
)
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import LINK_POSTS
from db.store import Store, pick
from db.tables import Instant, identities, users
from db.user_search import search_key
from db.viewer import ClientInfo


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    email: str
    verified: bool
    has_factor_or_identity: bool


USER = Statement(
    pick(
        _User,
        users,
        verified=users.c.verified_at.is_not(None),
        has_factor_or_identity=or_(
            users.c.has_factor, exists().where(identities.c.user_id == users.c.id)
        ),
    ).where(users.c.id == bindparam("user_id"))
)
LOCK_ACCOUNT = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.disabled_at.is_(None))
    .values(
        email=bindparam("email"),
        search_key=bindparam("search_key"),
        password_hash=LOCKED_HASH,
        # An attacker may have asked for the deletion.
        delete_at=None,
        verified_at=func.coalesce(users.c.verified_at, bindparam("now", type_=Instant)),
    )
    .returning(users.c.id)
)


async def lock_account(
    store: Store, *, token: Secret[str] | None, link: str, client: ClientInfo
) -> None:
    """Locks the account that the link belongs to, until its user chooses a new password by mail.

    Deletes the passkeys, the authenticator app, the recovery codes and the identities that were
    added since the mail of the link, because an attacker may have added them. Older ones stay: a
    passkey still opens the account. Gives the account the email back that the link was sent to.
    Ends every session, every known browser and the invitations that the user has sent. Ends every
    link except older `not-me` links, which outrank this one, even if their mails were not sent yet.
    Raises LinkInvalid, LinkMismatch and RateLimited.
    """
    known = require_same_link(token, link)
    charges = per_client(LINK_POSTS, client.ip_address)
    await limiter.take_tokens(store, anonymous_actor(client), *charges)
    async with store.transaction():
        consumed = await consume_token(store, "not-me", known)
        user: _User = (await store.all(USER(user_id=consumed.user_id)))[0]
        email = await _take_email_back(store, consumed, user)
        are_deleted = user.has_factor_or_identity and await _delete_new_factors(
            store, consumed, user
        )
        ended = await accounts.end_access_after_reset(store, consumed.user_id, email)
        await accounts.withdraw_invitations(store, consumed.user_id)
        await delete_tokens_of_locked_account(store, consumed)
        await delete_unsent_of_locked_account(store, consumed)
        await post(
            store,
            "locked",
            user_id=consumed.user_id,
            recipient=email,
            facts={"until": until(store, "reset")},
        )
        actor = user_actor(consumed.user_id, client)
        if are_deleted:
            await audit_log.record(store, "factor.reset", actor)
        await audit_log.record(store, "account.lock", actor, {"ended": ended})


async def _take_email_back(store: Store, consumed: Token, user: _User) -> str:
    """Locks the account and returns its email: that of the link, unless another account has it."""
    email = user.email
    if consumed.email != email and await accounts.find_user_id(store, consumed.email) is None:
        email = consumed.email
    locked = await store.value(
        LOCK_ACCOUNT(
            user_id=consumed.user_id,
            email=email,
            search_key=search_key(user.name, email),
            now=store.now(),
        )
    )
    if locked is None:
        raise LinkInvalid("not-me")
    return email


async def _delete_new_factors(store: Store, consumed: Token, user: _User) -> bool:
    """Deletes the second steps and identities since the mail of the link, or all if nobody had
    proved before that the email is theirs. Returns whether there were any.
    """
    if user.verified:
        return await delete_factors_since(store, consumed.user_id, consumed.created_at)
    await delete_factors_and_identities(store, consumed.user_id)
    return True
