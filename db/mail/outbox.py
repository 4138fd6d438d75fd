"""Writes messages into the outbox, in the transaction of the change that they report.

If the transaction rolls back, there is no message; if it commits, the message is sent even if the
process stops before. The sending task reads the outbox by `db.access.outbox`. Most messages are
mails; the others call a hook or send a webhook.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Integer, and_, bindparam, delete, func, or_, select

from db.crypto.secret import Secret
from db.engine.statement import Statement, insert_if
from db.mail.tokens import (
    LIFETIMES,
    Purpose,
    Token,
    delete_tokens,
    derive_token,
    insert_token,
)
from db.store import Store
from db.tables import Instant, outbox

MessageType = Literal[
    "verify",
    "exists",
    "reset",
    "change",
    "moved",
    "arrived",
    "new-device",
    "password",
    "token",
    "factor",
    "second-step",
    "locked",
    "guesses",
    "invite",
    "added",
    "leaving",
    "removal",
    "deleted",
]
# The types of rows that ask for a mail to an email, and are never sent themselves.
RequestType = Literal["forgot", "guessed", "taken"]
REQUEST_TYPES: Final[tuple[RequestType, ...]] = ("forgot", "guessed", "taken")
# The types of messages that report an audited event to the product or to another service. The
# recipient of `hook` is the name of the hook, and that of `webhook` the name of the event.
EventType = Literal["hook", "webhook"]
EVENT_TYPES: Final[tuple[EventType, ...]] = ("hook", "webhook")


class _Rule(NamedTuple):
    """How many messages of these types an account gets: `burst` in a minute, `total` in `period`.

    A message above the limit is left out silently, because an error would show which emails have an
    account.
    """

    types: tuple[MessageType, ...]
    burst: int
    total: int
    period: timedelta


RESETS: Final = _Rule(("reset", "exists"), 1, 5, timedelta(days=1))
RESETS_UNVERIFIED: Final = _Rule(("reset", "exists"), 1, 3, timedelta(days=1))
NOTICES: Final = _Rule(
    (
        *("moved", "arrived", "new-device", "password", "token", "factor", "second-step"),
        *("locked", "guesses"),
    ),
    10,
    10,
    timedelta(hours=1),
)
UNLIMITED: Final = _Rule((), 1, 1, timedelta(0))  # limited where it is asked for
PURPOSES: Final[Mapping[MessageType, Purpose | None]] = {
    "verify": "verify",
    "exists": "reset",
    "reset": "reset",
    "change": "change",
    "moved": "not-me",
    "arrived": None,
    "new-device": "not-me",
    "password": "not-me",
    "token": "not-me",
    "factor": "not-me",
    "second-step": "not-me",
    "locked": "reset",
    "guesses": None,
    "invite": "invite",
    "added": None,
    "leaving": "keep",
    "removal": None,
    "deleted": None,
}
MAIL_TYPES: Final[tuple[MessageType, ...]] = tuple(PURPOSES)
NOTICE_LIFETIME: Final = timedelta(days=3)  # A notice that is older is not worth sending.
# Longer than all attempts take, because a hook has to run even after a long outage.
EVENT_LIFETIME: Final = timedelta(days=30)
NO_LIMIT: Final = 2**31 - 1

_counted = and_(
    outbox.c.user_id == bindparam("user_id"),
    outbox.c.message_type.in_(bindparam("types", expanding=True)),
)
_burst = (
    select(func.count())
    .select_from(outbox)
    .where(_counted, outbox.c.created_at > bindparam("minute_ago", type_=Instant))
    .scalar_subquery()
)
_total = (
    select(func.count())
    .select_from(outbox)
    .where(_counted, outbox.c.created_at > bindparam("period_ago", type_=Instant))
    .scalar_subquery()
)
_NEW_MESSAGE: Final = {
    "id": "id",
    "message_type": "message_type",
    "user_id": "user_id",
    "recipient": "recipient",
    "facts": "facts",
    "kid": "kid",
    "created_at": "now",
    "due_at": "now",
    "expires_at": "expires_at",
    "attempts": "attempts",
    "error": "error",
}
INSERT_MESSAGE = Statement(insert_if(outbox, _NEW_MESSAGE))
INSERT_MESSAGE_WITHIN_LIMIT = Statement(
    insert_if(
        outbox,
        _NEW_MESSAGE,
        _burst < bindparam("burst", type_=Integer),
        _total < bindparam("total", type_=Integer),
    )
)
DELETE_UNSENT = Statement(
    delete(outbox).where(
        outbox.c.user_id == bindparam("user_id"),
        outbox.c.message_type.in_(bindparam("types", expanding=True)),
        outbox.c.sent_at.is_(None),
        outbox.c.due_at.is_not(None),
        outbox.c.id != bindparam("except_id"),
    )
)
# The older notices are the way back for the user of the email from before: see db.mail.tokens.
DELETE_UNSENT_OF_LOCKED_ACCOUNT = Statement(
    delete(outbox).where(
        outbox.c.user_id == bindparam("user_id"),
        or_(
            outbox.c.message_type.not_in(
                [name for name, purpose in PURPOSES.items() if purpose == "not-me"]
            ),
            outbox.c.created_at >= bindparam("created_at", type_=Instant),
        ),
        outbox.c.sent_at.is_(None),
        outbox.c.due_at.is_not(None),
    )
)


async def post(
    store: Store,
    message_type: MessageType,
    *,
    user_id: str,
    recipient: str,
    verified: bool = True,
    is_first: bool = False,
    facts: Mapping[str, str] | None = None,
) -> bool:
    """Writes a message and the token of its link, and returns whether it did.

    Must run inside the transaction of the change. A newer message with a link replaces the older
    one of its purpose: the old link stops working, and an unsent message is deleted. `is_first`
    saves these statements for a new account. Writes nothing if mails are not sent, or above the
    limits of one account.
    """
    if not store.outbox.is_enabled:
        return False
    purpose = PURPOSES[message_type]
    rule = _rule_of(message_type, verified=verified)
    lifetime = LIFETIMES[purpose] * 3 / 4 if rule is not NOTICES and purpose else NOTICE_LIFETIME
    text = json.dumps({**(facts or {}), "proven": "yes" if verified else ""})
    values = _new_message(store, message_type, user_id, recipient, text, lifetime)
    message_id = values["id"]
    if rule is UNLIMITED:
        await store.count(INSERT_MESSAGE(**values))
    elif not await _insert_within_limit(store, rule, values):
        return False
    if purpose in ("verify", "reset", "change", "keep") and not is_first:
        # Not before the limit has allowed the message. With the opposite order, a request above the
        # limit would end the last link without sending another.
        await delete_tokens(store, user_id, [purpose])
        older = [name for name, value in PURPOSES.items() if value == purpose]
        await delete_unsent(store, user_id, older, except_id=message_id)
    token = derive_token(store, message_id, store.mail_keys.kid)
    if purpose is not None and token is not None:
        await insert_token(
            store,
            token,
            purpose,
            user_id,
            recipient,
            message_type,
            is_first=is_first,
        )
    store.outbox.notify()
    return True


async def post_invitation(
    store: Store, invitation_id: str, email: str, facts: Mapping[str, str]
) -> Secret[str] | None:
    """Writes a mail to someone without an account, and returns the token of its link.

    The id of the invitation takes the place of a user id, so that `delete_unsent` finds the mail.
    Returns None if mails are not sent.
    """
    if not store.outbox.is_enabled:
        return None
    text, lifetime = json.dumps({**facts, "proven": ""}), LIFETIMES["invite"] * 3 / 4
    values = _new_message(store, "invite", invitation_id, email, text, lifetime)
    await store.count(INSERT_MESSAGE(**values))
    store.outbox.notify()
    return derive_token(store, values["id"], values["kid"])


async def post_request(
    store: Store, request_type: RequestType, email: str, facts: Mapping[str, str] | None = None
) -> None:
    """Writes a request for a mail to the user of this email. The sending task answers it later.

    The work is therefore the same whether or not an account has the email.
    """
    if not store.outbox.is_enabled:
        return
    text = json.dumps(dict(facts or {}))
    values = _new_message(store, request_type, "", email, text, LIFETIMES["reset"])
    await store.count(INSERT_MESSAGE(**values))
    store.outbox.notify()


async def post_event(store: Store, message_type: EventType, recipient: str, facts: str) -> None:
    """Writes a message about an audited event. Must run inside the transaction of the change.

    The message belongs to no user, so that it outlives the account that it is about.
    """
    values = _new_message(store, message_type, "", recipient, facts, EVENT_LIFETIME)
    await store.count(INSERT_MESSAGE(**{**values, "kid": ""}))  # It has no link.
    store.outbox.notify()


async def delete_unsent(
    store: Store, user_id: str, types: Sequence[MessageType], *, except_id: str = ""
) -> None:
    """Deletes messages of these types that were not sent yet, apart from one."""
    await store.count(DELETE_UNSENT(user_id=user_id, types=list(types), except_id=except_id))


async def delete_unsent_of_locked_account(store: Store, locked_by: Token) -> None:
    """Deletes every unsent message of the account except the notices older than this token."""
    await store.count(
        DELETE_UNSENT_OF_LOCKED_ACCOUNT(user_id=locked_by.user_id, created_at=locked_by.created_at)
    )


def until(store: Store, purpose: Purpose) -> str:
    """Returns when a link of this purpose that is written now expires, as text for a mail."""
    return format_time(store.now() + LIFETIMES[purpose])


def format_time(moment: datetime) -> str:
    """Returns a time for a mail, such as `24 November 2026, 09:12 UTC`."""
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _new_message(
    store: Store,
    message_type: MessageType | RequestType | EventType,
    user_id: str,
    recipient: str,
    facts: str,
    lifetime: timedelta,
) -> dict[str, Any]:
    """Returns the values of INSERT_MESSAGE for a new message with a new id."""
    now = store.now()
    return {
        "id": store.token(32),
        "message_type": message_type,
        "user_id": user_id,
        "recipient": recipient,
        "facts": facts,
        "kid": store.mail_keys.kid,
        "now": now,
        "expires_at": now + lifetime,
        "attempts": 0,
        "error": "",
    }


async def _insert_within_limit(store: Store, rule: _Rule, values: Mapping[str, object]) -> bool:
    """Inserts the message unless the account has had as many as the rule allows."""
    now, is_off = store.now(), store.limiter.mode == "off"
    inserted = await store.count(
        INSERT_MESSAGE_WITHIN_LIMIT(
            **values,
            types=list(rule.types),
            minute_ago=now - timedelta(minutes=1),
            period_ago=now - rule.period,
            burst=NO_LIMIT if is_off else rule.burst,
            total=NO_LIMIT if is_off else rule.total,
        )
    )
    return inserted == 1


def _rule_of(message_type: MessageType, *, verified: bool) -> _Rule:
    if message_type in RESETS.types:
        return RESETS if verified else RESETS_UNVERIFIED
    return NOTICES if message_type in NOTICES.types else UNLIMITED
