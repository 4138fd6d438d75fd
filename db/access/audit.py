"""Read access to the audit log: a user reads the entries about their own account, an administrator
all entries, and the operator verifies the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal,
    null,
    or_,
    select,
)

from db import accounts
from db.audit import chain
from db.audit.chain import Verdict
from db.audit.events import EVENT_TEXTS, EventTexts
from db.audit.log import FORMER_ACTOR_TYPES, ChainPosition, viewer_actor
from db.audit.messages import describe_for_admin, describe_for_user, label, read_detail
from db.device_names import known_description
from db.engine.statement import Statement
from db.errors import NotFound
from db.messages import Message
from db.rate_limits import limiter
from db.rate_limits.limits import DENIED
from db.store import pick
from db.tables import audit, users
from db.user_search import matches, search_pattern
from db.viewer import Admin, ClientInfo, Operator, Viewer

PAGE_SIZE: Final = 25
# Above the number of pages that pruning keeps, so the offset stays within a PostgreSQL integer.
MAX_PAGES: Final = 50_000


@dataclass(frozen=True, slots=True)
class OwnEntry:
    """An audit entry as the user of the account sees it.

    `browser` and `ip_address` are empty if an administrator or the operator acted. `other` is the
    name of the user whom the viewer's action concerned, else None.
    """

    at: datetime
    event: str
    outcome: str
    actor_type: str
    ip_address: str
    browser: str
    detail: str
    is_own: bool
    other: str | None

    def __post_init__(self) -> None:
        replace_former_names(self)

    @property
    def refused(self) -> bool:
        return self.outcome == "refused"

    def text_parts(self, product_events: Mapping[str, EventTexts]) -> Message:
        """Returns the text of the entry, addressed to the user."""
        detail = read_detail(self.detail)
        return describe_for_user(
            self.event,
            self.outcome,
            self.actor_type,
            detail,
            is_own=bool(self.is_own),
            other=self.other,
            product_events=product_events,
        )


@dataclass(frozen=True, slots=True)
class AdminEntry:
    """An audit entry as an administrator sees it.

    Names are the current ones; None if the account does not exist.
    """

    number: int
    at: datetime
    event: str
    outcome: str
    actor_type: str
    actor_name: str | None
    actor_slug: str | None
    target_name: str | None
    target_slug: str | None
    themselves: bool
    ip_address: str
    browser: str
    detail: str

    def __post_init__(self) -> None:
        replace_former_names(self)

    @property
    def refused(self) -> bool:
        return self.outcome == "refused"

    def label(self, product_events: Mapping[str, EventTexts]) -> Message:
        return label(self.event, product_events)

    def note(self, product_events: Mapping[str, EventTexts]) -> Message:
        return describe_for_admin(self.event, read_detail(self.detail), product_events)


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """An audit entry as the operator sees it.

    Emails are the current ones; None if the account does not exist. `detail` is JSON, or empty.
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

    def __post_init__(self) -> None:
        replace_former_names(self)


