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

from db.audit import entry_budget, hooks
from db.audit.events import EVENT_TEXTS, Event, ProductEvent
from db.engine.statement import Statement, insert
from db.errors import Unavailable
from db.hooks import HookEvent
from db.rate_limits.limits import ENTRIES_CLIENT
from db.store import Store, pick
from db.tables import audit, audit_head
from db.viewer import ClientInfo, Viewer

logger = logging.getLogger("latchkey")

ActorType = Literal["user", "anonymous", "operator", "system"]
Outcome = Literal["done", "refused"]
# Maps the actor types of earlier versions to current ones. The MAC of an entry covers its actor
# type, so the value in an old row must not be changed.
FORMER_ACTOR_TYPES: Final[Mapping[str, ActorType]] = {
    "member": "user",
    "stranger": "anonymous",
    "program": "system",
}


@dataclass(frozen=True, slots=True)
class Actor:
    """The caller that an entry names: its type, its ids and its client.

    `user_id` and `session_id` belong to a user whose session or password was verified.
    """

    actor_type: ActorType
    user_id: str | None = None
    session_id: str = ""
    ip_address: str = ""
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
    actor_type: ActorType
    actor_id: str | None
    target_id: str | None
    session_id: str
    ip_address: str
    browser: str
    detail: str
    kid: str
    mac: str


@dataclass(frozen=True, slots=True)
class ChainPosition:
    """A position in the chain: the number and the MAC of an entry."""

    number: int
    mac: str


class _Undone(Exception):
    """Rolls a transaction back."""


CHAIN_START: Final = ChainPosition(0, "")
OPERATOR: Final = Actor("operator")

COLUMNS: Final = tuple(column.key for column in audit.columns)

ADVANCE_HEAD = Statement(  # The row lock serializes all writers until their transactions end.
    update(audit_head)
    .values(number=audit_head.c.number + 1)
    .returning((audit_head.c.number - 1).label("number"), audit_head.c.entry_mac)
    .execution_options(into=ChainPosition)
)
SIGN_HEAD = Statement(
    update(audit_head).values({name: bindparam(name) for name in ("entry_mac", "kid", "mac")})
)
LAST_ENTRY = Statement(pick(ChainPosition, audit).order_by(audit.c.number.desc()).limit(1))
RESET_HEAD = Statement(
    insert(audit_head).values(number=bindparam("number"), entry_mac="", kid="", mac="")
)
INSERT_ENTRY = Statement(
    insert(audit).values({name: bindparam(name, type_=audit.c[name].type) for name in COLUMNS})
)


async def record(
    store: Store,
    event: Event | ProductEvent,
    actor: Actor,
    detail: Mapping[str, str | int] | None = None,
    *,
    target_id: str | None = None,
    outcome: Outcome = "done",
    budget_subject: str = "",
    is_budgeted: bool = True,
) -> None:
    """Writes an entry, after the hooks of the product.

    Must be the last statement of the transaction that makes the change, so that both are stored or
    neither. `target_id` is the account that the entry concerns, by default the actor's. `detail`
    must not contain passwords, tokens or codes. Unless `is_budgeted` is false, the entry counts
    towards the budget of `budget_subject`, by default the account. Entries above the budget are
    left out and counted; the log reports the first, the tenth, the hundredth and so on. A hook may
    raise Refused. Raises ValueError for an event that neither the program nor the product declares.
    """
    if event not in EVENT_TEXTS and event not in store.product.events:
        raise ValueError(f"{event} is not in EVENTS of product/events.py")
    # The hooks precede the entry, because it locks the head of the log until the transaction ends.
    if outcome == "done" and hooks.has_listeners(store, event):
        await hooks.run_hooks(store, _hook_event(store, event, actor, detail, target_id))
    if (
        not is_budgeted
        or actor.actor_type in ("operator", "system")
        or (actor.user_id and target_id and target_id != actor.user_id)
    ):
        await _append(store, event, actor, detail, target_id, outcome)
        return
    entry_type = f"{event} {outcome} {(detail or {}).get('limit', '')}"
    excess = await entry_budget.take_entry_token(
        store,
        event,
        entry_type,
        budget_subject or target_id or actor.user_id or "",
        actor.ip_address,
    )
    if excess is None:
        await _append(store, event, actor, detail, target_id, outcome)
    elif excess.is_logged:
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
            actor = Actor("system", ip_address=actor.ip_address)
            target_id = None
        await _append(store, "entries.left-out", actor, left_out, target_id, outcome)


