"""The user administration: searches users, changes roles and teams, disables accounts, ends
sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Text, and_, bindparam, func, or_, select, update

from db import accounts, deletions, roles
from db.audit.log import viewer_actor
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import NotFound
from db.mail.outbox import post
from db.messages import Message, UserText
from db.rate_limits import limiter
from db.rate_limits.limits import ADMIN_CHANGE, ADMIN_DAY
from db.role_names import label_of
from db.roles import role_label
from db.sessions.lifecycle import end_all_sessions
from db.sessions.sudo import Sudo
from db.store import pick
from db.tables import is_live, sessions, users
from db.user_search import SEARCH_KEY, matches, search_pattern
from db.viewer import Admin, Role

PAGE_SIZE: Final = 25


@dataclass(frozen=True, slots=True)
class UserSummary:
    """An account as an administrator sees it.

    `has_factor` says whether the account has a second step, which an administrator need not know
    in detail. `session_count` counts live session rows, so it is 0 with the stateless strategy.
    """

    id: str
    name: str
    email: str
    role: Role
    role_label: str
    slug: str
    team: str
    disabled: bool
    verified: bool
    has_factor: bool
    created_at: datetime
    last_login_at: datetime | None
    disabled_at: datetime | None
    delete_at: datetime | None
    session_count: int

    @property
    def role_title(self) -> Message | UserText:
        """The label of the role for pages, which translate that of a built-in role."""
        return label_of(self.role, self.role_label)


@dataclass(frozen=True, slots=True)
class UserPage:
    """One page of a search.

    `total` counts all results. `page` starts at 1 and is never above `pages`.
    """

    users: list[UserSummary]
    total: int
    page: int
    pages: int


def _select_summaries() -> Select[UserSummary]:
    live = (
        select(func.count())
        .select_from(sessions)
        .where(
            sessions.c.user_id == users.c.id,
            is_live(),
        )
    )
    return pick(
        UserSummary,
        users,
        role_label=role_label(),
        disabled=users.c.disabled_at.is_not(None),
        verified=users.c.verified_at.is_not(None),
        session_count=live.correlate(users).scalar_subquery(),
    )


_role, _state = bindparam("role", type_=Text), bindparam("state", type_=Text)
# An account may have several states: a deletion by an administrator disables the account too.
STATES: Final[Mapping[str, ColumnElement[bool]]] = {
    "active": and_(users.c.disabled_at.is_(None), users.c.delete_at.is_(None)),
    "disabled": users.c.disabled_at.is_not(None),
    "deleting": users.c.delete_at.is_not(None),
    "unconfirmed": users.c.verified_at.is_(None),
}
IS_FOUND: Final = and_(
    matches(bindparam("pattern")),
    or_(_role == "", users.c.role == _role),
    or_(_state == "", *[and_(_state == name, has_it) for name, has_it in STATES.items()]),
)


def _search(*order: ColumnElement[Any]) -> Statement[UserSummary]:
    """Returns the statement for one page in this order.

    The page is selected first. SQLite would otherwise count the sessions of every user found.
    """
    page = (
        select(users.c.id)
        .where(IS_FOUND)
        .order_by(*order)
        .limit(bindparam("limit"))
        .offset(bindparam("offset"))
        .subquery()
    )
    summaries = _select_summaries().where(users.c.id.in_(select(page.c.id)))
    return Statement(summaries.order_by(*order))


_last_login = users.c.last_login_at
SEARCHES: Final[Mapping[str, Statement[UserSummary]]] = {
    "newest": _search(users.c.created_at.desc(), users.c.id),
    "oldest": _search(users.c.created_at, users.c.id),
    "name": _search(SEARCH_KEY, users.c.id),
    "-name": _search(SEARCH_KEY.desc(), users.c.id),
    "email": _search(users.c.email),
    "-email": _search(users.c.email.desc()),
    "login": _search(_last_login.desc().nulls_last(), users.c.id),
    "-login": _search(_last_login.asc().nulls_first(), users.c.id),
}
USER = Statement(_select_summaries().where(users.c.id == bindparam("user_id")))
COUNT_MATCHES = Statement(select(func.count()).select_from(users).where(IS_FOUND))
CHANGE_TEAM = Statement(
    update(users).where(users.c.id == bindparam("user_id")).values(team=bindparam("new_team"))
)


async def search_users(
    admin: Admin,
    *,
    q: str = "",
    role: str = "",
    state: str = "",
    sort: str = "newest",
    page: int = 1,
) -> UserPage:
    """Returns the users whose name or email contains `q`.

    `role` and `state`, a key of STATES, select some of them; an empty string selects all. `sort` is
    a key of SEARCHES. `page` is reduced to the last page if it is too large.
    """
    filters = {"pattern": search_pattern(q), "role": role, "state": state}
    total = int(await admin.store.value(COUNT_MATCHES(**filters)))
    pages = max(1, -(-total // PAGE_SIZE))
    page = min(max(1, page), pages)
    found = SEARCHES[sort](
        **filters, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE, now=admin.store.now()
    )
    return UserPage(await admin.store.all(found), total, page, pages)


async def get_user(admin: Admin, user_id: str) -> UserSummary:
    """Returns one account. Raises NotFound."""
    user: UserSummary | None = await admin.store.one(USER(user_id=user_id, now=admin.store.now()))
    if user is None:
        raise NotFound
    return user


async def list_role_labels(admin: Admin) -> dict[Role, Message | UserText]:
    """Returns the label of every role by its name."""
    return await roles.list_role_labels(admin.store)


async def change_user_role(
    sudo: Sudo[Admin], user_id: str, role: Role, *, expected: str | None = None
) -> Role:
    """Changes a user's role from the user's next request on, and returns the role before.

    Raises NotFound, UnknownRole, LastAdmin, RateLimited, StateChanged if the user does not have the
    expected role, and the errors of `accounts.change_user`.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    return await accounts.set_role(admin, user_id, role, expected=expected)


