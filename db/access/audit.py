"""Read access to the audit log: a user reads the entries about their own account, an administrator
all entries, and the operator verifies the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Integer, Text, bindparam, or_, select

from db import accounts
from db.access.audit_entries import (
    AdminEntry,
    OwnEntry,
    own_numbers,
    replace_former_names,
    select_admin_entries,
    select_own_entries,
)
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
from db.audit.log import ChainPosition, viewer_actor
from db.engine.statement import Statement
from db.errors import NotFound
from db.rate_limits import limiter
from db.rate_limits.limits import DENIED
from db.store import pick
from db.tables import audit, users
from db.viewer import Admin, ClientInfo, Operator, Viewer

PAGE_SIZE: Final = 25
# Above the number of pages that pruning keeps, so the offset stays within a PostgreSQL integer.
MAX_PAGES: Final = 50_000
# What the log-ins of a group have in common.
SAME_IN_GROUP: Final = attrgetter(
    *("event", "outcome", "actor_type", "actor_id", "target_id", "ip_address", "browser", "detail")
)


@dataclass(frozen=True, slots=True)
class EntryGroup:
    """One row of the list: an entry, and the identical log-ins directly before it."""

    newest: AdminEntry
    earlier: list[AdminEntry]

    @property
    def count(self) -> int:
        return 1 + len(self.earlier)


@dataclass(frozen=True, slots=True)
class FilteredUser:
    """The user whose entries a search selects."""

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


OWN = Statement(
    select_own_entries(own_numbers(audit.c.target_id).union(own_numbers(audit.c.actor_id)))
    .limit(PAGE_SIZE + 1)
    .offset(bindparam("offset", type_=Integer))
)
FILTERED_USER = Statement(pick(FilteredUser, users).where(users.c.id == bindparam("user_id")))


@cache
def page_statement(used: frozenset[str]) -> Statement[AdminEntry]:
    """Returns the statement for one page of a search with these conditions.

    It selects the numbers first, so that names are looked up for the entries of one page only.
    """
    number = select_numbers(used, PAGE_SIZE + 1).subquery().c.number
    return Statement(select_admin_entries(select(number)))


_actor, _target = users.alias("actor_user"), users.alias("target_user")
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


async def find_filtered_user(admin: Admin, user_id: str) -> FilteredUser | None:
    """Returns the user whose entries are selected, or None if the account was deleted."""
    return await admin.store.one(FILTERED_USER(user_id=user_id))


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
