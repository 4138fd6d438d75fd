"""The data of the dashboards: the viewer's own profile, and the statistics for administrators."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, case, func, select

from db.access.email_verification import IS_MAIL_REFUSED
from db.engine.statement import Statement
from db.errors import NotLoggedIn
from db.roles import role_label
from db.store import pick
from db.tables import Instant, is_live, sessions, users
from db.viewer import Admin, Viewer

DAYS: Final = 14
RECENT_COUNT: Final = 5


@dataclass(frozen=True, slots=True)
class OwnProfile:
    """The viewer's own profile.

    `previous_login_at` is the log-in before the current one, None at the first. `is_mail_refused`
    is true if the mail server refused the mail with the link that confirms the email. `delete_at`
    is set if the account is about to be deleted.
    """

    name: str
    email: str
    slug: str
    phone: str
    team: str
    role: str
    role_label: str
    created_at: datetime
    delete_at: datetime | None
    previous_login_at: datetime | None
    device_count: int
    is_mail_refused: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of users, live sessions, sign-ups of the last 24 hours, sign-ups of the last
    seven days, and administrators.
    """

    users: int
    sessions: int
    day: int
    week: int
    admins: int


@dataclass(frozen=True, slots=True)
class DailySignUps:
    """The sign-ups of one day (UTC). `height` is the ratio to the busiest day, from 0 to 1."""

    date: date
    count: int
    height: float


@dataclass(frozen=True, slots=True)
class RecentSignUp:
    name: str
    slug: str
    created_at: datetime


def _counts(*counts: int) -> tuple[int, ...]:
    return counts


LIVE_SESSION_COUNT = select(func.count()).select_from(sessions).where(is_live())
COUNT_USERS = select(func.count()).select_from(users)
OWN_SESSIONS = sessions.alias("own_sessions")
# `get_viewer` takes this as its `preload`, so that one statement reads the session and the profile.
PRELOAD = pick(
    OwnProfile,
    users,
    role_label=role_label(),
    is_mail_refused=IS_MAIL_REFUSED,
    device_count=select(func.count())
    .select_from(OWN_SESSIONS)
    .where(
        is_live(OWN_SESSIONS),
        OWN_SESSIONS.c.user_id == users.c.id,
    )
    .correlate(users)
    .scalar_subquery(),
)
OWN_PROFILE = Statement(PRELOAD.where(users.c.id == bindparam("user_id")))
FIGURES = Statement(
    pick(
        Figures,
        users,
        users=COUNT_USERS.scalar_subquery(),
        sessions=LIVE_SESSION_COUNT.scalar_subquery(),
        day=COUNT_USERS.where(
            users.c.created_at > bindparam("day_ago", type_=Instant)
        ).scalar_subquery(),
        week=COUNT_USERS.where(
            users.c.created_at > bindparam("week_ago", type_=Instant)
        ).scalar_subquery(),
        admins=COUNT_USERS.where(users.c.role == "admin").scalar_subquery(),
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
RECENT_SIGN_UPS = Statement(
    pick(RecentSignUp, users).order_by(users.c.created_at.desc(), users.c.id).limit(RECENT_COUNT)
)


async def get_own_profile(viewer: Viewer) -> OwnProfile:
    """Returns the viewer's own profile and the number of their live sessions.

    Raises NotLoggedIn if the user no longer exists.
    """
    if isinstance(viewer.preloaded, OwnProfile):
        return viewer.preloaded
    profile: OwnProfile | None = await viewer.store.one(
        OWN_PROFILE(user_id=viewer.id, now=viewer.store.now())
    )
    if profile is None:
        raise NotLoggedIn(ended=True)
    return profile


def renewal_start(viewer: Viewer) -> datetime | None:
    """Returns the time after which a request renews the session; None if no renewal for its full
    idle lifetime is left.
    """
    lifetime = viewer.store.lifetimes.of(is_remembered=viewer.is_remembered)
    start = viewer.expires_at - lifetime.half_life
    last_renewal = viewer.logged_in_at + lifetime.maximum - lifetime.idle
    return start if start <= last_renewal else None


async def get_figures(admin: Admin) -> Figures:
    now = admin.store.now()
    ago = {"day_ago": now - timedelta(days=1), "week_ago": now - timedelta(days=7)}
    figures = await admin.store.one(FIGURES(now=now, **ago))
    return figures or Figures(0, 0, 0, 0, 0)


async def count_sign_ups_by_day(admin: Admin) -> list[DailySignUps]:
    """Returns the number of sign-ups of each of the last 14 days, today last."""
    today = admin.store.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [today - timedelta(days=DAYS - 1 - n) for n in range(DAYS)]
    bounds = {f"from_{n}": start for n, start in enumerate(starts)}
    bounds |= {
        f"to_{n}": start + timedelta(days=1, microseconds=-1) for n, start in enumerate(starts)
    }
    counts = await admin.store.one(SIGN_UPS(**bounds)) or ()
    busiest = max(*counts, 1)
    return [
        DailySignUps(start.date(), count, count / busiest)
        for start, count in zip(starts, counts, strict=True)
    ]


async def list_recent_sign_ups(admin: Admin) -> list[RecentSignUp]:
    """Returns the users who signed up last, newest first."""
    return await admin.store.all(RECENT_SIGN_UPS())
