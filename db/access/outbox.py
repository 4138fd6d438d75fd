"""Contains the outbox for the sending task: claims of due messages and records of the outcomes.

Several processes share the table. A claim is one statement that skips rows which another process
has claimed at the same time, and moves the row's due time ahead. If the process stops in the
meantime, the message becomes due again. It is then sent once more if the server had accepted it,
with the same Message-ID.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, func, select, update

from db import accounts
from db.accounts import Recipient
from db.audit import log as audit_log
from db.audit.log import Actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import Refused
from db.mail.outbox import (
    EVENT_TYPES,
    MAIL_TYPES,
    PURPOSES,
    REQUEST_TYPES,
    EventType,
    MessageType,
    RequestType,
    post,
    until,
)
from db.mail.tokens import LOCK_USER, derive_token
from db.store import pick
from db.tables import Instant, outbox, users
from db.viewer import Mailer

CLAIM_PERIOD: Final = timedelta(minutes=5)  # longer than an attempt may take
RETRY_MINUTES: Final = (1, 2, 5, 15, 30, 60, 120, 240, 360)
# Three days in all (Standard Webhooks, "Deliverability and reliability").
EVENT_RETRY_MINUTES: Final = (*RETRY_MINUTES, 720, 1440, 1440)
JITTER: Final = 0.1
EXPIRED: Final = "expired"
AnyType = MessageType | EventType
ANSWERS: Final[Mapping[RequestType, MessageType]] = {
    "forgot": "reset",
    "taken": "exists",
    "guessed": "guesses",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A message to send. `token` is that of its link, or None if it has none.

    `attempts` includes the present one. `facts` are the values for the template, or the event of a
    hook or webhook. They are empty after the message was sent, and so is the recipient of a mail.
    `language` is the code of the language of its user; empty if the message has no user.
    """

    id: str
    message_type: AnyType
    user_id: str
    recipient: str
    facts: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime
    attempts: int
    sent_at: datetime | None
    error: str
    token: Secret[str] | None = field(repr=False)
    language: str = ""

    @property
    def has_link(self) -> bool:
        """Returns whether messages of this type have a link. Without a token, its key was
        removed.
        """
        return self.message_type in MAIL_TYPES and PURPOSES[self.message_type] is not None


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """How many messages wait, and the age of the oldest in seconds."""

    waiting: int
    oldest: float


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    message_type: AnyType
    user_id: str
    recipient: str
    facts: str
    kid: str
    created_at: datetime
    expires_at: datetime
    attempts: int
    sent_at: datetime | None
    error: str
    language: str


@dataclass(frozen=True, slots=True)
class _Request:
    id: str
    message_type: RequestType
    recipient: str
    facts: str
    expires_at: datetime


_now = bindparam("now", type_=Instant)


