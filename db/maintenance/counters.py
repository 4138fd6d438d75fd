"""Figures for the metrics: live sessions, statements, hashes."""

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import bindparam, func, select

from db.engine.statement import Statement
from db.store import Store
from db.tables import Instant, sessions

LIVE_SESSIONS = Statement(
    select(func.count())
    .select_from(sessions)
    .where(sessions.c.expires_at > bindparam("now", type_=Instant))
)


async def count_live_sessions(store: Store) -> int:
    """By one index, which takes a millisecond for every 20,000: ask no more often than is worth it.

    Raises Busy.
    """
    return int(await store.value(LIVE_SESSIONS(now=store.now())))


def read_numbers(store: Store) -> Mapping[str, int]:
    """What this process has done since it started, and how many wait for their turn to hash."""
    backend = cast(Any, store.database._backend)
    return {
        "statements": backend.statements,
        "writes": backend.writes,
        "hashes": store.passwords.hashes,
        "queued": store.passwords.queued,
    }
