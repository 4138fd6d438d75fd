"""The chain of the audit trail: verified from the oldest row to the newest, and shortened at its
old end.
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

AT_ONCE: Final = 500  # rows that are read by one statement
# what no program of ours has written
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
    """The anchor, which is the last row that was pruned, or the head, the newest; and a proof that
    we have said so.
    """

    number: int
    seal: str
    kid: str
    proof: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rows` fit, from the oldest to `head`.

    `problem` names the first that does not; empty where all do.
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
    """Whether every row is as it was written and where.

    `kept` is a head that was noted down elsewhere before.

    Rows may come and go meanwhile: where pruning has overtaken us, we begin anew.
    """
    while True:
        anchor, head = await store.one(ANCHOR()), await store.one(HEAD())
        verdict = await _walk(store, anchor, head, kept)
        if not verdict.problem or await store.one(ANCHOR()) == anchor:
            return verdict


async def find_head_problem(store: Store) -> str:
    """Returns why the newest entry was not written under the keys of this program;
    empty if it was.
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
    """Prune the oldest rows, `many` at most; how many it were.

    The newest stays, and so does what does not fit.

    They are verified before they go: else whoever can write the table would put a false date on the
    rows that tell of it, and have us sweep them up and vouch for the rest. Only beyond `most` may a
    row's key be a retired one; and what is beyond it, only a head says that is ours.
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
    """Remember the row that the oldest one left is chained to."""
    await store.count(LIFT())
    proof = store.audit_keys.make(proven_text("anchor", last.number, last.seal))
    await store.count(
        DROP(number=last.number, seal=last.seal, kid=store.audit_keys.kid, proof=proof)
    )


async def _walk(store: Store, anchor: End | None, head: End | None, kept: Link | None) -> Verdict:
    """`head` was read before the rows: so it stands among them, or at their end."""
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
    """The next rows, up to the first that cannot be read; of that one the number, and a seal that
    cannot fit.
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
    """A row that stands before the first."""
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
    """Why this end is not ours; empty where it is. `retired`: a key that we do not have is none."""
    if end is None:
        return ""
    if not store.audit_keys.knows(end.kid):
        return "" if retired else f"the {which}, entry {end.number}, {RETIRED}"
    if _fits(store, end.kid, proven_text(which, end.number, end.seal), end.proof):
        return ""
    return f"the {which}, entry {end.number}, was changed: its MAC does not match"


def _problem(store: Store, entry: Entry, before: Link, retired: bool = False) -> str:
    """Why this row is not the one that followed; empty where it is."""
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
    """That rows are missing after the last one: pruning always leaves one, and a head was once
    there.
    """
    if any(head.number > last.number for head in heads) or (
        anchor and anchor.number == last.number
    ):
        return f"entry {last.number + 1} is missing: the log was cut off after entry {last.number}"
    return ""
