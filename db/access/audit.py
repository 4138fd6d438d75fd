"""Read access to the audit log: a user reads the entries about their own account, an administrator
all entries, and the operator verifies the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
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
from db.access.audit_search import (
    NO_FILTER,
    EntryFilter,
    bind_filter,
    bind_range,
    select_numbers,
)
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
from db.viewer import Admin, ClientInfo, Operator, Viewer

PAGE_SIZE: Final = 25
# Above the number of pages that pruning keeps, so the offset stays within a PostgreSQL integer.
MAX_PAGES: Final = 50_000
# The actions of administrators on accounts, which may be their own.
EVENTS_ABOUT_OTHERS: Final = frozenset(
    (
        *("role.change", "team.change", "session.end-all", "data.download"),
        *("account.disable", "account.enable", "account.leave", "account.keep"),
    )
)
# Their target is an invitation.
EVENTS_ABOUT_INVITATIONS: Final = frozenset(
    ("invitation.create", "invitation.resend", "invitation.withdraw")
)
# What the log-ins of a group have in common.
SAME_IN_GROUP: Final = attrgetter(
    *("event", "outcome", "actor_type", "actor_id", "target_id", "ip_address", "browser", "detail")
)


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
    actor_id: str | None
    actor_name: str | None
    actor_slug: str | None
    target_id: str | None
    target_name: str | None
    target_slug: str | None
    ip_address: str
    browser: str
    detail: str

    def __post_init__(self) -> None:
        replace_former_names(self)

    @property
    def refused(self) -> bool:
        return self.outcome == "refused"

    @property
    def themselves(self) -> bool:
        return self.actor_id is not None and self.actor_id == self.target_id

    @property
    def has_target(self) -> bool:
        """Returns whether the entry concerns another account than that of the actor, or an action
        that usually does.

        An entry without a target has its actor as target: see `db.audit.log.record`.
        """
        if self.themselves:
            return self.event in EVENTS_ABOUT_OTHERS
        return self.target_id is not None and self.event not in EVENTS_ABOUT_INVITATIONS

    def label(self, product_events: Mapping[str, EventTexts]) -> Message:
        return label(self.event, product_events)

    def note(self, product_events: Mapping[str, EventTexts]) -> Message:
        return describe_for_admin(self.event, read_detail(self.detail), product_events)


@dataclass(frozen=True, slots=True)
class EntryGroup:
    """One row of the list: an entry, and the identical log-ins directly before it."""

    newest: AdminEntry
    earlier: list[AdminEntry]

    @property
    def count(self) -> int:
        return 1 + len(self.earlier)


@dataclass(frozen=True, slots=True)
class Person:
    """The user whose entries an administrator has selected."""

    id: str
    name: str


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

    @property
    def groups(self) -> list[EntryGroup]:
        """Returns the entries of an administrator's page, with identical log-ins as one group.

        Only entries in direct succession are grouped, so that the order stays true.
        """
        groups: list[EntryGroup] = []
        for entry in self.entries:
            if not isinstance(entry, AdminEntry):
                continue
            if groups and _are_identical_logins(groups[-1].newest, entry):
                groups[-1].earlier.append(entry)
            else:
                groups.append(EntryGroup(entry, []))
        return groups


def _are_identical_logins(entry: AdminEntry, other: AdminEntry) -> bool:
    return entry.event == "login" and SAME_IN_GROUP(entry) == SAME_IN_GROUP(other)


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
PERSON = Statement(pick(Person, users).where(users.c.id == bindparam("person")))


@cache
def page_statement(used: frozenset[str]) -> Statement[AdminEntry]:
    """Returns the statement for one page of a search with these conditions.

    It selects the numbers first, so that names are looked up for the entries of one page only.
    """
    number = select_numbers(used, PAGE_SIZE + 1).subquery().c.number
    return Statement(
        pick(
            AdminEntry,
            audit,
            actor_name=_actor.c.name,
            actor_slug=_actor.c.slug,
            target_name=_target.c.name,
            target_slug=_target.c.slug,
        )
        .join_from(audit, _actor, _actor.c.id == audit.c.actor_id, isouter=True)
        .outerjoin(_target, _target.c.id == audit.c.target_id)
        .where(audit.c.number.in_(select(number)))
        .order_by(audit.c.number.desc())
    )


_event: Any = bindparam("event", type_=Text)
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


async def list_all(admin: Admin, filters: EntryFilter = NO_FILTER, *, page: int = 1) -> EntryPage:
    """Returns one page of the entries that the filters select."""
    page = min(page, MAX_PAGES)
    found = page_statement(filters.used)(
        **await bind_filter(admin, filters),
        **bind_range(filters, PAGE_SIZE + 1, offset=(page - 1) * PAGE_SIZE),
    )
    return _page(admin, await admin.store.all(found), page)


async def find_person(admin: Admin, user_id: str) -> Person | None:
    """Returns the user whose entries are selected, or None if the account was deleted."""
    return await admin.store.one(PERSON(person=user_id))


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
