"""The counters of the metrics: live sessions, statements and hashes."""

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import func, select

from db.engine.statement import Statement
from db.store import Store
from db.tables import is_live, sessions

COUNT_LIVE_SESSIONS = Statement(select(func.count()).select_from(sessions).where(is_live()))


async def count_live_sessions(store: Store) -> int:
    """Returns the number of live sessions.

    Reads one index, about one millisecond per 20,000 sessions, so call it rarely. Raises
    Unavailable.
    """
    return int(await store.value(COUNT_LIVE_SESSIONS(now=store.now())))


def read_counters(store: Store) -> Mapping[str, int]:
    """Returns the counters of this process since its start, and the current number of queued
    hashes.
    """
    backend = cast(Any, store.database._backend)
    return {
        "statements": backend.statements,
        "writes": backend.writes,
        "hashes": store.passwords.hashes,
        "queued": store.passwords.queued,
    }
