"""The hash chain of the audit log: verifies it from the oldest entry to the newest, and prunes the
oldest entries.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import Integer, bindparam, delete, func, select

from db.audit.log import CHAIN_START, ChainPosition, Entry, end_mac_input, entry_mac_input
from db.engine.statement import Statement, insert
from db.store import Store, pick
from db.tables import audit, audit_checkpoint, audit_head

logger = logging.getLogger("latchkey")

READ_BATCH_SIZE: Final = 500  # entries per query
# The errors of values that this program never writes.
UNREADABLE_ERRORS: Final = (ValueError, TypeError, AttributeError, OverflowError)

UNREADABLE_ENTRY: Final = Entry(
    0,
    datetime.min.replace(tzinfo=UTC),
    "",
    "refused",
    "system",
    None,
    None,
    "",
    "",
    "",
    "",
    "",
    "",
)
RETIRED_KEY: Final = (
    "was written with none of the secrets in SESSION_SECRET: append the retired one, "
    "and verify again"
)


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """One end of the chain with a MAC.

    The checkpoint is the position of the newest pruned entry, the head that of the newest entry.
    `proof` is the MAC, which shows that this program wrote the end.
    """

    number: int
    entry_mac: str
    kid: str
    mac: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification.

    `entries` is the number of valid entries, and `head` the position of the last one. `problem`
    describes the first invalid entry; it is empty if all are valid.
    """

    entries: int
    head: ChainPosition
    problem: str = ""


SELECT_CHECKPOINT = Statement(
    pick(ChainEnd, audit_checkpoint).order_by(audit_checkpoint.c.number.desc()).limit(1)
)
SELECT_HEAD = Statement(pick(ChainEnd, audit_head).order_by(audit_head.c.number.desc()).limit(1))
LOCK_HEAD = Statement(
    pick(ChainEnd, audit_head).order_by(audit_head.c.number.desc()).limit(1).with_for_update()
)
DELETE_CHECKPOINT = Statement(delete(audit_checkpoint))
INSERT_CHECKPOINT = Statement(
    insert(audit_checkpoint).values(
        {name: bindparam(name) for name in ("number", "entry_mac", "kid", "mac")}
    )
)
FIRST_NUMBER_UP_TO = Statement(
    select(func.min(audit.c.number)).where(audit.c.number <= bindparam("max_number", type_=Integer))
)
NEXT_NUMBER = Statement(
    select(func.min(audit.c.number)).where(audit.c.number > bindparam("after", type_=Integer))
)
ENTRIES_AFTER = Statement(
    pick(Entry, audit)
    .where(audit.c.number > bindparam("after", type_=Integer))
    .order_by(audit.c.number)
    .limit(bindparam("batch_size", type_=Integer))
)
DELETE_ENTRIES = Statement(
    delete(audit).where(
        audit.c.number > bindparam("after", type_=Integer),
        audit.c.number <= bindparam("last", type_=Integer),
    )
)


async def verify_chain(store: Store, known_head: ChainPosition | None = None) -> Verdict:
    """Verifies that every entry is unchanged and in its position.

    `known_head` is a head that was saved outside of the database. Entries may be added or pruned
    during the verification; it starts again if pruning moved the checkpoint.
    """
    while True:
        checkpoint = await store.one(SELECT_CHECKPOINT())
        head = await store.one(SELECT_HEAD())
        verdict = await _verify_entries(store, checkpoint, head, known_head)
        if not verdict.problem or await store.one(SELECT_CHECKPOINT()) == checkpoint:
            return verdict


async def find_head_problem(store: Store) -> str:
    """Returns why the newest entry was not written with the keys of this program; an empty string
    if it was.
    """
    head = await store.one(SELECT_HEAD())
    if head and head.number and not store.audit_keys.has_key(head.kid):
        return (
            "the audit log was written with another SESSION_SECRET: set the service's "
            "secret, or append the retired one"
        )
    problem = _head_problem(store, head)
    return (
        problem
        and f"the audit log was changed by another program: {problem}; see `latchkey audit verify`"
    )


async def prune_entries(
    store: Store, older_than: datetime, max_entries: int, batch_size: int
) -> int:
    """Deletes the oldest entries that are older than `older_than` or beyond `max_entries`, at most
    `batch_size`, and returns how many.

    The newest entry stays. Each entry is verified before its deletion, and pruning stops at an
    invalid one. Otherwise an attacker who can write to the table could set a false date on
    incriminating entries, and pruning would delete the evidence. Only entries beyond `max_entries`
    may have a key that was removed from the secrets. The head, which must be valid, gives the
    number of entries.
    """
    async with store.transaction():
        head = await store.one(LOCK_HEAD())
        checkpoint = await store.one(SELECT_CHECKPOINT())
        if head is None or _head_problem(store, head):
            logger.error("the audit log is not pruned: its head is missing or not valid")
            return 0
        start = last = _start(checkpoint)
        for entry in await _read(store, start.number, batch_size):
            surplus = entry.number <= head.number - max_entries
            if entry.number == head.number or not (surplus or entry.at < older_than):
                break
            if problem := _end_problem(store, "anchor", checkpoint, surplus) or _problem(
                store, entry, last, surplus
            ):
                logger.error("pruning of the audit log has stopped: %s", problem)
                break
            last = ChainPosition(entry.number, entry.mac)
        if last == start:
            return 0
        await _move_checkpoint(store, last)
        return await store.count(DELETE_ENTRIES(after=start.number, last=last.number))


