"""The data of the dashboards: the viewer's own account and activity, and the statistics and latest
events for administrators.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Integer, and_, bindparam, case, func, or_, select

from db.access.audit_entries import (
    AdminEntry,
    OwnEntry,
    has_actor_type,
    is_one_of,
    own_numbers,
    select_admin_entries,
    select_own_entries,
)
from db.access.security import SecurityState
from db.audit.events import EventTexts
from db.device_names import known_description
from db.engine.statement import Statement
from db.errors import NotLoggedIn
from db.mail.outbox import MAIL_TYPES
from db.store import pick
from db.tables import Instant, audit, is_live, outbox, sessions, users
from db.viewer import Admin, Viewer

DAYS: Final = 14
RECENT_COUNT: Final = 5
# An administrator's dashboard reads this many of the newest audit entries at most.
SEARCHED_ENTRIES: Final = 1_000
LOGIN_EVENTS: Final = ("login", "signup")
DELETION_EVENTS: Final = ("account.delete", "account.expire")


@dataclass(frozen=True, slots=True)
class PreviousLogin:
    """The log-in before that of the current session. `browser` is empty if it is not known."""

    at: datetime
    browser: str


@dataclass(frozen=True, slots=True)
class Activity:
    """The newest entries of the viewer's account, and the log-in before the current session.

    `product_events` has the texts of the events of the product, which describe its entries.
    """

    entries: list[OwnEntry]
    previous_login: PreviousLogin | None
    product_events: Mapping[str, EventTexts]


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers for administrators. `…_before` is the same number a week ago.

    `week` counts the sign-ups of the last seven days, `refused` the refused log-ins of the last 24
    hours, `mails` the mails that wait to be sent. `new_sessions` are the live sessions that started
    in the last seven days, because the number a week ago is not known. `login_at` and
    `login_browser` describe the administrator's own log-in before the current session, if it is in
    the audit log.
    """

    users: int
    users_before: int
    sessions: int
    new_sessions: int
    week: int
    week_before: int
    refused: int
    refused_before: int
    mails: int
    login_at: datetime | None
    login_browser: str | None


@dataclass(frozen=True, slots=True)
class DailySignUps:
    """The sign-ups of the day that starts at `start` (UTC).

    `height` is the ratio to the top of the scale, from 0 to 1: see `make_scale`.
    """

    start: datetime
    count: int
    height: float


@dataclass(frozen=True, slots=True)
class LatestEvents:
    """The newest refusals and actions of administrators. `product_events`: see Activity."""

    entries: list[AdminEntry]
    product_events: Mapping[str, EventTexts]


def _counts(*counts: int) -> tuple[int, ...]:
    return counts


def _previous_login(*columns: Any) -> Any:
    """Selects columns of the entry of the viewer's last log-in before the current session.

    It reads the index of `actor_id` from its newest entry on, up to that of the log-in.
    """
    return (
        select(*columns)
        .where(
            audit.c.actor_id == bindparam("user_id"),
            is_one_of(audit.c.event, LOGIN_EVENTS),
            audit.c.outcome == "done",
            audit.c.at < bindparam("logged_in_at", type_=Instant),
        )
        .order_by(audit.c.number.desc())
        .limit(1)
    )


ACTIVITY = Statement(
    select_own_entries(
        own_numbers(audit.c.target_id).union(
            own_numbers(audit.c.actor_id),
            select(_previous_login(audit.c.number).subquery().c.number),
        )
    )
)
COUNT_USERS = select(func.count()).select_from(users)
_week_ago: Any = bindparam("week_ago", type_=Instant)
_day_ago: Any = bindparam("day_ago", type_=Instant)
_created_in_week = COUNT_USERS.where(users.c.created_at > _week_ago).scalar_subquery()


def _count_entries(events: tuple[str, ...], outcome: str, *conditions: Any) -> Any:
    """Counts entries by the index `audit_event_at` alone."""
    return (
        select(func.count())
        .select_from(audit)
        .where(audit.c.event.in_(events), audit.c.outcome == outcome, *conditions)
        .scalar_subquery()
    )