def _next_due(*conditions: Any) -> Select[tuple[str]]:
    # SQLite has no row locks; its dialect leaves the FOR UPDATE out.
    return (
        select(outbox.c.id)
        .where(outbox.c.due_at <= _now, *conditions)
        .order_by(outbox.c.due_at, outbox.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


_HAS_TYPE = outbox.c.message_type.in_(bindparam("types", expanding=True))
# The language that the user has chosen, else that of the browser at the last log-in.
_language = func.coalesce(
    select(func.coalesce(func.nullif(users.c.language, ""), users.c.browser_language))
    .where(users.c.id == outbox.c.user_id)
    .correlate(outbox)
    .scalar_subquery(),
    "",
)
_row_columns = [
    _language if name == "language" else outbox.c[name] for name in _Row.__dataclass_fields__
]
CLAIM = Statement(
    update(outbox)
    .where(
        outbox.c.due_at <= _now,
        outbox.c.id == _next_due(_HAS_TYPE).scalar_subquery(),
    )
    .values(due_at=bindparam("claimed_until", type_=Instant), attempts=outbox.c.attempts + 1)
    .returning(*_row_columns)
    .execution_options(into=_Row)
)
TAKE_REQUEST = Statement(
    delete(outbox)
    .where(outbox.c.id == _next_due(outbox.c.message_type.in_(REQUEST_TYPES)).scalar_subquery())
    .returning(*[outbox.c[name] for name in _Request.__dataclass_fields__])
    .execution_options(into=_Request)
)
DROP_REQUEST = Statement(delete(outbox).where(outbox.c.id == bindparam("id")))
POSTPONE_REQUEST = Statement(
    update(outbox)
    .where(outbox.c.id == bindparam("id"))
    .values(due_at=bindparam("at", type_=Instant))
)
_IS_CLAIMED = (outbox.c.id == bindparam("id"), outbox.c.attempts == bindparam("claimed_attempts"))
MARK_SENT = Statement(
    update(outbox)
    .where(*_IS_CLAIMED)
    .values(
        due_at=None,
        sent_at=_now,
        error="",
        recipient=bindparam("new_recipient"),
        facts=bindparam("new_facts"),
    )
)
MARK_DEAD = Statement(
    update(outbox).where(*_IS_CLAIMED).values(due_at=None, error=bindparam("new_error"))
)
RETRY_AT = Statement(
    update(outbox)
    .where(*_IS_CLAIMED)
    .values(
        due_at=bindparam("at", type_=Instant),
        attempts=bindparam("new_attempts"),
        error=bindparam("new_error"),
    )
)
QUEUE = Statement(
    select(func.count(), func.min(outbox.c.created_at))
    .select_from(outbox)
    .where(outbox.c.due_at.is_not(None), _HAS_TYPE)
)
NEWEST = Statement(
    pick(_Row, outbox, language=_language)
    .where(outbox.c.message_type.in_(MAIL_TYPES), outbox.c.recipient != "")
    .order_by(outbox.c.created_at.desc(), outbox.c.id)
    .limit(bindparam("count"))
)
BY_ID = Statement(
    pick(_Row, outbox, language=_language).where(
        outbox.c.id == bindparam("id"),
        outbox.c.message_type.in_(MAIL_TYPES),
        outbox.c.recipient != "",
    )
)


async def claim(
    mailer: Mailer,
    types: Sequence[AnyType] = MAIL_TYPES,
    *,
    on_expired: Callable[[Message], None] | None = None,
) -> Message | None:
    """Returns a due message of these types, which no other process gets for CLAIM_PERIOD; None if
    none is due.

    Messages that have expired are marked dead on the way, because their links have ended or are
    about to. `on_expired` is called with each of them.
    """
    store = mailer.store
    while True:
        now = store.now()
        row: _Row | None = await store.one(
            CLAIM(now=now, claimed_until=now + CLAIM_PERIOD, types=list(types))
        )
        if row is None:
            return None
        message = _message(mailer, row)
        if row.expires_at > now:
            return message
        if await mark_dead(mailer, message, EXPIRED) and on_expired is not None:
            on_expired(message)


async def mark_sent(mailer: Mailer, message: Message) -> bool:
    """Marks a message as sent and deletes its content.

    Returns False if another process has claimed it since. In development the content of a mail is
    kept. The name of a hook or an event is no content.
    """
    is_event = message.message_type in EVENT_TYPES
    keeps = mailer.store.outbox.keeps_content and not is_event
    return await _update(
        mailer,
        MARK_SENT,
        message,
        now=mailer.store.now(),
        new_recipient=message.recipient if keeps or is_event else "",
        new_facts=json.dumps(dict(message.facts)) if keeps else "",
    )


async def mark_dead(mailer: Mailer, message: Message, error: str) -> bool:
    """Gives a message up. The operator can still see it, and send it again."""
    return await _update(mailer, MARK_DEAD, message, new_error=error)


async def retry_later(
    mailer: Mailer, message: Message, error: str, *, retry_after: float = 0.0
) -> bool:
    """Makes a message due again after a longer wait each time, and gives it up after the last.

    The wait has at least `retry_after` seconds.
    """
    waits = EVENT_RETRY_MINUTES if message.message_type in EVENT_TYPES else RETRY_MINUTES
    if message.attempts > len(waits):
        return await mark_dead(mailer, message, error)
    minutes = waits[message.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (no secret)  # nosec B311
    wait = max(timedelta(minutes=minutes), timedelta(seconds=retry_after))
    at = mailer.store.now() + wait
    return await _retry(mailer, message, at, message.attempts, error)


async def release(mailer: Mailer, message: Message, seconds: float) -> bool:
    """Makes a message due again after `seconds`, and does not count the attempt.

    The mail server could not be reached, which says nothing about the message.
    """
    at = mailer.store.now() + timedelta(seconds=seconds)
    return await _retry(mailer, message, at, message.attempts - 1, message.error)


async def resolve_next(mailer: Mailer) -> bool:
    """Answers one request for a mail, and returns whether there was one.

    Writes the mail if an enabled account has the email and no hook refuses it.
    """
    store = mailer.store
    request: _Request | None = None
    try:
        async with store.transaction():
            request = await store.one(TAKE_REQUEST(now=store.now()))
            if request is None:
                return False
            user = await accounts.find_recipient(store, request.recipient)
            if user is not None and not user.disabled and request.expires_at > store.now():
                await store.value(LOCK_USER(user_id=user.id))
                await _answer(mailer, request, user)
    except Refused:
        if request is not None:
            await store.count(DROP_REQUEST(id=request.id))
    except Exception:
        # A hook that fails or hangs must not keep the task from the other requests.
        if request is not None:
            at = store.now() + timedelta(minutes=1)
            await store.count(POSTPONE_REQUEST(id=request.id, at=at))
        raise
    return True


async def _answer(mailer: Mailer, request: _Request, user: Recipient) -> None:
    """Writes the mail that answers the request of this user. Guesses concern only a confirmed
    email.
    """
    if request.message_type == "guessed" and not user.verified:
        return
    store, facts = mailer.store, json.loads(request.facts)
    posted = await post(
        store,
        ANSWERS[request.message_type],
        user_id=user.id,
        recipient=request.recipient,
        verified=user.verified,
        facts={**facts, "until": until(store, "reset")},
    )
    if posted and request.message_type == "forgot":
        actor = Actor("anonymous", ip_address=facts["ip_address"], browser=facts["browser"])
        await audit_log.record(store, "password.ask", actor, target_id=user.id)


async def read_queue(
    mailer: Mailer, types: Sequence[str] = (*MAIL_TYPES, *REQUEST_TYPES)
) -> QueueFigures:
    for waiting, oldest in await mailer.store.all(QUEUE(types=list(types))):
        age = (mailer.store.now() - oldest).total_seconds() if oldest else 0.0
        return QueueFigures(int(waiting), max(0.0, age))
    return QueueFigures(0, 0.0)


async def list_messages(mailer: Mailer, *, limit: int = 50) -> list[Message]:
    """Returns the newest messages that still have their content, newest first."""
    return [_message(mailer, row) for row in await mailer.store.all(NEWEST(count=limit))]


async def get_message(mailer: Mailer, message_id: str) -> Message | None:
    row: _Row | None = await mailer.store.one(BY_ID(id=message_id))
    return None if row is None else _message(mailer, row)


async def _retry(mailer: Mailer, message: Message, at: datetime, attempts: int, error: str) -> bool:
    return await _update(mailer, RETRY_AT, message, at=at, new_attempts=attempts, new_error=error)


async def _update(
    mailer: Mailer, statement: Statement[Any], message: Message, **values: object
) -> bool:
    """Changes the row only if no other process has claimed it since."""
    bound = statement(id=message.id, claimed_attempts=message.attempts, **values)
    return await mailer.store.count(bound) == 1


def _message(mailer: Mailer, row: _Row) -> Message:
    has_link = row.message_type in MAIL_TYPES and PURPOSES[row.message_type] is not None
    return Message(
        id=row.id,
        message_type=row.message_type,
        user_id=row.user_id,
        recipient=row.recipient,
        facts=json.loads(row.facts or "{}"),
        created_at=row.created_at,
        expires_at=row.expires_at,
        attempts=row.attempts,
        sent_at=row.sent_at,
        error=row.error,
        token=derive_token(mailer.store, row.id, row.kid) if has_link else None,
        language=row.language,
    )
