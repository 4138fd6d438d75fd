"""Audit entries as their readers see them, and the SELECTs of these: for the user of an account and
for administrators.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
)

from db.audit.events import EventTexts
from db.audit.log import FORMER_ACTOR_TYPES, ActorType
from db.audit.messages import describe_for_admin, describe_for_user, label, read_detail
from db.device_names import known_description
from db.messages import Message
from db.store import pick
from db.tables import audit, users

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


class _StoredNames(Protocol):
    """The values of an entry whose names have changed since an earlier version."""

    @property
    def browser(self) -> str: ...

    @property
    def actor_type(self) -> str: ...


def replace_former_names(entry: _StoredNames) -> None:
    """Replaces a browser and an actor type that an earlier version wrote by their present names."""
    object.__setattr__(entry, "browser", known_description(entry.browser))
    actor_type = FORMER_ACTOR_TYPES.get(entry.actor_type, entry.actor_type)
    object.__setattr__(entry, "actor_type", actor_type)


def own_numbers(column: ColumnElement[Any]) -> Any:
    """Selects the newest entries that have the user in this column.

    The index of the column and the LIMIT bound the rows that are read, whatever the size of the
    log.
    """
    newest = (
        select(audit.c.number).where(column == bindparam("user_id")).order_by(audit.c.number.desc())
    )
    return select(newest.limit(bindparam("max_entries", type_=Integer)).subquery().c.number)


def is_one_of(column: ColumnElement[Any], values: tuple[str, ...]) -> ColumnElement[bool]:
    """Returns the condition of `IN`, which SQLAlchemy would compile again at each call."""
    return or_(*(column == value for value in values))


def has_actor_type(actor_type: ActorType) -> ColumnElement[bool]:
    """Returns the condition that an entry has this actor type, also by a former name."""
    former = (name for name, now in FORMER_ACTOR_TYPES.items() if now == actor_type)
    return is_one_of(audit.c.actor_type, (actor_type, *former))


_actor, _target = users.alias("actor_user"), users.alias("target_user")
IS_OWN = func.coalesce(audit.c.actor_id == bindparam("user_id"), literal(False))
# Users do not see the IP address and the browser of administrators.
SHOWS_CLIENT = or_(IS_OWN, has_actor_type("anonymous"))


def select_own_entries(numbers: Any) -> Select[OwnEntry]:
    """Selects the entries with these numbers for the user `user_id`, newest first."""
    return (
        pick(
            OwnEntry,
            audit,
            ip_address=case((SHOWS_CLIENT, audit.c.ip_address), else_=""),
            browser=case((SHOWS_CLIENT, audit.c.browser), else_=""),
            is_own=IS_OWN,
            other=case((and_(IS_OWN, audit.c.target_id != bindparam("user_id")), _target.c.name)),
        )
        .join_from(audit, _target, _target.c.id == audit.c.target_id, isouter=True)
        .where(audit.c.number.in_(numbers))
        .order_by(audit.c.number.desc())
    )


def select_admin_entries(numbers: Any) -> Select[AdminEntry]:
    """Selects the entries with these numbers for an administrator, newest first."""
    return (
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
        .where(audit.c.number.in_(numbers))
        .order_by(audit.c.number.desc())
    )
