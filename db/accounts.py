"""The creation and the changes of accounts that sign-up, administrators and the operator have in
common.

Only `db.access` calls these functions, inside its transactions; its functions check who may call
them.
"""

import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Text, bindparam, case, delete, exists, func, literal, or_, select, update

from db.admin_changes import Detail, open_change
from db.audit import log as audit_log
from db.audit.events import Event
from db.audit.log import OPERATOR, viewer_actor
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Statement, insert_if
from db.errors import (
    AccountNotCreated,
    LastAdmin,
    LinkInvalid,
    NotFound,
    StateChanged,
    UnknownRole,
)
from db.mail.outbox import delete_unsent
from db.mail.tokens import IS_RESERVED, consume_token
from db.rate_limits import limiter
from db.rate_limits.limits import LOGIN_ACCOUNT, LOGIN_CLIENT_ACCOUNT
from db.sessions.lifecycle import end_all_sessions
from db.store import Store, pick
from db.tables import Instant, invitations, roles, users
from db.user_search import search_key
from db.viewer import Admin, Operator, Role

SLUG_LENGTH: Final = 40
MAX_SLUG_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class UserState:
    """The columns of a user that administrators may change."""

    role: Role
    team: str
    disabled_at: datetime | None
    delete_at: datetime | None


@dataclass(frozen=True, slots=True)
class Recipient:
    """An account as the recipient of a mail. `verified` says whether its email is confirmed."""

    id: str
    verified: bool
    disabled: bool


_other = users.alias("other")
# An administrator whose account is about to be deleted does not count, nor one who has joined by a
# copied link and could not log in yet: pruning may delete that account.
NOT_THE_LAST_ADMIN = or_(
    users.c.role != "admin",
    users.c.disabled_at.is_not(None),
    exists().where(
        _other.c.role == "admin",
        _other.c.disabled_at.is_(None),
        _other.c.delete_at.is_(None),
        or_(_other.c.verified_at.is_not(None), _other.c.last_login_at.is_not(None)),
        _other.c.id != users.c.id,
    ),
)
EMAIL_EXISTS = Statement(
    select(literal(1)).where(or_(exists().where(users.c.email == bindparam("email")), IS_RESERVED))
)
_NEW_USER: Final = {
    "id": "user_id",
    "email": "email",
    "name": "name",
    "search_key": "search_key",
    "slug": "slug",
    "role": "role",
    "team": "team",
    "password_hash": "password_hash",
    "password_changed_at": "password_changed_at",
    "created_at": "now",
    "last_login_at": "last_login_at",
    "verified_at": "verified_at",
    "browser_language": "browser_language",
}
INSERT_USER = Statement(
    insert_if(users, _NEW_USER, ~IS_RESERVED).on_conflict_do_nothing().returning(users.c.id)
)
FIND_RECIPIENT = Statement(
    pick(
        Recipient,
        users,
        verified=users.c.verified_at.is_not(None),
        disabled=users.c.disabled_at.is_not(None),
    ).where(users.c.email == bindparam("email"))
)
FIND_USER_ID = Statement(select(users.c.id).where(users.c.email == bindparam("email")))
USER_EXISTS = Statement(select(users.c.id).where(users.c.id == bindparam("user_id")))
USER_STATE = Statement(
    pick(UserState, users).where(users.c.id == bindparam("user_id")).with_for_update()
)
# FOR KEY SHARE excludes DELETE until the transaction ends, but not the UPDATE of the label.
LOCK_ROLE = Statement(
    select(roles.c.label)
    .where(roles.c.name == bindparam("name"))
    .with_for_update(read=True, key_share=True)
)
CHANGE_ROLE = Statement(
    update(users)
    .where(
        users.c.id == bindparam("user_id"),
        or_(literal("admin") == bindparam("new_role"), NOT_THE_LAST_ADMIN),
    )
    .values(role=bindparam("new_role"))
    .returning(users.c.id)
)
DISABLE = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), NOT_THE_LAST_ADMIN)
    .values(disabled_at=bindparam("now", type_=Instant))
    .returning(users.c.id)
)
DELETE_INVITATIONS_BY = Statement(
    delete(invitations)
    .where(invitations.c.invited_by == bindparam("user_id"))
    .returning(invitations.c.id)
)
CONFIRM_EMAIL = Statement(
    update(users)
    .where(
        users.c.id == bindparam("user_id"),
        users.c.email == bindparam("token_email"),
        users.c.disabled_at.is_(None),
    )
    .values(verified_at=func.coalesce(users.c.verified_at, bindparam("now", type_=Instant)))
    .returning(users.c.id)
)
_now = bindparam("now", type_=Instant)
_browser_language = bindparam("browser_language", type_=Text)
# The columns that every log-in changes.
LOGIN_VALUES: Final = {
    "previous_login_at": users.c.last_login_at,
    # Keeps the later of the two times, since the clock of another host may be ahead.
    "last_login_at": case((users.c.last_login_at > _now, users.c.last_login_at), else_=_now),
    "browser_language": case(
        (_browser_language == "", users.c.browser_language), else_=_browser_language
    ),
}
SET_PASSWORD = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(
        password_hash=bindparam("password_hash"),
        password_changed_at=bindparam("now", type_=Instant),
    )
    .returning(users.c.email)
)


