"""Contains the reset of a forgotten password by a link in a mail."""

from typing import Final

from sqlalchemy import and_, bindparam, case, exists, func, or_, update

from db import accounts
from db.audit import log as audit_log
from db.audit.log import anonymous_actor, user_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import LinkInvalid
from db.factors.changes import delete_factors_and_identities
from db.mail.notices import client_facts, post_password_notice
from db.mail.outbox import delete_unsent, post_request
from db.mail.tokens import (
    Purpose,
    consume_token,
    delete_tokens,
    find_token,
    require_same_link,
)
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import FORGOT, LINK_POSTS
from db.store import Store
from db.tables import Instant, identities, passkeys, totp, users
from db.viewer import ClientInfo

ENDED_LINKS: Final[tuple[Purpose, ...]] = ("verify", "reset", "change")

# What an attacker may have set up with the email of someone else is emptied when the email is
# confirmed for the first time ("Pre-hijacked accounts", Sudhodanan and Paverd, 2022).
RESET_PASSWORD = Statement(
    update(users)
    .where(
        users.c.id == bindparam("user_id"),
        users.c.email == bindparam("token_email"),
        users.c.disabled_at.is_(None),
    )
    .values(
        password_hash=bindparam("new_hash"),
        password_changed_at=bindparam("now", type_=Instant),
        # Of an unconfirmed account, the second steps go too: `has_unproven` says if there are any.
        has_factor=and_(users.c.has_factor, users.c.verified_at.is_not(None)),
        phone=case((users.c.verified_at.is_(None), ""), else_=users.c.phone),
        team=case((users.c.verified_at.is_(None), ""), else_=users.c.team),
        verified_at=func.coalesce(users.c.verified_at, bindparam("now", type_=Instant)),
    )
    .returning(
        or_(
            and_(
                users.c.has_factor.is_(False),
                or_(
                    # SQLite's dialect writes no table names here: `users.id` would be another
                    # column.
                    exists().where(passkeys.c.user_id == bindparam("user_id")),
                    exists().where(totp.c.user_id == bindparam("user_id")),
                ),
            ),
            and_(
                # The statement itself has confirmed the email.
                users.c.verified_at == bindparam("now", type_=Instant),
                exists().where(identities.c.user_id == bindparam("user_id")),
            ),
        ).label("has_unproven")
    )
)


async def request_reset(store: Store, *, email: str, client: ClientInfo) -> None:
    """Asks for a mail with a link to choose a new password.

    Does the same work for every email: the sending task looks the account up later. Raises
    RateLimited if the client has asked too often.
    """
    actor = anonymous_actor(client)
    await limiter.take_tokens(store, actor, *per_client(FORGOT, client.ip_address))
    await post_request(store, "forgot", email, client_facts(store, client))


async def reset_password(
    store: Store, *, token: Secret[str] | None, link: str, password: Secret[str], client: ClientInfo
) -> str:
    """Sets the password of the account that the link belongs to, and returns the account's id.

    Ends every session, every other link except `not-me` links, and every unsent mail with a link.
    Starts no session (ASVS 5.0, 6.4.3), and keeps the second steps, which the next log-in needs.
    Confirms the email, because the link came by mail; if it was not confirmed before, deletes the
    second steps. Raises LinkInvalid, LinkMismatch, RateLimited, BreachedPassword and Unavailable.
    """
    known = require_same_link(token, link)
    store.passwords.require_capacity()
    charges = per_client(LINK_POSTS, client.ip_address)
    await limiter.take_tokens(store, anonymous_actor(client), *charges)
    await find_token(store, "reset", known)  # Before the hash, which costs much more.
    async with limiter.refund_if_overloaded(store, *charges):
        await store.breached_passwords.require_not_breached(password)
        new_hash = await store.passwords.hash(password)
    async with store.transaction():
        consumed = await consume_token(store, "reset", known)
        has_unproven: bool | None = await store.value(
            RESET_PASSWORD(
                user_id=consumed.user_id,
                token_email=consumed.email,
                new_hash=new_hash.reveal(),
                now=store.now(),
            )
        )
        if has_unproven is None:
            raise LinkInvalid("reset")
        if has_unproven:
            await delete_factors_and_identities(store, consumed.user_id)
        ended = await accounts.end_access_after_reset(store, consumed.user_id, consumed.email)
        await delete_tokens(store, consumed.user_id, ENDED_LINKS)
        await delete_unsent(
            store, consumed.user_id, ["verify", "exists", "reset", "change", "locked"]
        )
        await post_password_notice(store, consumed.user_id, consumed.email, by="a link in a mail")
        actor = user_actor(consumed.user_id, client)
        if has_unproven:
            await audit_log.record(store, "factor.reset", actor)
        await audit_log.record(store, "password.reset", actor, {"ended": ended})
    return consumed.user_id