async def require_user(admin: Admin, user_id: str) -> None:
    """Raises NotFound if the user does not exist."""
    if await admin.store.value(accounts.USER_EXISTS(user_id=user_id)) is None:
        raise NotFound


async def change_team(
    sudo: Sudo[Admin], user_id: str, team: str | None, *, expected: str | None = None
) -> str:
    """Changes a user's team, and returns the team before.

    An empty string removes the user from the team, and None keeps it. Raises NotFound, RateLimited,
    StateChanged if the user is not in the expected team, and the errors of `accounts.change_user`.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    async with accounts.change_user(admin, "team.change", user_id) as detail:
        before = await accounts.get_user_state(admin.store, user_id)
        accounts.require_state(before.team, expected)
        if team is not None and team != before.team:
            await admin.store.count(CHANGE_TEAM(user_id=user_id, new_team=team))
            detail |= {"from": before.team, "to": team}
    return before.team


async def disable(sudo: Sudo[Admin], user_id: str, *, expected: str | None = None) -> None:
    """Disables an account and ends its sessions.

    `expected` is described at `accounts.require_disabled_at`. Raises NotFound, LastAdmin,
    RateLimited, StateChanged, and the errors of `accounts.change_user`.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    await accounts.disable_user(admin, user_id, expected=expected)


async def add_user(
    sudo: Sudo[Admin], *, name: str, email: str, role: Role, team: str
) -> str | None:
    """Creates an account and returns its id; None if an account has the email.

    It has no password: a mail tells its user how to choose one. The email counts as confirmed, as
    for accounts that the operator creates. Raises UnknownRole, RateLimited and the errors of
    `accounts.change_user`.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    store, user_id = admin.store, admin.store.token(16)
    async with accounts.change_user(admin, "account.create", user_id) as detail:
        await accounts.require_role(store, role)
        inserted = await accounts.insert_user(
            store,
            name,
            email,
            Secret(LOCKED_HASH),
            user_id=user_id,
            role=role,
            team=team,
            verified=True,
        )
        if inserted is None:
            return None
        await post(store, "added", user_id=user_id, recipient=email)
        detail["role"] = role
    return user_id


async def delete(sudo: Sudo[Admin], user_id: str) -> None:
    """Disables an account, ends its sessions, and schedules its deletion in seven days.

    Its user cannot undo that, but administrators can. Raises NotFound, LastAdmin, RateLimited, and
    the errors of `accounts.change_user`.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    await deletions.close_account(admin, user_id)


async def keep(admin: Admin, user_id: str) -> None:
    """Keeps an account that was about to be deleted. A disabled account stays disabled.

    Raises NotFound, RateLimited, and the errors of `accounts.change_user`.
    """
    await _take_tokens(admin)
    async with accounts.change_user(admin, "account.keep", user_id) as detail:
        await accounts.get_user_state(admin.store, user_id)
        if await deletions.cancel_deletion(admin.store, user_id):
            detail["kept"] = "yes"


async def enable(sudo: Sudo[Admin], user_id: str, *, expected: str | None = None) -> bool:
    """Enables an account, so that its user can log in again, and keeps it if it was about to be
    deleted.

    Returns whether it was only disabled before, so that `disable` reverts the change. `expected` is
    described at `accounts.require_disabled_at`. Raises NotFound, RateLimited, StateChanged, and the
    errors of `accounts.change_user`.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    before = await deletions.enable_account(admin, user_id, expected=expected)
    return before.disabled_at is not None and before.delete_at is None


async def end_sessions(admin: Admin, user_id: str) -> int:
    """Ends every session of a user and returns how many rows there were.

    Raises NotFound, RateLimited, and the errors of `accounts.change_user`.
    """
    await _take_tokens(admin)
    async with accounts.change_user(admin, "session.end-all", user_id) as detail:
        await accounts.get_user_state(admin.store, user_id)
        ended = await end_all_sessions(admin.store, user_id)
        detail["ended"] = ended
    return ended


async def _take_tokens(admin: Admin) -> None:
    """Raises RateLimited."""
    await limiter.take_tokens(
        admin.store, viewer_actor(admin), (ADMIN_CHANGE, admin.id), (ADMIN_DAY, admin.id)
    )
