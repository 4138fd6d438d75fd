"""The audit trail as it may be read: by members what is about them, by administrators all of it;
and verified.
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
# more than pruning leaves; a number beyond is no page, and no number for PostgreSQL
MOST_PAGES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Own:
    """One's own entry.

    Where an administrator or the operator was is not told; `other` is whom one did it to.
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
        """What happened, as its owner is told."""
        detail = read_detail(self.detail)
        return tell_owner(
            self.event, self.outcome, self.actor, detail, mine=bool(self.mine), other=self.other
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as an administrator sees it.

    Names are as they are now; None where nobody has an account for it.
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
    """Some entries, the newest first. `page` starts from 1; `more`: there are older ones."""

    entries: list[Own] | list[Entry]
    page: int
    more: bool

    @property
    def first(self) -> int:
        return (self.page - 1) * PAGE_SIZE + 1


def _own_numbers(column: ColumnElement[Any]) -> Any:
    """The newest entries of one kind, by its index: however long the trail is, no more of it is
    read.
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
            # where nothing is asked for, each does: nobody is looked up
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
)  # first: so names are looked up for one page of rows, and not for those before it
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
    """What happened in the viewer's account, and what they did to others'."""
    page = min(page, MOST_PAGES)
    offset = (page - 1) * PAGE_SIZE
    return _page(
        await viewer.store.all(OWN(user_id=viewer.id, most=offset + PAGE_SIZE + 1, offset=offset)),
        page,
    )


async def list_all(
    admin: Admin, *, q: str = "", event: str = "", outcome: str = "", page: int = 1
) -> Page:
    """Everything.

    `q` is part of a name, an email or an address; `event` and `outcome` are exact, or empty.
    """
    page = min(page, MOST_PAGES)
    found = ALL(
        pattern=search_pattern(q), event=event, outcome=outcome, offset=(page - 1) * PAGE_SIZE
    )
    return _page(await admin.store.all(found), page)


async def note_denial(viewer: Viewer, device: Device) -> None:
    """Somebody without the role asked for what is for administrators.

    One row a minute tells enough of it.
    """
    await throttle.record_seldom(
        viewer.store, by_viewer(viewer, device), "admin", DENIED, viewer.id
    )


async def verify(operator: Operator, kept: tuple[int, str] | None = None) -> Verdict:
    """Whether the trail is as it was written.

    `kept`: number and seal of a head that was noted down before.
    """
    return await chain.verify(operator.store, Link(*kept) if kept else None)


def _page(found: list[Own] | list[Entry], page: int) -> Page:
    return Page(found[:PAGE_SIZE], page, len(found) > PAGE_SIZE)
