"""The tokens of the links in mails: derives, stores, finds and consumes them.

A token is the HMAC-SHA-256 of its message's random id, so that the database contains neither the
token nor anything to derive it from without the application's secret. A message that is sent again
has the same link. The table holds the SHA-256 of the token (OWASP, Forgot Password Cheat Sheet).
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import bindparam, delete, exists, or_, select

from db.crypto.secret import Secret
from db.engine.statement import Statement, insert_if
from db.errors import AccountNotCreated, LinkInvalid, LinkMismatch
from db.store import Store, pick
from db.tables import Instant, tokens, users

# An `invite` token is a column of its invitation, because there is no account yet.
Purpose = Literal["verify", "reset", "change", "not-me", "keep", "invite"]
LIFETIMES: Final[Mapping[Purpose, timedelta]] = {
    "verify": timedelta(hours=24),
    "reset": timedelta(hours=1),
    "change": timedelta(hours=1),
    "not-me": timedelta(days=7),
    "keep": timedelta(days=7),
    "invite": timedelta(days=7),
}
TOKEN_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
LINK_ID_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class Token:
    """A live token. `email` is the account's at the time of the mail, and of `change` the new one.

    `event` is the type of the message that a `not-me` link reports.
    """

    user_id: str
    email: str
    event: str
    created_at: datetime


_NEW_TOKEN: Final = {
    "hash": "hash",
    "purpose": "purpose",
    "user_id": "user_id",
    "email": "email",
    "event": "event",
    "created_at": "now",
    "expires_at": "expires_at",
}
_other = tokens.alias("other")
# Until its "this wasn't me" link expires, an email can be given back to the account that had it.
# The account `user_id` itself may have its own former email again.
IS_RESERVED: Final = exists().where(
    _other.c.email == bindparam("email"),
    _other.c.purpose == "not-me",
    _other.c.expires_at > bindparam("now", type_=Instant),
    _other.c.user_id != bindparam("user_id"),
)
RESERVED_EMAILS = Statement(
    select(tokens.c.email).where(
        tokens.c.email.in_(bindparam("emails", expanding=True)),
        tokens.c.purpose == "not-me",
        tokens.c.expires_at > bindparam("now", type_=Instant),
    )
)
INSERT_TOKEN = Statement(insert_if(tokens, _NEW_TOKEN))
# Checks the reservation as the INSERT of the user does. On PostgreSQL, that INSERT may wait for the
# change that releases the email, and not see the token of the change.
INSERT_FIRST_TOKEN = Statement(insert_if(tokens, _NEW_TOKEN, ~IS_RESERVED))
_IS_THIS_TOKEN = (
    tokens.c.hash == bindparam("hash"),
    tokens.c.purpose == bindparam("purpose"),
    tokens.c.expires_at > bindparam("now", type_=Instant),
)
FIND_TOKEN = Statement(pick(Token, tokens).where(*_IS_THIS_TOKEN))
LOCK_USER = Statement(
    select(users.c.id).where(users.c.id == bindparam("user_id")).with_for_update()
)
CONSUME_TOKEN = Statement(
    delete(tokens)
    .where(*_IS_THIS_TOKEN, tokens.c.user_id == bindparam("user_id"))
    .returning(tokens.c.user_id, tokens.c.email, tokens.c.event, tokens.c.created_at)
    .execution_options(into=Token)
)
DELETE_TOKENS = Statement(
    delete(tokens).where(
        tokens.c.user_id == bindparam("user_id"),
        tokens.c.purpose.in_(bindparam("purposes", expanding=True)),
    )
)
# An older `not-me` link outranks newer ones. With the opposite order, an attacker could change the
# email twice, use the link of the second change, and so end the link of the user.
DELETE_TOKENS_OF_LOCKED_ACCOUNT = Statement(
    delete(tokens).where(
        tokens.c.user_id == bindparam("user_id"),
        or_(
            tokens.c.purpose != "not-me",
            tokens.c.created_at >= bindparam("created_at", type_=Instant),
        ),
    )
)


def derive_token(store: Store, message_id: str, kid: str) -> Secret[str] | None:
    """Returns the token of a message as 43 characters; None if its key was removed."""
    digest = store.mail_keys.digest(kid, message_id.encode())
    return None if digest is None else Secret(urlsafe_b64encode(digest).decode().rstrip("="))


def hash_token(token: Secret[str]) -> str:
    return hashlib.sha256(token.reveal().encode()).hexdigest()


def link_id(token: Secret[str]) -> str:
    """Returns the identifier of a link that a page may contain: 16 hex digits of its hash."""
    return hash_token(token)[:LINK_ID_CHARS]


def require_same_link(token: Secret[str] | None, link: str) -> Secret[str]:
    """Returns the token of the browser's cookie if the form was rendered for it.

    Raises LinkInvalid without a token, and LinkMismatch if another link was opened since, in
    another tab.
    """
    if token is None:
        raise LinkInvalid
    if link_id(token) != link:
        raise LinkMismatch
    return token


async def insert_token(
    store: Store,
    token: Secret[str],
    purpose: Purpose,
    user_id: str,
    email: str,
    event: str,
    *,
    is_first: bool = False,
) -> None:
    """Inserts a token. `is_first`: the account is new, and in this transaction.

    Raises AccountNotCreated if its email was released by a change that committed in the meantime.
    """
    now = store.now()
    statement = INSERT_FIRST_TOKEN if is_first else INSERT_TOKEN
    inserted = await store.count(
        statement(
            hash=hash_token(token),
            purpose=purpose,
            user_id=user_id,
            email=email,
            event=event,
            now=now,
            expires_at=now + LIFETIMES[purpose],
        )
    )
    if inserted != 1:
        raise AccountNotCreated


async def find_token(store: Store, purpose: Purpose, token: Secret[str] | None) -> Token:
    """Returns the live token without consuming it. Raises LinkInvalid."""
    found: Token | None = None
    if token is not None:
        found = await store.one(
            FIND_TOKEN(hash=hash_token(token), purpose=purpose, now=store.now())
        )
    if found is None:
        raise LinkInvalid(purpose)
    return found


async def consume_token(
    store: Store, purpose: Purpose, token: Secret[str], user_id: str | None = None
) -> Token:
    """Deletes a live token and returns it. Only one of many concurrent requests succeeds.

    Must run first in its transaction, or after `require_right` if `user_id` is the viewer. Locks
    the user's row before the token's: in the other order, PostgreSQL aborts transactions that
    change the password at the same time (126 of 600 in a measurement). Raises LinkInvalid.
    """
    if user_id is None:
        user_id = (await find_token(store, purpose, token)).user_id
        await store.value(LOCK_USER(user_id=user_id))
    consumed: Token | None = await store.one(
        CONSUME_TOKEN(hash=hash_token(token), purpose=purpose, user_id=user_id, now=store.now())
    )
    if consumed is None:
        raise LinkInvalid(purpose)
    return consumed


async def find_reserved_emails(store: Store, emails: Sequence[str]) -> set[str]:
    """Returns which of these emails can be given back to the account that had it."""
    found = await store.all(RESERVED_EMAILS(emails=list(emails), now=store.now()))
    return {email for (email,) in found}


async def delete_tokens(store: Store, user_id: str, purposes: Sequence[Purpose]) -> None:
    await store.count(DELETE_TOKENS(user_id=user_id, purposes=list(purposes)))


async def delete_tokens_of_locked_account(store: Store, locked_by: Token) -> None:
    """Deletes every token of the account except the `not-me` tokens older than this one."""
    await store.count(
        DELETE_TOKENS_OF_LOCKED_ACCOUNT(user_id=locked_by.user_id, created_at=locked_by.created_at)
    )