async def rehearse_hooks(store: Store, event: Event, actor: Actor) -> None:
    """Calls the hooks of an event that has not happened, and undoes and ignores what they do.

    Must run inside a transaction. Costs nothing if the event has no hooks. Raises Unavailable if
    they take too long, as they do for an event that has happened.
    """
    if not hooks.has_listeners(store, event):
        return
    try:
        async with store.transaction():
            await hooks.run_hooks(store, _hook_event(store, event, actor, None, None))
            raise _Undone
    except Unavailable:
        raise
    except Exception:  # The hooks fail for a user that does not exist.
        return


def _hook_event(
    store: Store,
    event: str,
    actor: Actor,
    detail: Mapping[str, str | int] | None,
    target_id: str | None,
) -> HookEvent:
    return HookEvent(
        id=store.token(32),
        name=event,
        at=store.now().astimezone(UTC),
        actor_type=actor.actor_type,
        actor_id=actor.user_id,
        target_id=target_id or actor.user_id,
        session_id=actor.session_id,
        ip_address=actor.ip_address,
        browser=actor.browser,
        detail=dict(detail or {}),
    )


async def _append(
    store: Store,
    event: Event | ProductEvent,
    actor: Actor,
    detail: Mapping[str, str | int] | None,
    target_id: str | None,
    outcome: Outcome,
) -> None:
    before = await store.one(ADVANCE_HEAD()) or await _restore_head(store)
    entry = Entry(
        number=before.number + 1,
        at=store.now().astimezone(UTC),
        event=event,
        outcome=outcome,
        actor_type=actor.actor_type,
        actor_id=actor.user_id,
        target_id=target_id or actor.user_id,
        session_id=actor.session_id,
        ip_address=actor.ip_address,
        browser=actor.browser,
        detail=json.dumps(detail) if detail else "",
        kid=store.audit_keys.kid,
        mac="",
    )
    mac = store.audit_keys.sign(entry_mac_input(entry, before.mac))
    await store.count(INSERT_ENTRY(**asdict(entry) | {"mac": mac}))
    head_mac = store.audit_keys.sign(end_mac_input("head", entry.number, mac))
    await store.count(SIGN_HEAD(entry_mac=mac, kid=entry.kid, mac=head_mac))


async def _restore_head(store: Store) -> ChainPosition:
    """Restores a head that was deleted.

    The log continues after the last entry with a gap in the numbers, which the verification
    reports.
    """
    last = await store.one(LAST_ENTRY()) or CHAIN_START
    await store.count(RESET_HEAD(number=last.number + 2))
    return ChainPosition(last.number + 1, last.mac)


def viewer_actor(viewer: Viewer, client: ClientInfo | None = None) -> Actor:
    """Returns the viewer as actor, at the given client or the viewer's own.

    The session of the entry is the id of the access token if the request has one.
    """
    client = client or viewer.client
    session_id = viewer.token_id or viewer.session_id
    return Actor("user", viewer.id, session_id, client.ip_address, client.name)


def anonymous_actor(client: ClientInfo) -> Actor:
    """Returns an anonymous user as actor."""
    return Actor("anonymous", ip_address=client.ip_address, browser=client.name)


def user_actor(user_id: str, client: ClientInfo, session_id: str = "") -> Actor:
    """Returns as actor a user whose password was just verified, and the session that this
    started.
    """
    return Actor("user", user_id, session_id, client.ip_address, client.name)


def entry_mac_input(entry: Entry, mac_before: str) -> bytes:
    """Returns the input of an entry's MAC: every other column, and the MAC of the previous
    entry.
    """
    return encode_exactly([mac_before, *ALL_BUT_MAC(entry)]).encode()


def end_mac_input(end: Literal["anchor", "head"], number: int, mac: str) -> bytes:
    """Returns the input of the MAC of the head or the checkpoint."""
    return json.dumps([end, number, mac]).encode()


def _format_exactly(moment: datetime) -> str:
    """Formats a datetime to the microsecond, the precision of both databases."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


ALL_BUT_MAC: Final = attrgetter(*(field.name for field in fields(Entry) if field.name != "mac"))
encode_exactly: Final = JSONEncoder(default=_format_exactly).encode


def mask_email(email: str) -> str:
    """Returns the email with all but the first character of its local part left out."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}…@{domain}"