async def _move_checkpoint(store: Store, last: ChainPosition) -> None:
    """Replaces the checkpoint by the position of the newest pruned entry."""
    await store.count(DELETE_CHECKPOINT())
    mac = store.audit_keys.sign(end_mac_input("anchor", last.number, last.mac))
    await store.count(
        INSERT_CHECKPOINT(number=last.number, entry_mac=last.mac, kid=store.audit_keys.kid, mac=mac)
    )


async def _verify_entries(
    store: Store,
    checkpoint: ChainEnd | None,
    head: ChainEnd | None,
    known_head: ChainPosition | None,
) -> Verdict:
    """Verifies the checkpoint, the entries and the head.

    `head` was read before the entries, so its position is among them or at their end.
    """
    start = last = _start(checkpoint)
    heads = [
        found
        for found in (known_head, head and ChainPosition(head.number, head.entry_mac))
        if found and found.number
    ]
    problem = _end_problem(store, "anchor", checkpoint) or await _find_leading_entry(store, start)
    if known_head and known_head.number < start.number:
        pruned = f"entry {known_head.number}, the given head, has been pruned: keep a newer one"
        problem = problem or pruned
    while not problem and (entries := await _read(store, last.number, READ_BATCH_SIZE)):
        for entry in entries:
            if problem := _problem(store, entry, last) or _known_head_problem(entry, heads):
                break
            last = ChainPosition(entry.number, entry.mac)
    problem = problem or _truncation_problem(last, checkpoint, heads) or _head_problem(store, head)
    return Verdict(last.number - start.number, last, problem)


async def _read(store: Store, after: int, batch_size: int) -> list[Entry]:
    """Returns the next entries, up to the first that cannot be read.

    Represents that entry by UNREADABLE_ENTRY with its number, whose MAC is invalid.
    """
    try:
        return await store.all(ENTRIES_AFTER(after=after, batch_size=batch_size))
    except UNREADABLE_ERRORS:
        if batch_size > 1:
            return await _read(store, after, batch_size // 2)
    return [
        replace(
            UNREADABLE_ENTRY,
            number=int(await store.value(NEXT_NUMBER(after=after))),
            kid=store.audit_keys.kid,
        )
    ]


async def _find_leading_entry(store: Store, start: ChainPosition) -> str:
    """Returns a problem if an entry exists at or before the checkpoint."""
    number = await store.value(FIRST_NUMBER_UP_TO(max_number=start.number))
    return (
        ""
        if number is None
        else f"entry {number} was added: the log begins with entry {start.number + 1}"
    )


def _start(checkpoint: ChainEnd | None) -> ChainPosition:
    return ChainPosition(checkpoint.number, checkpoint.entry_mac) if checkpoint else CHAIN_START


def _head_problem(store: Store, head: ChainEnd | None) -> str:
    if head is None:
        return "the head is missing: it was deleted"
    return _end_problem(store, "head", head) if head.number else ""


def _end_problem(
    store: Store, which: Literal["anchor", "head"], end: ChainEnd | None, retired: bool = False
) -> str:
    """Returns why this end is invalid, or an empty string.

    With `retired`, an unknown key is accepted.
    """
    if end is None:
        return ""
    if not store.audit_keys.has_key(end.kid):
        return "" if retired else f"the {which}, entry {end.number}, {RETIRED_KEY}"
    if _has_valid_mac(store, end.kid, end_mac_input(which, end.number, end.entry_mac), end.mac):
        return ""
    return f"the {which}, entry {end.number}, was changed: its MAC does not match"


def _problem(store: Store, entry: Entry, before: ChainPosition, retired: bool = False) -> str:
    """Returns why this entry is not the successor of `before`, or an empty string.

    With `retired`, an unknown key is accepted.
    """
    if entry.number != before.number + 1:
        return f"entry {before.number + 1} is missing"
    if not store.audit_keys.has_key(entry.kid):
        return "" if retired else f"entry {entry.number} {RETIRED_KEY}"
    try:
        text = entry_mac_input(entry, before.mac)
    except UNREADABLE_ERRORS:
        text = b""
    if _has_valid_mac(store, entry.kid, text, entry.mac):
        return ""
    return f"entry {entry.number} was changed or replaced: its MAC does not match"


def _has_valid_mac(store: Store, kid: str, text: bytes, mac: str) -> bool:
    return isinstance(mac, str) and mac.isascii() and store.audit_keys.verify(kid, text, mac)


def _known_head_problem(entry: Entry, heads: list[ChainPosition]) -> str:
    if all(head.number != entry.number or head.mac == entry.mac for head in heads):
        return ""
    return f"entry {entry.number} does not match the head"


def _truncation_problem(
    last: ChainPosition, checkpoint: ChainEnd | None, heads: list[ChainPosition]
) -> str:
    """Returns a problem if entries are missing after the last one.

    Pruning always keeps at least one entry, and every head belonged to an entry.
    """
    if any(head.number > last.number for head in heads) or (
        checkpoint and checkpoint.number == last.number
    ):
        return f"entry {last.number + 1} is missing: the log was cut off after entry {last.number}"
    return ""
