"""The chain of the audit trail: verified from the oldest row to the newest, and shortened at its old end."""

import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Integer, bindparam, delete, func, select

from db.audit import BEGINNING, HEAD, TURN, Entry, Link, sealed_text
from db.engine.statement import Statement, insert
from db.store import Store, pick
from db.tables import audit, trail_anchor

logger = logging.getLogger("latchkey")

AT_ONCE: Final = 500  # rows that are read by one statement
UNREADABLE: Final = (ValueError, TypeError, AttributeError, OverflowError)  # what no program of ours has written


SPOILT: Final = Entry(0, datetime.min.replace(tzinfo=UTC), "", "refused", "program", None, None, "", "", "", "", "", "")
RETIRED: Final = "is sealed under none of the secrets' keys: append the retired one to SESSION_SECRET, and verify again"


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last row that was pruned, and the proof that it was the program which pruned it."""

    number: int
    seal: str
    kid: str
    proof: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rows` fit, from the oldest to `head`. `problem` names the first that does not; empty where all do."""

    rows: int
    head: Link
    problem: str = ""


ANCHOR = Statement(pick(Anchor, trail_anchor).order_by(trail_anchor.c.number.desc()).limit(1))
LIFT = Statement(delete(trail_anchor))
DROP = Statement(insert(trail_anchor).values({name: bindparam(name) for name in ("number", "seal", "kid", "proof")}))
OLDEST = Statement(select(func.min(audit.c.number)).where(audit.c.number <= bindparam("most", type_=Integer)))
NEXT = Statement(select(func.min(audit.c.number)).where(audit.c.number > bindparam("after", type_=Integer)))
ROWS = Statement(
    pick(Entry, audit)
    .where(audit.c.number > bindparam("after", type_=Integer))
    .order_by(audit.c.number)
    .limit(bindparam("many", type_=Integer))
)
PRUNE = Statement(
    delete(audit).where(
        audit.c.number > bindparam("after", type_=Integer), audit.c.number <= bindparam("last", type_=Integer)
    )
)


async def verify(store: Store, kept: Link | None = None) -> Verdict:
    """Whether every row is as it was written and where. `kept` is a head that was noted down elsewhere before.

    Rows may come and go meanwhile: where pruning has overtaken us, we begin anew.
    """
    while True:
        anchor = await store.one(ANCHOR())
        verdict = await _walk(store, anchor, kept)
        if not verdict.problem or await store.one(ANCHOR()) == anchor:
            return verdict


async def shorten(store: Store, older_than: datetime, most: int, many: int) -> int:
    """Prune the oldest rows, `many` at most; how many it were. The newest stays, and so does what does not fit.

    They are verified before they go: else whoever can write the table would put a false date on the rows that tell of
    it, and have us sweep them up and vouch for the rest. Only beyond `most` may a row's key be a retired one; and what
    is beyond it, the newest row tells only where it is itself the one that followed.
    """
    async with store.transaction():
        await store.value(TURN())
        anchor, newest = await store.one(ANCHOR()), await store.one(HEAD()) or BEGINNING
        start = last = _start(anchor)
        spare = newest.number - most if await _is_ours(store, newest.number) else 0
        for entry in await _read(store, start.number, many):
            surplus = entry.number <= spare
            if entry.number == newest.number or not (surplus or entry.at < older_than):
                break
            if problem := _anchor_problem(store, anchor, surplus) or _problem(store, entry, last, surplus):
                logger.error("the audit trail is pruned no further: %s", problem)
                break
            last = Link(entry.number, entry.seal)
        if last == start:
            return 0
        await _drop_anchor(store, last)
        return await store.count(PRUNE(after=start.number, last=last.number))


async def _is_ours(store: Store, number: int) -> bool:
    """Whether the row of this number followed the one before it."""
    rows = await _read(store, number - 2, 2)
    return len(rows) == 2 and not _problem(store, rows[1], Link(rows[0].number, rows[0].seal))


async def _drop_anchor(store: Store, last: Link) -> None:
    """Remember the row that the oldest one left is chained to."""
    await store.count(LIFT())
    proof = store.audit_keys.make(_proven_text(last))
    await store.count(DROP(number=last.number, seal=last.seal, kid=store.audit_keys.kid, proof=proof))


async def _walk(store: Store, anchor: Anchor | None, kept: Link | None) -> Verdict:
    start = head = _start(anchor)
    problem = _anchor_problem(store, anchor) or await _leftover(store, start)
    if kept and kept.number < start.number:
        problem = problem or f"row {kept.number}, whose seal was kept, has been pruned since: keep a newer one"
    while not problem and (entries := await _read(store, head.number, AT_ONCE)):
        for entry in entries:
            if problem := _problem(store, entry, head) or _head_problem(entry, kept):
                break
            head = Link(entry.number, entry.seal)
    return Verdict(head.number - start.number, head, problem or _end_problem(head, anchor, kept))


async def _read(store: Store, after: int, many: int) -> list[Entry]:
    """The next rows, up to the first that cannot be read; of that one the number, and a seal that cannot fit."""
    try:
        return await store.all(ROWS(after=after, many=many))
    except UNREADABLE:
        if many > 1:
            return await _read(store, after, many // 2)
    return [replace(SPOILT, number=int(await store.value(NEXT(after=after))), kid=store.audit_keys.kid)]


async def _leftover(store: Store, start: Link) -> str:
    """A row that stands before the first."""
    number = await store.value(OLDEST(most=start.number))
    return "" if number is None else f"row {number} was put in: there is none before row {start.number + 1}"


def _start(anchor: Anchor | None) -> Link:
    return Link(anchor.number, anchor.seal) if anchor else BEGINNING


def _proven_text(last: Link) -> bytes:
    return json.dumps(["anchor", last.number, last.seal]).encode()


def _anchor_problem(store: Store, anchor: Anchor | None, retired: bool = False) -> str:
    """Why this anchor is not ours; empty where it is. `retired`: a key that we do not have is none."""
    if anchor is None:
        return ""
    if not store.audit_keys.knows(anchor.kid):
        return "" if retired else f"the anchor, row {anchor.number}, {RETIRED}"
    if _fits(store, anchor.kid, _proven_text(_start(anchor)), anchor.proof):
        return ""
    return f"the anchor, row {anchor.number}, was changed: its proof does not fit"


def _problem(store: Store, entry: Entry, before: Link, retired: bool = False) -> str:
    """Why this row is not the one that followed; empty where it is."""
    if entry.number != before.number + 1:
        return f"row {before.number + 1} is missing"
    if not store.audit_keys.knows(entry.kid):
        return "" if retired else f"row {entry.number} {RETIRED}"
    try:
        text = sealed_text(entry, before.seal)
    except UNREADABLE:
        text = b""
    if _fits(store, entry.kid, text, entry.seal):
        return ""
    return f"row {entry.number} was changed, or is not the one that stood there: its seal does not fit"


def _fits(store: Store, kid: str, text: bytes, seal: str) -> bool:
    return isinstance(seal, str) and seal.isascii() and store.audit_keys.fits(kid, text, seal)


def _head_problem(entry: Entry, kept: Link | None) -> str:
    if kept is None or kept.number != entry.number or kept.seal == entry.seal:
        return ""
    return f"row {entry.number} is another than the one whose seal was kept"


def _end_problem(head: Link, anchor: Anchor | None, kept: Link | None) -> str:
    """That rows are missing after the last one: pruning always leaves one, and a head that was kept was once there."""
    if (kept and kept.number > head.number) or (anchor and anchor.number == head.number):
        return f"row {head.number + 1} is missing: the trail was cut off after row {head.number}"
    return ""