def replace_former_names(entry: OwnEntry | AdminEntry | OperatorEntry) -> None:
    """Replaces a browser and an actor type that an earlier version wrote by their present names."""
    object.__setattr__(entry, "browser", known_description(entry.browser))
    actor_type = FORMER_ACTOR_TYPES.get(entry.actor_type, entry.actor_type)
    object.__setattr__(entry, "actor_type", actor_type)


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page of entries, newest first.

    `page` starts at 1; `more` is true if there are older entries. `product_events` has the texts of
    the events of the product, which describe its entries.
    """

    entries: list[OwnEntry] | list[AdminEntry]
    page: int
    more: bool
    product_events: Mapping[str, EventTexts]

    @property
    def first(self) -> int:
        return (self.page - 1) * PAGE_SIZE + 1


def own_numbers(column: ColumnElement[Any]) -> Any:
    """Selects the newest entries that have the user in this column.

    The index of the column and the LIMIT bound the rows that are read, whatever the size of the
    log.
    """
    newest = (
        select(audit.c.number).where(column == bindparam("user_id")).order_by(audit.c.number.desc())
    )
    return select(newest.limit(bindparam("max_entries", type_=Integer)).subquery().c.number)


_actor, _target = users.alias("actor_user"), users.alias("target_user")
IS_OWN = func.coalesce(audit.c.actor_id == bindparam("user_id"), literal(False))
# Users do not see the IP address and the browser of administrators.
SHOWS_CLIENT = or_(IS_OWN, audit.c.actor_type.in_(("anonymous", "stranger")))
OWN = Statement(
    pick(
        OwnEntry,
        audit,
        ip_address=case((SHOWS_CLIENT, audit.c.ip_address), else_=""),
        browser=case((SHOWS_CLIENT, audit.c.browser), else_=""),
        is_own=IS_OWN,
        other=case(
            (and_(IS_OWN, audit.c.target_id != bindparam("user_id")), _target.c.name), else_=null()
        ),
    )
    .join_from(audit, _target, _target.c.id == audit.c.target_id, isouter=True)
    .where(audit.c.number.in_(own_numbers(audit.c.target_id).union(own_numbers(audit.c.actor_id))))
    .order_by(audit.c.number.desc())
    .limit(PAGE_SIZE + 1)
    .offset(bindparam("offset", type_=Integer))
)
_pattern: Any = bindparam("pattern", type_=Text)
_event, _outcome = bindparam("event", type_=Text), bindparam("outcome", type_=Text)
_found = select(users.c.id).where(matches(_pattern))
_numbers = (
    select(audit.c.number)
    .where(
        or_(
            # An empty search matches every IP address, so no user is looked up.
            audit.c.ip_address.like(_pattern, escape="\\"),
            audit.c.actor_id.in_(_found),
            audit.c.target_id.in_(_found),
        ),
        or_(_event == "", audit.c.event == _event),
        or_(_outcome == "", audit.c.outcome == _outcome),
    )
    .order_by(audit.c.number.desc())
    .limit(PAGE_SIZE + 1)
    .offset(bindparam("offset", type_=Integer))
    .subquery()
)  # Selected first, so that names are looked up for the entries of one page only.
ALL = Statement(
    pick(
        AdminEntry,
        audit,
        actor_name=_actor.c.name,
        actor_slug=_actor.c.slug,
        target_name=_target.c.name,
        target_slug=_target.c.slug,
        themselves=func.coalesce(audit.c.actor_id == audit.c.target_id, literal(False)),
    )
    .join_from(audit, _actor, _actor.c.id == audit.c.actor_id, isouter=True)
    .outerjoin(_target, _target.c.id == audit.c.target_id)
    .where(audit.c.number.in_(select(_numbers.c.number)))
    .order_by(audit.c.number.desc())
)


_user_id: Any = bindparam("user_id", type_=Text)
NEWEST = Statement(
    pick(OperatorEntry, audit, actor_email=_actor.c.email, target_email=_target.c.email)
    .join_from(audit, _actor, _actor.c.id == audit.c.actor_id, isouter=True)
    .outerjoin(_target, _target.c.id == audit.c.target_id)
    .where(
        or_(_user_id == "", audit.c.actor_id == _user_id, audit.c.target_id == _user_id),
        or_(_event == "", audit.c.event == _event),
    )
    .order_by(audit.c.number.desc())
    .limit(bindparam("count", type_=Integer))
)


async def list_own(viewer: Viewer, *, page: int = 1) -> EntryPage:
    """Returns one page of what happened in the viewer's account and what the viewer did in other
    accounts.
    """
    page = min(page, MAX_PAGES)
    offset = (page - 1) * PAGE_SIZE
    found = await viewer.store.all(
        OWN(user_id=viewer.id, max_entries=offset + PAGE_SIZE + 1, offset=offset)
    )
    return _page(viewer, found, page)


async def list_all(
    admin: Admin, *, q: str = "", event: str = "", outcome: str = "", page: int = 1
) -> EntryPage:
    """Returns one page of all entries.

    `q` is part of a name, an email or an IP address. `event` and `outcome` are exact values, or
    empty for all.
    """
    page = min(page, MAX_PAGES)
    found = ALL(
        pattern=search_pattern(q), event=event, outcome=outcome, offset=(page - 1) * PAGE_SIZE
    )
    return _page(admin, await admin.store.all(found), page)


async def record_denial(viewer: Viewer, client: ClientInfo, needed: str = "admin") -> None:
    """Records that a viewer does not have a role or a permission that a request needs, at most once
    a minute per user.
    """
    actor = viewer_actor(viewer, client)
    if needed == "admin":
        await limiter.record_within_limit(viewer.store, actor, "admin", DENIED, viewer.id)
    else:
        await limiter.record_within_limit(
            viewer.store, actor, "access", DENIED, viewer.id, {"needed": needed}
        )


async def list_newest(
    operator: Operator, *, email: str = "", event: str = "", limit: int
) -> list[OperatorEntry]:
    """Returns the newest entries, the newest last.

    `email` selects those by or about one user, and `event` those of one event. Raises NotFound if
    no account has the email.
    """
    user_id = await accounts.find_user_id(operator.store, email) if email else ""
    if user_id is None:
        raise NotFound
    newest = await operator.store.all(NEWEST(user_id=user_id, event=event, count=limit))
    return newest[::-1]


def known_events(operator: Operator) -> frozenset[str]:
    """Returns the names of all events, also of those of the product."""
    return operator.store.product.known_events


async def verify_log(operator: Operator, known_head: tuple[int, str] | None = None) -> Verdict:
    """Verifies the whole audit log.

    `known_head` is the number and the MAC of a head that the operator saved earlier.
    """
    return await chain.verify_chain(
        operator.store, ChainPosition(*known_head) if known_head else None
    )


def list_events(admin: Admin) -> dict[str, str]:
    """Returns the label of each event of the program and of the product, by its name."""
    events = {**EVENT_TEXTS, **admin.store.product.events}
    return {name: texts.label for name, texts in events.items()}


def _page(viewer: Viewer, found: list[OwnEntry] | list[AdminEntry], page: int) -> EntryPage:
    more = len(found) > PAGE_SIZE
    return EntryPage(found[:PAGE_SIZE], page, more, viewer.store.product.events)
