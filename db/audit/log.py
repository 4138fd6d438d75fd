"""Writes the audit log: one entry for each authentication event and each refusal.

Each entry has a MAC over itself and the previous entry's MAC, under a key outside of the database.
Changing or deleting an entry is therefore detected.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from json import JSONEncoder
from operator import attrgetter
from typing import Final, Literal

from sqlalchemy import bindparam, update

from db.audit import entry_budget
from db.audit.events import Event
from db.engine.statement import Statement, insert
from db.rate_limits.limits import ENTRIES_CLIENT
from db.store import Store, pick
from db.tables import audit, trail_head
from db.viewer import Device, Viewer

logger = logging.getLogger("latchkey")

Actor = Literal["member", "stranger", "operator", "program"]
Outcome = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class By:
    """Who caused an entry, and from where.

    `user_id` and `session_id` belong to a user whose session or password was verified.
    """

    actor: Actor
    user_id: str | None = None
    session_id: str = ""
    address: str = ""
    browser: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One audit entry.

    `actor_id` is the acting user, `target_id` the account that the entry concerns; `detail` is
    JSON.
    """

    number: int
    at: datetime
    event: str
    outcome: Outcome
    actor: Actor
    actor_id: str | None
    target_id: str | None
    session_id: str
    address: str
    browser: str
    detail: str
    kid: str
    seal: str


@dataclass(frozen=True, slots=True)
class Link:
    """A position in the chain: the number and the MAC of an entry."""

    number: int
    seal: str


BEGINNING: Final = Link(0, "")
OPERATOR: Final = By("operator")

COLUMNS: Final = tuple(column.name for column in audit.columns)

GO_ON = Statement(  # The row lock serializes all writers until their transactions end.
    update(trail_head)
    .values(number=trail_head.c.number + 1)
    .returning((trail_head.c.number - 1).label("number"), trail_head.c.seal)
    .execution_options(into=Link)
)
END_WITH = Statement(
    update(trail_head).values({name: bindparam(name) for name in ("seal", "kid", "proof")})
)
LAST = Statement(pick(Link, audit).order_by(audit.c.number.desc()).limit(1))
BEGIN_ANEW = Statement(
    insert(trail_head).values(number=bindparam("number"), seal="", kid="", proof="")
)
ADD = Statement(
    insert(audit).values({name: bindparam(name, type_=audit.c[name].type) for name in COLUMNS})
)


async def record(
    store: Store,
    event: Event,
    by: By,
    detail: Mapping[str, str | int] | None = None,
    *,
    target_id: str | None = None,
    outcome: Outcome = "done",
    counted_for: str = "",
) -> None:
    """Writes an entry.

    Must be the last statement of the transaction that makes the change, so that both are stored or
    neither. `target_id` is the account that the entry concerns, by default the actor's. `detail`
    must not contain passwords, tokens or codes. The entry counts towards the budget of
    `budget_subject`, by default the account. Entries above the budget are left out and counted; the
    log reports the first, the tenth, the hundredth and so on.
    """
    if by.actor in ("operator", "program") or (
        by.user_id and target_id and target_id != by.user_id
    ):
        await _append(store, event, by, detail, target_id, outcome)
        return
    what = f"{event} {outcome} {(detail or {}).get('limit', '')}"
    excess = await entry_budget.spend(
        store, event, what, counted_for or target_id or by.user_id or "", by.address
    )
    if excess is None:
        await _append(store, event, by, detail, target_id, outcome)
    elif excess.is_told:
        left_out: dict[str, str | int] = {
            "event": event,
            "limit": excess.limit.name,
            "times": excess.times,
        }
        # The entries left out concern many accounts, so this one names none.
        if excess.limit is ENTRIES_CLIENT:
            logger.warning(
                "limit %s: %d audit entries of one client were left out",
                excess.limit.name,
                excess.times,
            )
            by, target_id = By("program", address=by.address), None
        await _append(store, "entries.left-out", by, left_out, target_id, outcome)


async def _append(
    store: Store,
    event: Event,
    by: By,
    detail: Mapping[str, str | int] | None,
    target_id: str | None,
    outcome: Outcome,
) -> None:
    before = await store.one(GO_ON()) or await _mend(store)
    entry = Entry(
        number=before.number + 1,
        at=store.now().astimezone(UTC),
        event=event,
        outcome=outcome,
        actor=by.actor,
        actor_id=by.user_id,
        target_id=target_id or by.user_id,
        session_id=by.session_id,
        address=by.address,
        browser=by.browser,
        detail=json.dumps(detail) if detail else "",
        kid=store.audit_keys.kid,
        seal="",
    )
    seal = store.audit_keys.make(sealed_text(entry, before.seal))
    await store.count(ADD(**asdict(entry) | {"seal": seal}))
    proof = store.audit_keys.make(proven_text("head", entry.number, seal))
    await store.count(END_WITH(seal=seal, kid=entry.kid, proof=proof))


async def _mend(store: Store) -> Link:
    """Restores a head that was deleted.

    The log continues after the last entry with a gap in the numbers, which the verification
    reports.
    """
    last = await store.one(LAST()) or BEGINNING
    await store.count(BEGIN_ANEW(number=last.number + 2))
    return Link(last.number + 1, last.seal)


def by_viewer(viewer: Viewer, device: Device | None = None) -> By:
    """Returns the viewer as actor, at the given client or the viewer's own."""
    device = device or viewer.device
    return By("member", viewer.id, viewer.session_id, device.address, device.name)


def by_stranger(device: Device) -> By:
    """Returns an anonymous user as actor."""
    return By("stranger", address=device.address, browser=device.name)


def by_owner(user_id: str, device: Device, session_id: str = "") -> By:
    """Returns as actor a user whose password was just verified, and the session that this
    started.
    """
    return By("member", user_id, session_id, device.address, device.name)


def sealed_text(entry: Entry, seal_before: str) -> bytes:
    """Returns the input of an entry's MAC: every other column, and the MAC of the previous
    entry.
    """
    return EXACTLY([seal_before, *ALL_BUT_SEAL(entry)]).encode()


def proven_text(end: Literal["anchor", "head"], number: int, seal: str) -> bytes:
    """Returns the input of the MAC of the head or the checkpoint."""
    return json.dumps([end, number, seal]).encode()


def _exact(moment: datetime) -> str:
    """Formats a datetime to the microsecond, the precision of both databases."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


ALL_BUT_SEAL: Final = attrgetter(*(field.name for field in fields(Entry) if field.name != "seal"))
EXACTLY: Final = JSONEncoder(default=_exact).encode
