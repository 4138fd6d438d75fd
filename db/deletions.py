"""The deletion of accounts: at once, or after a time in which it can be undone.

Only `db.access` and the pruning call these functions, inside their transactions.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, delete, select, update

from db.accounts import (
    NOT_THE_LAST_ADMIN,
    USER_EXISTS,
    UserState,
    change_user,
    disable_within,
    get_user_state,
    require_disabled_at,
    withdraw_invitations,
)
from db.engine.statement import Statement
from db.errors import LastAdmin, NotFound
from db.mail.outbox import delete_unsent, format_time, post
from db.mail.tokens import delete_tokens
from db.sessions.lifecycle import end_all_sessions
from db.store import Store
from db.tables import Instant, outbox, users
from db.viewer import Admin, Operator

# The time in which a deletion can be undone. The link of its mail is valid as long.
DELETION_GRACE: Final = timedelta(days=7)
SCHEDULE_DELETION = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), NOT_THE_LAST_ADMIN)
    .values(delete_at=bindparam("new_delete_at", type_=Instant))
    .returning(users.c.id)
)
CANCEL_DELETION = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.delete_at.is_not(None))
    .values(delete_at=None)
    .returning(users.c.id)
)
ENABLE = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.disabled_at.is_not(None))
    .values(disabled_at=None)
    .returning(users.c.id)
)
DELETE_USER = Statement(
    delete(users)
    .where(users.c.id == bindparam("user_id"), NOT_THE_LAST_ADMIN)
    .returning(users.c.email)
)
# Sent messages have no content, apart from those in the development mailbox.
DELETE_UNSENT_MESSAGES = Statement(
    delete(outbox).where(outbox.c.user_id == bindparam("user_id"), outbox.c.sent_at.is_(None))
)
CONFIRMED_EMAIL = Statement(
    select(users.c.email).where(
        users.c.id == bindparam("user_id"), users.c.verified_at.is_not(None)
    )
)


async def close_account(caller: Admin | Operator, user_id: str) -> datetime:
    """Disables an account, schedules its deletion after DELETION_GRACE, and notifies its user.

    Returns when it is deleted. Raises NotFound, LastAdmin, and the errors of `change_user`.
    """
    store = caller.store
    async with change_user(caller, "account.leave", user_id) as detail:
        before = await get_user_state(store, user_id)
        if before.disabled_at is None:
            await disable_within(store, user_id)
        delete_at = await schedule_deletion(store, user_id)
        detail["at"] = delete_at.isoformat()
        email = await store.value(CONFIRMED_EMAIL(user_id=user_id))
        if email is not None:
            facts = {"date": format_time(delete_at)}
            await post(store, "removal", user_id=user_id, recipient=email, facts=facts)
    return delete_at


async def enable_account(
    caller: Admin | Operator, user_id: str, *, expected: str | None = None
) -> UserState:
    """Enables an account, and keeps it if it was about to be deleted.

    Returns the state before. `expected` is described at `require_disabled_at`. Raises
    NotFound, StateChanged, and the errors of `change_user`.
    """
    store = caller.store
    async with change_user(caller, "account.enable", user_id) as detail:
        before = await get_user_state(store, user_id)
        require_disabled_at(before, expected)
        is_kept = await cancel_deletion(store, user_id)
        if await store.value(ENABLE(user_id=user_id)) is not None or is_kept:
            detail["since"] = before.disabled_at.isoformat() if before.disabled_at else ""
    return before


async def schedule_deletion(store: Store, user_id: str) -> datetime:
    """Schedules the deletion of the account after DELETION_GRACE, and returns its time.

    Ends every session and known browser. Must run inside a transaction that holds
    LOCK_ADMIN_CHANGES. Raises LastAdmin.
    """
    delete_at = store.now() + DELETION_GRACE
    scheduled = SCHEDULE_DELETION(user_id=user_id, new_delete_at=delete_at)
    if await store.value(scheduled) is None:
        raise LastAdmin
    await end_all_sessions(store, user_id)
    return delete_at


async def cancel_deletion(store: Store, user_id: str) -> bool:
    """Keeps an account that was about to be deleted, and returns whether it was.

    Ends the links that keep the account, and the mails about the deletion that were not sent yet.
    Must run inside a transaction that has locked the user.
    """
    if await store.value(CANCEL_DELETION(user_id=user_id)) is None:
        return False
    await delete_tokens(store, user_id, ["keep"])
    await delete_unsent(store, user_id, ["leaving", "removal"])
    return True


async def delete_user(store: Store, user_id: str) -> str:
    """Deletes an account for good, and returns its email.

    Its sessions, links and access tokens go with its row. Its unsent mails and its invitations go
    too. Audit entries stay. Must run inside a transaction that holds LOCK_ADMIN_CHANGES, such as
    that of `change_user`. Raises LastAdmin, and NotFound if there is no such account.
    """
    email = await store.value(DELETE_USER(user_id=user_id))
    if email is None:
        if await store.value(USER_EXISTS(user_id=user_id)) is None:
            raise NotFound
        raise LastAdmin
    await store.count(DELETE_UNSENT_MESSAGES(user_id=user_id))
    await withdraw_invitations(store, user_id)
    return str(email)
