"""Read access to the audit log: a user reads the entries about their own account, an administrator
all entries, and the operator verifies the log.
"""

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

from db.audit import chain
from db.audit.chain import Verdict
from db.audit.log import Link, by_viewer
from db.audit.messages import Part, label, read_detail, tell_admin, tell_owner
from db.device_names import known_description
from db.engine.statement import Statement
from db.rate_limits import limiter as throttle
from db.rate_limits.limits import DENIED
from db.store import pick
from db.tables import audit, users
from db.user_search import matches, search_pattern
from db.viewer import Admin, Device, Operator, Viewer

PAGE_SIZE: Final = 25
# Above the number of pages that pruning keeps, so the offset stays within a PostgreSQL integer.
MOST_PAGES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Own:
    """An audit entry as the user of the account sees it.

    `browser` and `ip_address` are empty if an administrator or the operator acted. `other` is the
    name of the user whom the viewer's action concerned, else None.
    """

    at: datetime
    event: str
    outcome: str
    actor: str
    address: str
    browser: str
    detail: str
    mine: bool
    other: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "browser", known_description(self.browser))

    @property
    def refused(self) -> bool:
        return self.outcome == "refused"

    @property
    def told(self) -> list[Part]:
        """Returns the text of the entry, addressed to the user."""
        detail = read_detail(self.detail)
        return tell_owner(
            self.event, self.outcome, self.actor, detail, mine=bool(self.mine), other=self.other
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """An audit entry as an administrator sees it.

    Names are the current ones; None if the account does not exist.
    """

    number: int
    at: datetime
    event: str
    outcome: str
    actor: str
    actor_name: str | None
    actor_slug: str | None
    target_name: str | None
    target_slug: str | None
    themselves: bool
    address: str
    browser: str
    detail: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "browser", known_description(self.browser))

    @property
    def refused(self) -> bool:
        return self.outcome == "refused"

    @property
    def label(self) -> str:
        return label(self.event)

    @property
    def note(self) -> list[Part]:
        return tell_admin(self.event, read_detail(self.detail))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of entries, newest first.

    `page` starts at 1; `more` is true if there are older entries.
    """

    entries: list[Own] | list[Entry]
    page: int
    more: bool

    @property
    def first(self) -> int:
        return (self.page - 1) * PAGE_SIZE + 1


def _own_numbers(column: ColumnElement[Any]) -> Any:
    """Selects the newest entries that have the user in this column.

    The index of the column and the LIMIT bound the rows that are read, whatever the size of the
    log.
    """
    newest = (
        select(audit.c.number).where(column == bindparam("user_id")).order_by(audit.c.number.desc())
    )
    return select(newest.limit(bindparam("most", type_=Integer)).subquery().c.number)


_actor, _target = users.alias("actor_user"), users.alias("target_user")
_mine = func.coalesce(audit.c.actor_id == bindparam("user_id"), literal(False))
_near = or_(_mine, audit.c.actor == "stranger")
OWN = Statement(
    pick(
        Own,
        audit,
        address=case((_near, audit.c.address), else_=""),
        browser=case((_near, audit.c.browser), else_=""),
        mine=_mine,
        other=case(
            (and_(_mine, audit.c.target_id != bindparam("user_id")), _target.c.name), else_=null()
        ),
    )
    .join_from(audit, _target, _target.c.id == audit.c.target_id, isouter=True)
    .where(
        audit.c.number.in_(_own_numbers(audit.c.target_id).union(_own_numbers(audit.c.actor_id)))
    )
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
            audit.c.address.like(_pattern, escape="\\"),
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
        Entry,
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


async def list_own(viewer: Viewer, *, page: int = 1) -> Page:
    """Returns one page of what happened in the viewer's account and what the viewer did in other
    accounts.
    """
    page = min(page, MOST_PAGES)
    offset = (page - 1) * PAGE_SIZE
    return _page(
        await viewer.store.all(OWN(user_id=viewer.id, most=offset + PAGE_SIZE + 1, offset=offset)),
        page,
    )


async def list_all(
    admin: Admin, *, q: str = "", event: str = "", outcome: str = "", page: int = 1
) -> Page:
    """Returns one page of all entries.

    `q` is part of a name, an email or an IP address. `event` and `outcome` are exact values, or
    empty for all.
    """
    page = min(page, MOST_PAGES)
    found = ALL(
        pattern=search_pattern(q), event=event, outcome=outcome, offset=(page - 1) * PAGE_SIZE
    )
    return _page(await admin.store.all(found), page)


async def note_denial(viewer: Viewer, device: Device) -> None:
    """Records that a viewer who is not an administrator requested an admin page, at most once a
    minute per user.
    """
    await throttle.record_seldom(
        viewer.store, by_viewer(viewer, device), "admin", DENIED, viewer.id
    )


async def verify(operator: Operator, kept: tuple[int, str] | None = None) -> Verdict:
    """Verifies the whole audit log.

    `known_head` is the number and the MAC of a head that the operator saved earlier.
    """
    return await chain.verify(operator.store, Link(*kept) if kept else None)


def _page(found: list[Own] | list[Entry], page: int) -> Page:
    return Page(found[:PAGE_SIZE], page, len(found) > PAGE_SIZE)
