"""The hash chain of the audit log: verifies it from the oldest entry to the newest, and prunes the
oldest entries.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import Integer, bindparam, delete, func, select

from db.audit.log import BEGINNING, Entry, Link, proven_text, sealed_text
from db.engine.statement import Statement, insert
from db.store import Store, pick
from db.tables import audit, trail_anchor, trail_head

logger = logging.getLogger("latchkey")

AT_ONCE: Final = 500  # entries per query
# The errors of values that this program never writes.
UNREADABLE: Final = (ValueError, TypeError, AttributeError, OverflowError)

SPOILT: Final = Entry(
    0,
    datetime.min.replace(tzinfo=UTC),
    "",
    "refused",
    "program",
    None,
    None,
    "",
    "",
    "",
    "",
    "",
    "",
)
RETIRED: Final = (
    "was written with none of the secrets in SESSION_SECRET: append the retired one, "
    "and verify again"
)


@dataclass(frozen=True, slots=True)
class End:
    """One end of the chain with a MAC.

    The checkpoint is the position of the newest pruned entry, the head that of the newest entry.
    `proof` is the MAC, which shows that this program wrote the end.
    """

    number: int
    seal: str
    kid: str
    proof: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification.

    `entries` is the number of valid entries, and `head` the position of the last one. `problem`
    describes the first invalid entry; it is empty if all are valid.
    """

    rows: int
    head: Link
    problem: str = ""


ANCHOR = Statement(pick(End, trail_anchor).order_by(trail_anchor.c.number.desc()).limit(1))
HEAD = Statement(pick(End, trail_head).order_by(trail_head.c.number.desc()).limit(1))
HELD_HEAD = Statement(
    pick(End, trail_head).order_by(trail_head.c.number.desc()).limit(1).with_for_update()
)
LIFT = Statement(delete(trail_anchor))
DROP = Statement(
    insert(trail_anchor).values(
        {name: bindparam(name) for name in ("number", "seal", "kid", "proof")}
    )
)
OLDEST = Statement(
    select(func.min(audit.c.number)).where(audit.c.number <= bindparam("most", type_=Integer))
)
NEXT = Statement(
    select(func.min(audit.c.number)).where(audit.c.number > bindparam("after", type_=Integer))
)
ROWS = Statement(
    pick(Entry, audit)
    .where(audit.c.number > bindparam("after", type_=Integer))
    .order_by(audit.c.number)
    .limit(bindparam("many", type_=Integer))
)
PRUNE = Statement(
    delete(audit).where(
        audit.c.number > bindparam("after", type_=Integer),
        audit.c.number <= bindparam("last", type_=Integer),
    )
)


async def verify(store: Store, kept: Link | None = None) -> Verdict:
    """Verifies that every entry is unchanged and in its position.

    `known_head` is a head that was saved outside of the database. Entries may be added or pruned
    during the verification; it starts again if pruning moved the checkpoint.
    """
    while True:
        anchor, head = await store.one(ANCHOR()), await store.one(HEAD())
        verdict = await _walk(store, anchor, head, kept)
        if not verdict.problem or await store.one(ANCHOR()) == anchor:
            return verdict


async def find_head_problem(store: Store) -> str:
    """Returns why the newest entry was not written with the keys of this program; an empty string
    if it was.
    """
    head = await store.one(HEAD())
    if head and head.number and not store.audit_keys.knows(head.kid):
        return (
            "the audit log was written with another SESSION_SECRET: set the service's "
            "secret, or append the retired one"
        )
    problem = _head_problem(store, head)
    return (
        problem
        and f"the audit log was changed by another program: {problem}; see `latchkey audit verify`"
    )


async def shorten(store: Store, older_than: datetime, most: int, many: int) -> int:
    """Deletes the oldest entries that are older than `older_than` or beyond `max_entries`, at most
    `batch_size`, and returns how many.

    The newest entry stays. Each entry is verified before its deletion, and pruning stops at an
    invalid one. Otherwise an attacker who can write to the table could set a false date on
    incriminating entries, and pruning would delete the evidence. Only entries beyond `max_entries`
    may have a key that was removed from the secrets. The head, which must be valid, gives the
    number of entries.
    """
    async with store.transaction():
        head, anchor = await store.one(HELD_HEAD()), await store.one(ANCHOR())
        if head is None or _head_problem(store, head):
            logger.error("the audit log is not pruned: its head is missing or not valid")
            return 0
        start = last = _start(anchor)
        for entry in await _read(store, start.number, many):
            surplus = entry.number <= head.number - most
            if entry.number == head.number or not (surplus or entry.at < older_than):
                break
            if problem := _end_problem(store, "anchor", anchor, surplus) or _problem(
                store, entry, last, surplus
            ):
                logger.error("pruning of the audit log has stopped: %s", problem)
                break
            last = Link(entry.number, entry.seal)
        if last == start:
            return 0
        await _drop_anchor(store, last)
        return await store.count(PRUNE(after=start.number, last=last.number))


