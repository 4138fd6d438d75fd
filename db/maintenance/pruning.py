"""Deletes expired rows in small batches, so that no table grows without bound and no request waits
for long.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Double, Integer, bindparam, delete, func, select

from db.audit.chain import shorten
from db.engine.statement import Bound, Statement
from db.errors import Busy
from db.store import Store
from db.tables import Instant, audit, buckets, sessions, trail_head

logger = logging.getLogger("latchkey")

# The mean interval. Each wait is random, from half of it to one and a half, so that processes do
# not prune at the same time.
PRUNE_EVERY: Final = 600.0
PAUSE: Final = 0.05  # between two batches
# The rows of one transaction, which takes about 20 ms, so that no sign-up waits long for the
# writer.
BATCH: Final = 200
MOST_BUCKETS: Final = 100_000  # above it, buckets with the fewest attempts are deleted first
MOST_ROWS: Final = 500_000  # above it, the oldest audit entries are deleted
FULL: Final = 0.9  # The share of the maximum number at which recent entries cause a warning.
RECENT: Final = timedelta(days=90)
# Thirteen months, so that an incident can still be examined a year later.
TRAIL_KEPT: Final = timedelta(days=400)

EXPIRED = Statement(
    delete(sessions).where(
        sessions.c.id.in_(
            select(sessions.c.id)
            .where(sessions.c.expires_at <= bindparam("now", type_=Instant))
            .limit(BATCH)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
    )
)
EMPTIED = Statement(
    delete(buckets).where(
        buckets.c.key.in_(
            select(buckets.c.key)
            .where(buckets.c.kept_until <= bindparam("now", type_=Double))
            .limit(BATCH)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
    )
)
COUNT_BUCKETS = Statement(select(func.count()).select_from(buckets))
OVERFLOW = Statement(
    delete(buckets).where(
        buckets.c.key.in_(
            select(buckets.c.key)
            .order_by(buckets.c.taken, buckets.c.kept_until)
            .limit(bindparam("surplus", type_=Integer))
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
    )
)

RECENT_SURPLUS = Statement(
    select(audit.c.number).where(
        audit.c.number
        == select(func.max(trail_head.c.number)).scalar_subquery()
        - bindparam("kept", type_=Integer),
        audit.c.at > bindparam("since", type_=Instant),
    )
)


async def keep_pruning(store: Store, every: float = PRUNE_EVERY) -> None:
    """Prunes at intervals until canceled. Logs every error and tries again at the next interval."""
    await asyncio.sleep(random.uniform(0, every / 10))  # noqa: S311  # nosec B311
    while True:
        try:
            await prune(store)
        except Busy:
            logger.warning("the database does not answer: pruning is postponed")
        except Exception:
            logger.exception("pruning failed, and will be tried again")
        await asyncio.sleep(every * random.uniform(0.5, 1.5))  # noqa: S311  # nosec B311


async def prune(
    store: Store, *, most_buckets: int = MOST_BUCKETS, most_rows: int = MOST_ROWS
) -> int:
    """Deletes expired rows in small batches with pauses, and returns how many."""
    sessions_ended = await _sweep(store, lambda: EXPIRED(now=store.now()))
    emptied = await _sweep(store, lambda: EMPTIED(now=store.now().timestamp()))
    buckets_capped = await _cap_buckets(store, most_buckets)
    return sessions_ended + emptied + buckets_capped + await _shorten_trail(store, most_rows)


async def _sweep(store: Store, batch: Callable[[], Bound[Any]]) -> int:
    total = 0
    while pruned := await store.count(batch()):
        total += pruned
        await asyncio.sleep(PAUSE)
    return total


async def _cap_buckets(store: Store, most: int) -> int:
    """Deletes buckets above `maximum`, because a flood may come from any number of IP addresses."""
    total, surplus = 0, int(await store.value(COUNT_BUCKETS())) - most
    while surplus > total and (
        pruned := await store.count(OVERFLOW(surplus=min(BATCH, surplus - total)))
    ):
        total += pruned
        await asyncio.sleep(PAUSE)
    return total


async def _shorten_trail(store: Store, most: int) -> int:
    await _warn_of_recent_surplus(store, most)
    total = 0
    while pruned := await shorten(store, store.now() - TRAIL_KEPT, most, BATCH):
        total += pruned
        await asyncio.sleep(PAUSE)
    return total


async def _warn_of_recent_surplus(store: Store, most: int) -> None:
    """Logs a warning before the maximum number leads to the deletion of entries of the last 90
    days, because an attacker may be causing them.
    """
    kept = int(FULL * most)
    if await store.value(RECENT_SURPLUS(kept=kept, since=store.now() - RECENT)) is not None:
        logger.warning(
            "the audit log has more than %d entries of the last 90 days, and beyond %d "
            "the oldest are deleted",
            kept,
            most,
        )
