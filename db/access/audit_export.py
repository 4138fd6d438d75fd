"""The export of the audit log for administrators: the entries that a search selects, as they are
stored.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal

from sqlalchemy import func, select

from db.access.audit_search import (
    MAX_NUMBER,
    EntryFilter,
    bind_filter,
    bind_range,
    select_numbers,
)
from db.audit import log as audit_log
from db.audit.log import mask_email, viewer_actor
from db.engine.statement import Statement
from db.rate_limits import limiter
from db.rate_limits.limits import AUDIT_EXPORT
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.store import pick
from db.tables import audit, audit_checkpoint, users
from db.viewer import Admin, ClientInfo

ExportFormat = Literal["csv", "jsonl"]

MAX_ENTRIES: Final = 50_000  # in a file
BATCH_SIZE: Final = 500  # entries per statement


@dataclass(frozen=True, slots=True)
class ExportedEntry:
    """An entry as it is stored, and the current emails of its users.

    `mac` covers `previous_mac`, the MAC of the entry before it, and all other values except for
    the emails: see `db.audit.log.entry_mac_input`.
    """

    number: int
    at: datetime
    event: str
    outcome: str
    actor_type: str
    actor_id: str | None
    actor_email: str | None
    target_id: str | None
    target_email: str | None
    session_id: str
    ip_address: str
    browser: str
    detail: str
    kid: str
    mac: str
    previous_mac: str


@dataclass(frozen=True, slots=True)
class Export:
    """The entries of a file, newest first.

    `count` is their number, and `first` the number of the newest. `next_before` is the argument
    `before` of the next file; None if this one has the oldest entry.
    """

    filters: EntryFilter
    count: int
    first: int
    next_before: int | None


@dataclass(frozen=True, slots=True)
class _Extent:
    count: int
    first: int | None
    last: int | None


_actor, _target = users.alias("actor_user"), users.alias("target_user")
_previous, _checkpoint = audit.alias("previous"), audit_checkpoint
_previous_mac = func.coalesce(
    select(_previous.c.mac)
    .where(_previous.c.number == audit.c.number - 1)
    .correlate(audit)
    .scalar_subquery(),
    select(_checkpoint.c.entry_mac)
    .where(_checkpoint.c.number == audit.c.number - 1)
    .correlate(audit)
    .scalar_subquery(),
    "",
)


@cache
def extent_statement(used: frozenset[str]) -> Statement[_Extent]:
    """Returns the statement for the number of entries, and the first and the last of them."""
    number = select_numbers(used, MAX_ENTRIES + 1).subquery().c.number
    extent = select(func.count(), func.max(number), func.min(number))
    return Statement(extent.execution_options(into=_Extent))


@cache
def batch_statement(used: frozenset[str]) -> Statement[ExportedEntry]:
    number = select_numbers(used, BATCH_SIZE).subquery().c.number
    return Statement(
        pick(
            ExportedEntry,
            audit,
            actor_email=_actor.c.email,
            target_email=_target.c.email,
            previous_mac=_previous_mac,
        )
        .join_from(audit, _actor, _actor.c.id == audit.c.actor_id, isouter=True)
        .outerjoin(_target, _target.c.id == audit.c.target_id)
        .where(audit.c.number.in_(select(number)))
        .order_by(audit.c.number.desc())
    )


async def start_export(
    sudo: Sudo[Admin],
    client: ClientInfo,
    filters: EntryFilter,
    file_format: ExportFormat,
    before: int | None = None,
) -> Export:
    """Writes the audit entry of an export and returns what the file contains.

    The newest entries come first; `before` is the number after the first of them. Raises
    RateLimited, NotLoggedIn and Forbidden.
    """
    admin = sudo.viewer
    store, actor = admin.store, viewer_actor(admin, client)
    await limiter.take_tokens(store, actor, (AUDIT_EXPORT, admin.id))
    # The entries are counted outside of the transaction, which holds the only writer of SQLite.
    values = await bind_filter(admin, filters)
    values |= bind_range(filters, MAX_ENTRIES + 1, before=before or MAX_NUMBER)
    async with store.export_lock:
        extent = await store.one(extent_statement(filters.used)(**values))
    count = extent.count if extent else 0
    first = (extent and extent.first) or 0
    is_cut = count > MAX_ENTRIES
    # The lowest number is then that of the first entry of the next file.
    next_before = (extent.last or 0) + 1 if extent and is_cut else None
    export = Export(filters, min(count, MAX_ENTRIES), first, next_before)
    async with store.transaction():
        await require_right(admin)
        await audit_log.record(
            store,
            "audit.export",
            actor,
            {
                "format": file_format.upper(),
                "entries": export.count,
                "filters": _describe(filters, before),
            },
            is_budgeted=False,
        )
    return export


async def read_batches(admin: Admin, export: Export) -> AsyncIterator[list[ExportedEntry]]:
    """Yields the entries in batches. Holds neither a transaction nor a connection between them.

    SQLite has two threads that read. All exports together use one of them at most.
    """
    statement = batch_statement(export.filters.used)
    values = await bind_filter(admin, export.filters)
    before, left = export.first + 1, export.count
    while left > 0:
        batch = statement(**values, **bind_range(export.filters, BATCH_SIZE, before=before))
        async with admin.store.export_lock:
            entries = await admin.store.all(batch)
        if not entries:  # Pruning has deleted the rest.
            return
        yield entries[:left]
        before = entries[-1].number
        left -= len(entries)


def _describe(filters: EntryFilter, before: int | None) -> str:
    """Returns the filters as text. An email that was searched for is masked."""
    q = mask_email(filters.q) if "@" in filters.q else filters.q
    named: dict[str, Any] = {
        "q": q,
        "event": filters.event,
        "outcome": filters.outcome,
        "person": filters.person,
        "from": filters.first_day,
        "to": filters.last_day,
        "before": before,
    }
    return ", ".join(f"{name} {value}" for name, value in named.items() if value) or "none"