async def _drop_anchor(store: Store, last: Link) -> None:
    """Replaces the checkpoint by the position of the newest pruned entry."""
    await store.count(LIFT())
    proof = store.audit_keys.make(proven_text("anchor", last.number, last.seal))
    await store.count(
        DROP(number=last.number, seal=last.seal, kid=store.audit_keys.kid, proof=proof)
    )


async def _walk(store: Store, anchor: End | None, head: End | None, kept: Link | None) -> Verdict:
    """Verifies the checkpoint, the entries and the head.

    `head` was read before the entries, so its position is among them or at their end.
    """
    start = last = _start(anchor)
    heads = [
        found for found in (kept, head and Link(head.number, head.seal)) if found and found.number
    ]
    problem = _end_problem(store, "anchor", anchor) or await _leftover(store, start)
    if kept and kept.number < start.number:
        problem = (
            problem
            or f"entry {kept.number}, the head that was given, has been pruned: keep a newer one"
        )
    while not problem and (entries := await _read(store, last.number, AT_ONCE)):
        for entry in entries:
            if problem := _problem(store, entry, last) or _other_problem(entry, heads):
                break
            last = Link(entry.number, entry.seal)
    problem = problem or _cut_problem(last, anchor, heads) or _head_problem(store, head)
    return Verdict(last.number - start.number, last, problem)


async def _read(store: Store, after: int, many: int) -> list[Entry]:
    """Returns the next entries, up to the first that cannot be read.

    Returns that one as its number with an invalid MAC.
    """
    try:
        return await store.all(ROWS(after=after, many=many))
    except UNREADABLE:
        if many > 1:
            return await _read(store, after, many // 2)
    return [
        replace(SPOILT, number=int(await store.value(NEXT(after=after))), kid=store.audit_keys.kid)
    ]


async def _leftover(store: Store, start: Link) -> str:
    """Returns a problem if an entry exists at or before the checkpoint."""
    number = await store.value(OLDEST(most=start.number))
    return (
        ""
        if number is None
        else f"entry {number} was added: the log begins with entry {start.number + 1}"
    )


def _start(anchor: End | None) -> Link:
    return Link(anchor.number, anchor.seal) if anchor else BEGINNING


def _head_problem(store: Store, head: End | None) -> str:
    if head is None:
        return "the head is missing: it was deleted"
    return _end_problem(store, "head", head) if head.number else ""


def _end_problem(
    store: Store, which: Literal["anchor", "head"], end: End | None, retired: bool = False
) -> str:
    """Returns why this end is invalid, or an empty string.

    With `retired`, an unknown key is no problem.
    """
    if end is None:
        return ""
    if not store.audit_keys.knows(end.kid):
        return "" if retired else f"the {which}, entry {end.number}, {RETIRED}"
    if _fits(store, end.kid, proven_text(which, end.number, end.seal), end.proof):
        return ""
    return f"the {which}, entry {end.number}, was changed: its MAC does not match"


def _problem(store: Store, entry: Entry, before: Link, retired: bool = False) -> str:
    """Returns why this entry is not the successor of `before`, or an empty string.

    With `retired`, an unknown key is no problem.
    """
    if entry.number != before.number + 1:
        return f"entry {before.number + 1} is missing"
    if not store.audit_keys.knows(entry.kid):
        return "" if retired else f"entry {entry.number} {RETIRED}"
    try:
        text = sealed_text(entry, before.seal)
    except UNREADABLE:
        text = b""
    if _fits(store, entry.kid, text, entry.seal):
        return ""
    return f"entry {entry.number} was changed or replaced: its MAC does not match"


def _fits(store: Store, kid: str, text: bytes, seal: str) -> bool:
    return isinstance(seal, str) and seal.isascii() and store.audit_keys.fits(kid, text, seal)


def _other_problem(entry: Entry, heads: list[Link]) -> str:
    if all(head.number != entry.number or head.seal == entry.seal for head in heads):
        return ""
    return f"entry {entry.number} does not match the head"


def _cut_problem(last: Link, anchor: End | None, heads: list[Link]) -> str:
    """Returns a problem if entries are missing after the last one.

    Pruning always keeps at least one entry, and every head belonged to an entry.
    """
    if any(head.number > last.number for head in heads) or (
        anchor and anchor.number == last.number
    ):
        return f"entry {last.number + 1} is missing: the log was cut off after entry {last.number}"
    return ""
