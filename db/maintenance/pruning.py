"""Deletes expired rows in small batches, so that no table grows without bound and no request waits
for long.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    Column,
    Double,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from db.accounts import NOT_THE_LAST_ADMIN
from db.admin_changes import lock_admin_changes
from db.audit import log as audit_log
from db.audit.chain import prune_entries
from db.audit.log import Actor
from db.deletions import delete_user
from db.engine.statement import Bound, Conflict, Statement
from db.errors import LastAdmin, NotFound, Refused, Unavailable
from db.mail.outbox import post
from db.store import Store
from db.tables import (
    Instant,
    access_tokens,
    audit,
    audit_head,
    buckets,
    invitations,
    outbox,
    sessions,
    tokens,
    used_tokens,
    users,
)

logger = logging.getLogger("latchkey")

# The mean interval. Each wait is random, from half of it to one and a half, so that processes do
# not prune at the same time.
PRUNE_INTERVAL_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 0.05  # between two batches
# The rows of one transaction, which takes about 20 ms, so that no sign-up waits long for the
# writer.
BATCH_SIZE: Final = 200
# Above this number, the buckets with the fewest attempts are deleted first.
MAX_BUCKETS: Final = 100_000
MAX_ENTRIES: Final = 500_000  # Above this number, the oldest audit entries are deleted.
# The share of the maximum number at which recent entries cause a warning.
WARNING_SHARE: Final = 0.9
RECENT_PERIOD: Final = timedelta(days=90)
# Thirteen months, so that an incident can still be examined a year later.
ENTRY_RETENTION: Final = timedelta(days=400)
# Of sent messages, without their content. The pruning of unconfirmed accounts reads them for a
# day longer than such an account exists.
SENT_RETENTION: Final = timedelta(days=8)
DEAD_RETENTION: Final = timedelta(days=14)  # of messages that were given up, after their expiry
CONTENT_RETENTION: Final = timedelta(days=1)  # of sent messages in the development mailbox
UNCONFIRMED_RETENTION: Final = timedelta(days=7)  # of accounts, if log-in requires a confirmation
UNCONFIRMED_BATCH: Final = 50  # accounts in a transaction, which writes an audit entry for each
DUE_BATCH: Final = 500  # accounts that one run deletes at the request of their users
SYSTEM: Final = Actor("system")


def _delete_chosen(key: Column[str], chosen: Select[tuple[str]]) -> Statement:
    """Returns a statement that deletes the chosen rows, apart from those that are locked.

    Another host that prunes at the same time deletes the locked ones.
    """
    return Statement(
        delete(key.table).where(key.in_(chosen.with_for_update(skip_locked=True).scalar_subquery()))
    )


DELETE_EXPIRED_SESSIONS = _delete_chosen(
    sessions.c.id,
    select(sessions.c.id)
    .where(sessions.c.expires_at <= bindparam("now", type_=Instant))
    .limit(BATCH_SIZE),
)
DELETE_EXPIRED_ACCESS_TOKENS = _delete_chosen(
    access_tokens.c.id,
    select(access_tokens.c.id)
    .where(access_tokens.c.expires_at <= bindparam("now", type_=Instant))
    .limit(BATCH_SIZE),
)
DELETE_EXPIRED_TOKENS = _delete_chosen(
    tokens.c.hash,
    select(tokens.c.hash)
    .where(tokens.c.expires_at <= bindparam("now", type_=Instant))
    .limit(BATCH_SIZE),
)
DELETE_USED_TOKENS = _delete_chosen(
    used_tokens.c.id,
    select(used_tokens.c.id)
    .where(used_tokens.c.kept_until <= bindparam("now", type_=Instant))
    .limit(BATCH_SIZE),
)
# A message that was given up has no time of its end, so its expiry counts. One that is still due
# then has no task that sends it, because its setting was removed.
DELETE_OLD_MESSAGES = _delete_chosen(
    outbox.c.id,
    select(outbox.c.id)
    .where(
        or_(
            outbox.c.sent_at <= bindparam("sent_before", type_=Instant),
            and_(
                outbox.c.sent_at.is_(None),
                outbox.c.expires_at <= bindparam("dead_before", type_=Instant),
            ),
        ),
    )
    .limit(BATCH_SIZE),
)
EMPTY_SENT_MESSAGES = Statement(
    update(outbox)
    .where(outbox.c.facts != "", outbox.c.sent_at <= bindparam("sent_before", type_=Instant))
    .values(recipient="", facts="")
)
DELETE_FULL_BUCKETS = _delete_chosen(
    buckets.c.key,
    select(buckets.c.key)
    .where(buckets.c.kept_until <= bindparam("now", type_=Double))
    .limit(BATCH_SIZE),
)
COUNT_BUCKETS = Statement(select(func.count()).select_from(buckets))
DELETE_SURPLUS_BUCKETS = _delete_chosen(
    buckets.c.key,
    select(buckets.c.key)
    .order_by(buckets.c.taken, buckets.c.kept_until)
    .limit(bindparam("surplus", type_=Integer)),
)
DELETE_UNCONFIRMED_ACCOUNTS = Statement(
    delete(users)
    .where(
        users.c.id.in_(
            select(users.c.id)
            .where(
                users.c.verified_at.is_(None),
                # Accounts from before the confirmation was required have logged in.
                users.c.last_login_at.is_(None),
                users.c.created_at <= bindparam("before", type_=Instant),
                # Accounts from before the program sent mails were never asked to confirm.
                exists().where(outbox.c.user_id == users.c.id, outbox.c.message_type == "verify"),
            )
            .limit(UNCONFIRMED_BATCH)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
    )
    .returning(users.c.id)
)

DUE_ACCOUNTS = Statement(
    select(users.c.id, users.c.verified_at.is_not(None))
    .where(users.c.delete_at <= bindparam("now", type_=Instant), NOT_THE_LAST_ADMIN)
    .order_by(users.c.id)
    .limit(DUE_BATCH)
)
IS_STILL_DUE = Statement(
    select(users.c.id)
    .where(users.c.id == bindparam("user_id"), users.c.delete_at <= bindparam("now", type_=Instant))
    .with_for_update()
)
DELETE_EXPIRED_INVITATIONS = _delete_chosen(
    invitations.c.id,
    select(invitations.c.id)
    .where(invitations.c.expires_at <= bindparam("now", type_=Instant))
    .limit(BATCH_SIZE),
)

RECENT_SURPLUS = Statement(
    select(audit.c.number).where(
        audit.c.number
        == select(func.max(audit_head.c.number)).scalar_subquery()
        - bindparam("kept", type_=Integer),
        audit.c.at > bindparam("since", type_=Instant),
    )
)


async def run_pruning(store: Store, every: float = PRUNE_INTERVAL_SECONDS) -> None:
    """Prunes at intervals until canceled. Logs every error and tries again at the next interval."""
    await asyncio.sleep(random.uniform(0, every / 10))  # noqa: S311  (no secret)  # nosec B311
    while True:
        try:
            await prune(store)
        except Unavailable:
            logger.warning("the database does not answer: pruning is postponed")
        except Exception:
            logger.exception("pruning failed, and will be tried again")
        await asyncio.sleep(every * random.uniform(0.5, 1.5))  # noqa: S311  (no secret)  # nosec B311


async def prune(
    store: Store, *, max_buckets: int = MAX_BUCKETS, max_entries: int = MAX_ENTRIES
) -> int:
    """Deletes expired rows in small batches with pauses, and returns how many."""
    sessions_ended = await _delete_in_batches(
        store, lambda: DELETE_EXPIRED_SESSIONS(now=store.now())
    )
    invitations_expired = await _delete_in_batches(
        store, lambda: DELETE_EXPIRED_INVITATIONS(now=store.now())
    )
    tokens_expired = await _delete_in_batches(
        store, lambda: DELETE_EXPIRED_ACCESS_TOKENS(now=store.now())
    )
    tokens_expired += await _delete_in_batches(store, lambda: DELETE_USED_TOKENS(now=store.now()))
    mails_ended = await _prune_mails(store)
    emptied = await _delete_in_batches(
        store, lambda: DELETE_FULL_BUCKETS(now=store.now().timestamp())
    )
    buckets_capped = await _cap_buckets(store, max_buckets)
    entries_pruned = await _prune_audit_log(store, max_entries)
    # The last step, because a hook of the product may fail.
    accounts_expired = await _delete_unconfirmed_accounts(store) + await _delete_due_accounts(store)
    others = mails_ended + accounts_expired + invitations_expired + tokens_expired
    return sessions_ended + emptied + buckets_capped + entries_pruned + others


async def _prune_mails(store: Store) -> int:
    """Deletes expired links and old messages, and the content of messages in the mailbox."""
    now = store.now()
    await store.count(EMPTY_SENT_MESSAGES(sent_before=now - CONTENT_RETENTION))
    links = await _delete_in_batches(store, lambda: DELETE_EXPIRED_TOKENS(now=now))
    times = {"sent_before": now - SENT_RETENTION, "dead_before": now - DEAD_RETENTION}
    return links + await _delete_in_batches(store, lambda: DELETE_OLD_MESSAGES(**times))


async def _delete_unconfirmed_accounts(store: Store) -> int:
    """Deletes accounts whose email was not confirmed in time, if log-in requires it.

    Someone may have signed up with the email of another person, who could not sign up then.
    """
    if not store.outbox.requires_verification:
        return 0
    before, total = store.now() - UNCONFIRMED_RETENTION, 0
    while True:
        try:
            async with store.transaction():
                user_ids = await store.all(DELETE_UNCONFIRMED_ACCOUNTS(before=before))
                for (user_id,) in user_ids:
                    await audit_log.record(store, "account.expire", SYSTEM, target_id=user_id)
        except Refused:
            logger.warning("a hook refused to delete unconfirmed accounts, so they remain")
            return total
        if not user_ids:
            return total
        total += len(user_ids)
        await asyncio.sleep(PAUSE_SECONDS)


async def _delete_due_accounts(store: Store) -> int:
    """Deletes the accounts whose deletion was requested seven days ago, each in its transaction.

    Leaves an account that was kept in the meantime, and that of the last administrator.
    """
    total = 0
    for user_id, is_confirmed in await store.all(DUE_ACCOUNTS(now=store.now())):
        try:
            async with store.transaction():
                await lock_admin_changes(store)
                if await store.value(IS_STILL_DUE(user_id=user_id, now=store.now())) is None:
                    continue
                email = await delete_user(store, user_id)
                if is_confirmed:
                    await post(store, "deleted", user_id=user_id, recipient=email)
                await audit_log.record(store, "account.delete", SYSTEM, target_id=user_id)
            total += 1
        except (LastAdmin, NotFound):
            pass  # Another process has deleted it, or removed another administrator.
        except Conflict:
            logger.error("account %s cannot be deleted: a row of another table needs it", user_id)
        except Refused:
            logger.warning("a hook refused to delete account %s, so it remains", user_id)
        except Unavailable:
            raise
        except Exception:  # A hook of the product may fail for one account, every time.
            logger.exception("the deletion of account %s failed, and will be tried again", user_id)
        await asyncio.sleep(PAUSE_SECONDS)
    return total


async def _delete_in_batches(store: Store, batch: Callable[[], Bound[Any]]) -> int:
    total = 0
    while pruned := await store.count(batch()):
        total += pruned
        await asyncio.sleep(PAUSE_SECONDS)
    return total


async def _cap_buckets(store: Store, maximum: int) -> int:
    """Deletes buckets above `maximum`, because a flood may come from any number of IP addresses."""
    total = 0
    surplus = int(await store.value(COUNT_BUCKETS())) - maximum
    while surplus > total and (
        pruned := await store.count(
            DELETE_SURPLUS_BUCKETS(surplus=min(BATCH_SIZE, surplus - total))
        )
    ):
        total += pruned
        await asyncio.sleep(PAUSE_SECONDS)
    return total


async def _prune_audit_log(store: Store, maximum: int) -> int:
    await _warn_of_recent_surplus(store, maximum)
    total = 0
    while pruned := await prune_entries(store, store.now() - ENTRY_RETENTION, maximum, BATCH_SIZE):
        total += pruned
        await asyncio.sleep(PAUSE_SECONDS)
    return total


async def _warn_of_recent_surplus(store: Store, maximum: int) -> None:
    """Logs a warning before the maximum number leads to the deletion of entries of the last 90
    days, because an attacker may be causing them.
    """
    kept = int(WARNING_SHARE * maximum)
    if await store.value(RECENT_SURPLUS(kept=kept, since=store.now() - RECENT_PERIOD)) is not None:
        logger.warning(
            "the audit log has more than %d entries of the last 90 days, and beyond %d "
            "the oldest are deleted",
            kept,
            maximum,
        )