async def email_exists(store: Store, email: str, *, for_user_id: str = "") -> bool:
    """Returns whether an account has the email, or had it and may get it back.

    `for_user_id` is the account that asks, which may have its own former email again.
    """
    statement = EMAIL_EXISTS(email=email, now=store.now(), user_id=for_user_id)
    return await store.value(statement) is not None


async def find_user_id(store: Store, email: str) -> str | None:
    """Returns the id of the account with this email, or None."""
    found = await store.value(FIND_USER_ID(email=email))
    return None if found is None else str(found)


async def find_recipient(store: Store, email: str) -> Recipient | None:
    """Returns the account with this email, or None."""
    return await store.one(FIND_RECIPIENT(email=email))


async def insert_user(
    store: Store,
    name: str,
    email: str,
    password_hash: Secret[str],
    *,
    user_id: str = "",
    role: Role = "user",
    team: str = "",
    logs_in: bool = False,
    verified: bool = False,
    has_random_slug: bool = False,
    browser_language: str = "",
) -> str | None:
    """Inserts a user and returns the id; None if the email exists, by the UNIQUE index.

    `user_id` is the id to use, by default a new one. `logs_in` also sets the time of the last
    log-in, `verified` that of the confirmation. With `has_random_slug`, nobody can tell from the
    name which slug is taken now. Raises AccountNotCreated if no free slug was found.
    """
    slug, now = make_slug(name), store.now()
    for attempt in range(MAX_SLUG_ATTEMPTS):
        is_random = has_random_slug or attempt > 0 or not slug
        inserted = await store.value(
            INSERT_USER(
                user_id=user_id or store.token(16),
                email=email,
                name=name,
                search_key=search_key(name, email),
                slug=add_random_suffix(store, slug or "user") if is_random else slug,
                role=role,
                team=team,
                password_hash=password_hash.reveal(),
                password_changed_at=None if password_hash.reveal() == LOCKED_HASH else now,
                now=now,
                last_login_at=now if logs_in else None,
                verified_at=now if verified else None,
                browser_language=browser_language,
            )
        )
        if inserted is not None:
            return str(inserted)
        if await email_exists(store, email):
            return None
    raise AccountNotCreated


async def get_user_state(store: Store, user_id: str) -> UserState:
    """Returns the columns that administrators may change, and locks the row.

    The lock lasts until the transaction ends. Raises NotFound.
    """
    state: UserState | None = await store.one(USER_STATE(user_id=user_id))
    if state is None:
        raise NotFound
    return state


@asynccontextmanager
async def change_user(
    caller: Admin | Operator, event: Event, user_id: str
) -> AsyncIterator[Detail]:
    """Opens the transaction in which an administrator or the operator changes a user, and writes
    the audit entry at its end.

    The block fills in the entry's detail, as that of `open_change` does. Raises NotLoggedIn,
    Forbidden and LastAdmin; the last two write an audit entry of their own.
    """
    try:
        async with open_change(caller, event, user_id=user_id) as detail:
            yield detail
    except LastAdmin:
        actor = viewer_actor(caller) if isinstance(caller, Admin) else OPERATOR
        async with caller.store.transaction():
            await audit_log.record(caller.store, event, actor, target_id=user_id, outcome="refused")
        raise


async def set_role(
    caller: Admin | Operator, user_id: str, role: Role, *, expected: str | None = None
) -> Role:
    """Changes a user's role from the user's next request on, without ending the user's sessions.

    Returns the role before. Raises NotFound, UnknownRole, LastAdmin, StateChanged if the user does
    not have the expected role, and the errors of `change_user`.
    """
    async with change_user(caller, "role.change", user_id) as detail:
        before = await get_user_state(caller.store, user_id)
        require_state(before.role, expected)
        await require_role(caller.store, role)
        if await caller.store.value(CHANGE_ROLE(user_id=user_id, new_role=role)) is None:
            raise LastAdmin
        if before.role != role:
            detail |= {"from": before.role, "to": role}
    return before.role


