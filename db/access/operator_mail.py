"""Contains the actions of the operator on the outbox and on the confirmation of emails."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BindParameter, and_, bindparam, case, delete, literal, or_, select, update

from db import accounts
from db.access.outbox import AnyType
from db.audit import log as audit_log
from db.audit.log import OPERATOR
from db.engine.statement import Statement
from db.errors import NotFound
from db.mail.outbox import MAIL_TYPES, delete_unsent
from db.mail.tokens import delete_tokens
from db.store import Store, pick
from db.tables import Instant, outbox, users
from db.viewer import Operator

VERIFY_BATCH: Final = 100  # emails that `verify_all_emails` confirms in one transaction


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message in the outbox.

    `due_at` is when it is sent or tried again, and None if it was sent or given up. `recipient` is
    empty after a mail was sent.
    """

    id: str
    message_type: AnyType
    recipient: str
    created_at: datetime
    due_at: datetime | None
    attempts: int
    sent_at: datetime | None
    error: str


_has_type = outbox.c.message_type.in_(bindparam("types", expanding=True))
_is_unsent = and_(_has_type, outbox.c.sent_at.is_(None))
_email: BindParameter[str] = bindparam("email")
MESSAGES = Statement(
    pick(OutboxMessage, outbox)
    .where(
        _has_type,
        or_(~bindparam("only_dead"), and_(outbox.c.due_at.is_(None), outbox.c.sent_at.is_(None))),
        or_(_email == literal(""), outbox.c.recipient == _email),
    )
    .order_by(outbox.c.created_at, outbox.c.id)
)
# A message whose first attempt has not ended may be on its way, so it is left alone. The number of
# attempts of one that was given up begins again; otherwise its next failure would be the last.
RETRY = Statement(
    update(outbox)
    .where(
        _is_unsent,
        outbox.c.expires_at > bindparam("now", type_=Instant),
        or_(outbox.c.due_at.is_(None), outbox.c.error != ""),
        or_(bindparam("id") == literal(""), outbox.c.id == bindparam("id")),
    )
    .values(
        due_at=bindparam("now", type_=Instant),
        attempts=case((outbox.c.due_at.is_(None), 0), else_=outbox.c.attempts),
    )
)
DROP = Statement(delete(outbox).where(_is_unsent, outbox.c.id == bindparam("id")))
VERIFY = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.verified_at.is_(None))
    .values(verified_at=bindparam("now", type_=Instant))
    .returning(users.c.id)
)
UNVERIFIED = Statement(
    select(users.c.id)
    .where(users.c.verified_at.is_(None))
    .order_by(users.c.id)
    .limit(bindparam("count"))
)


async def list_messages(
    operator: Operator,
    types: Sequence[AnyType] = MAIL_TYPES,
    *,
    dead: bool = False,
    email: str = "",
) -> list[OutboxMessage]:
    """Returns the messages of these types, the oldest first.

    With `dead`, returns only those that were given up. `email` selects those to one recipient; sent
    ones no longer have a recipient.
    """
    return await operator.store.all(MESSAGES(types=list(types), only_dead=dead, email=email))


async def retry_message(
    operator: Operator, message_id: str, types: Sequence[AnyType] = MAIL_TYPES
) -> bool:
    """Makes an unsent message due now, and returns whether that was possible.

    A message that has expired is not sent again, because its link no longer works.
    """
    return bool(await _retry(operator, message_id, types))


async def retry_all_messages(operator: Operator, types: Sequence[AnyType] = MAIL_TYPES) -> int:
    """Makes every failed message of these types due now, and returns how many there were."""
    return await _retry(operator, "", types)


async def _retry(operator: Operator, message_id: str, types: Sequence[AnyType]) -> int:
    return await operator.store.count(
        RETRY(now=operator.store.now(), id=message_id, types=list(types))
    )


async def drop_message(
    operator: Operator, message_id: str, types: Sequence[AnyType] = MAIL_TYPES
) -> bool:
    """Deletes an unsent message, and returns whether there was one."""
    return bool(await operator.store.count(DROP(id=message_id, types=list(types))))


async def verify_email(operator: Operator, email: str) -> bool:
    """Confirms the email of an account; False if it was confirmed before. Raises NotFound."""
    store = operator.store
    user_id = await accounts.find_user_id(store, email)
    if user_id is None:
        raise NotFound
    async with store.transaction():
        return await _verify(store, user_id)


async def verify_all_emails(operator: Operator) -> int:
    """Confirms the emails of all accounts, and returns how many were not confirmed before."""
    store, total = operator.store, 0
    while True:
        async with store.transaction():
            user_ids = await store.all(UNVERIFIED(count=VERIFY_BATCH))
            for (user_id,) in user_ids:
                total += await _verify(store, user_id)
        if not user_ids:
            return total


async def _verify(store: Store, user_id: str) -> bool:
    """Confirms an email, and ends the link that was sent for it."""
    if await store.value(VERIFY(user_id=user_id, now=store.now())) is None:
        return False
    await delete_tokens(store, user_id, ["verify"])
    await delete_unsent(store, user_id, ["verify"])
    await audit_log.record(store, "email.verify", OPERATOR, target_id=user_id)
    return True