FIGURES = Statement(
    pick(
        Figures,
        users,
        users=COUNT_USERS.scalar_subquery(),
        # An account exists for at least seven days before it is deleted. The accounts of a week ago
        # are therefore those that are older than that, and those that were deleted since.
        users_before=COUNT_USERS.scalar_subquery()
        - _created_in_week
        + _count_entries(DELETION_EVENTS, "done", audit.c.at > _week_ago),
        sessions=select(func.count()).select_from(sessions).where(is_live()).scalar_subquery(),
        new_sessions=select(func.count())
        .select_from(sessions)
        .where(is_live(), sessions.c.created_at > _week_ago)
        .scalar_subquery(),
        week=_created_in_week,
        week_before=COUNT_USERS.where(
            users.c.created_at > bindparam("two_weeks_ago", type_=Instant),
            users.c.created_at <= _week_ago,
        ).scalar_subquery(),
        refused=_count_entries(("login",), "refused", audit.c.at > _day_ago),
        refused_before=_count_entries(
            ("login",),
            "refused",
            audit.c.at > bindparam("week_and_day_ago", type_=Instant),
            audit.c.at <= _week_ago,
        ),
        mails=select(func.count())
        .select_from(outbox)
        .where(outbox.c.due_at.is_not(None), outbox.c.message_type.in_(sorted(MAIL_TYPES)))
        .scalar_subquery(),
        login_at=_previous_login(audit.c.at).scalar_subquery(),
        login_browser=_previous_login(audit.c.browser).scalar_subquery(),
    )
)
SIGN_UPS = Statement(
    select(
        *(
            func.count(
                case(
                    (
                        users.c.created_at.between(
                            bindparam(f"from_{n}", type_=Instant),
                            bindparam(f"to_{n}", type_=Instant),
                        ),
                        1,
                    )
                )
            )
            for n in range(DAYS)
        )
    )
    .where(users.c.created_at >= bindparam("from_0", type_=Instant))
    .execution_options(into=_counts)
)
_newest = (
    select(audit.c.number)
    .order_by(audit.c.number.desc())
    .limit(bindparam("searched", type_=Integer))
    .subquery()
)
_latest = (
    select(audit.c.number)
    .where(
        audit.c.number.in_(select(_newest.c.number)),
        or_(
            audit.c.outcome == "refused",
            audit.c.actor_type == "operator",
            and_(
                has_actor_type("user"),
                audit.c.actor_id != audit.c.target_id,
            ),
        ),
    )
    .order_by(audit.c.number.desc())
    .limit(RECENT_COUNT)
    .subquery()
)
LATEST_EVENTS = Statement(select_admin_entries(select(_latest.c.number)))


async def get_activity(viewer: Viewer, state: SecurityState) -> Activity:
    """Returns the newest entries of the viewer's account, and the previous log-in."""
    found = await viewer.store.all(
        ACTIVITY(user_id=viewer.id, max_entries=RECENT_COUNT, logged_in_at=viewer.logged_in_at)
    )
    previous = None
    for entry in found:
        if (
            entry.event in LOGIN_EVENTS
            and not entry.refused
            and entry.is_own
            and entry.at < viewer.logged_in_at
        ):
            previous = PreviousLogin(entry.at, entry.browser)
            break
    return Activity(
        found[:RECENT_COUNT],
        previous or _recorded_login(viewer, state),
        viewer.store.product.events,
    )


def _recorded_login(viewer: Viewer, state: SecurityState) -> PreviousLogin | None:
    """Returns the previous log-in by the user's row, if the audit log no longer has its entry."""
    at = state.previous_login_at
    return PreviousLogin(at, "") if at is not None and at < viewer.logged_in_at else None


async def get_figures(admin: Admin) -> Figures:
    now, day, week = admin.store.now(), timedelta(days=1), timedelta(days=7)
    figures: Figures | None = await admin.store.one(
        FIGURES(
            now=now,
            day_ago=now - day,
            week_ago=now - week,
            week_and_day_ago=now - week - day,
            two_weeks_ago=now - 2 * week,
            user_id=admin.id,
            logged_in_at=admin.logged_in_at,
        )
    )
    if figures is None:
        raise NotLoggedIn(ended=True)
    return figures


def get_previous_login(
    admin: Admin, state: SecurityState, figures: Figures
) -> PreviousLogin | None:
    """Returns the administrator's own log-in before the current session."""
    if figures.login_at is None:
        return _recorded_login(admin, state)
    return PreviousLogin(figures.login_at, known_description(figures.login_browser or ""))


async def count_sign_ups_by_day(admin: Admin) -> list[DailySignUps]:
    """Returns the number of sign-ups of each of the last 14 days, today last."""
    today = admin.store.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [today - timedelta(days=DAYS - 1 - n) for n in range(DAYS)]
    bounds = {f"from_{n}": start for n, start in enumerate(starts)}
    bounds |= {
        f"to_{n}": start + timedelta(days=1, microseconds=-1) for n, start in enumerate(starts)
    }
    counts = await admin.store.one(SIGN_UPS(**bounds)) or ()
    (top, *_) = make_scale(max(counts, default=0))
    return [
        DailySignUps(start, count, count / top) for start, count in zip(starts, counts, strict=True)
    ]


def make_scale(largest: int) -> tuple[int, ...]:
    """Returns two to four round numbers at equal distances for the axis of a chart.

    The first is the largest, and is at least `largest`.
    """
    step = 1
    while step * 4 < largest:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    count = max(2, -(-largest // step))
    return tuple(step * number for number in range(count, 0, -1))


async def list_latest_events(admin: Admin) -> LatestEvents:
    """Returns the newest refusals and actions of administrators and of the operator.

    Searches the newest entries of the audit log only, so that the time does not grow with the log.
    """
    found = await admin.store.all(LATEST_EVENTS(searched=SEARCHED_ENTRIES))
    return LatestEvents(found, admin.store.product.events)