def require_state(present: str, expected: str | None) -> None:
    """Raises StateChanged if a value is not the expected one; None expects nothing.

    The row must be locked, so that the value stays the same until the transaction ends.
    """
    if expected is not None and expected != present:
        raise StateChanged


def require_disabled_at(before: UserState, expected: str | None) -> None:
    """Raises StateChanged if the account was not disabled at the expected time (RFC 3339).

    An empty string expects an account that is not disabled, and None expects nothing. An account
    that is about to be deleted is in neither of the expected states.
    """
    if expected is not None and before.delete_at is not None:
        raise StateChanged
    require_state(before.disabled_at.isoformat() if before.disabled_at else "", expected)


async def require_role(store: Store, role: Role) -> None:
    """Raises UnknownRole if the role does not exist.

    Locks its row against DELETE until the transaction ends.
    """
    if await store.value(LOCK_ROLE(name=role)) is None:
        raise UnknownRole


async def disable_user(
    caller: Admin | Operator, user_id: str, *, expected: str | None = None
) -> None:
    """Disables an account and ends its sessions; the user can no longer log in.

    `expected` is described at `require_disabled_at`. Raises NotFound, LastAdmin, StateChanged, and
    the errors of `change_user`.
    """
    async with change_user(caller, "account.disable", user_id) as detail:
        require_disabled_at(await get_user_state(caller.store, user_id), expected)
        detail["ended"] = await disable_within(caller.store, user_id)


async def disable_within(store: Store, user_id: str) -> int:
    """Disables an account, ends its sessions and invitations, and returns how many sessions had a
    row.

    Must run inside the transaction of `change_user`. Raises LastAdmin.
    """
    if await store.value(DISABLE(user_id=user_id, now=store.now())) is None:
        raise LastAdmin
    await withdraw_invitations(store, user_id)
    return await end_all_sessions(store, user_id)


async def withdraw_invitations(store: Store, user_id: str) -> None:
    """Ends the open invitations that the user has sent, and their mails that were not sent yet.

    Otherwise an intruder could come back by an invitation, with the role of an administrator. Must
    run inside a transaction that has locked the user.
    """
    for (invitation_id,) in await store.all(DELETE_INVITATIONS_BY(user_id=user_id)):
        await delete_unsent(store, invitation_id, ["invite"])


async def set_password_hash(store: Store, user_id: str, password_hash: Secret[str]) -> int:
    """Replaces the password hash, ends every session of the account and returns how many rows there
    were.

    Resets the account's log-in limits, since earlier guesses were for the old password. Raises
    NotFound.
    """
    email = await store.value(
        SET_PASSWORD(user_id=user_id, password_hash=password_hash.reveal(), now=store.now())
    )
    if email is None:
        raise NotFound
    return await end_access_after_reset(store, user_id, str(email))


async def end_access_after_reset(store: Store, user_id: str, email: str) -> int:
    """Ends every session and known browser of an account, and resets its log-in limits.

    Returns how many sessions had a row.
    """
    await limiter.reset_buckets(store, (LOGIN_ACCOUNT, email), (LOGIN_CLIENT_ACCOUNT, email))
    return await end_all_sessions(store, user_id)


async def confirm_email(store: Store, user_id: str, token: Secret[str]) -> None:
    """Consumes the `verify` token of this account and confirms the email.

    Must run inside a transaction that has locked the user. Raises LinkInvalid.
    """
    consumed = await consume_token(store, "verify", token, user_id)
    confirm = CONFIRM_EMAIL(user_id=user_id, token_email=consumed.email, now=store.now())
    if await store.value(confirm) is None:
        raise LinkInvalid("verify")


def make_slug(name: str) -> str:
    """Returns a slug of 2 to 40 characters (a–z, 0–9 and `-`) made from a name.

    Returns an empty string if the name has fewer than two of these characters.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:SLUG_LENGTH].strip("-")
    return slug if len(slug) >= 2 else ""


def add_random_suffix(store: Store, slug: str) -> str:
    """Returns the slug with a random suffix, for a slug that is taken."""
    suffix = re.sub(r"[^a-z0-9]", "", store.token(12).lower())[:6]
    return f"{slug[: SLUG_LENGTH - 7]}-{suffix}"
