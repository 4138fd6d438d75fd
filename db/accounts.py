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

from sqlalchemy import bindparam, exists, func, literal, or_, select, update

from db.audit import log as audit
from db.audit.events import Event
from db.audit.log import OPERATOR, by_viewer
from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.errors import Forbidden, LastAdmin, NotCreated, NotFound
from db.rate_limits import limiter as throttle
from db.rate_limits.limits import DENIED, LOGIN_ACCOUNT, LOGIN_CLIENT_ACCOUNT
from db.sessions.lifecycle import end_all_sessions, require_right
from db.store import Store, pick
from db.tables import Instant, users
from db.user_search import search_key
from db.viewer import Admin, Operator, Role

SLUG_LENGTH: Final = 40
TRIES: Final = 3
ADMINS: Final = 7_411_001  # the key of the PostgreSQL advisory lock
Detail = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Standing:
    """The columns of a user that administrators may change."""

    role: Role
    team: str
    disabled_at: datetime | None


_other = users.alias("other")
NOT_THE_LAST_ADMIN = or_(
    users.c.role != "admin",
    users.c.disabled_at.is_not(None),
    exists().where(
        _other.c.role == "admin", _other.c.disabled_at.is_(None), _other.c.id != users.c.id
    ),
)
EMAIL_TAKEN = Statement(
    select(literal(1)).where(exists().where(users.c.email == bindparam("email")))
)
ADD = Statement(
    insert(users)
    .values(
        id=bindparam("id"),
        email=bindparam("email"),
        name=bindparam("name"),
        search_key=bindparam("search_key"),
        slug=bindparam("slug"),
        role=bindparam("role"),
        password_hash=bindparam("password_hash"),
        created_at=bindparam("now", type_=Instant),
        last_login_at=bindparam("last_login_at", type_=Instant),
    )
    .on_conflict_do_nothing()
    .returning(users.c.id)
)
OWNER = Statement(select(users.c.id).where(users.c.email == bindparam("email")))
EXISTS = Statement(select(users.c.id).where(users.c.id == bindparam("user_id")))
STANDING = Statement(
    pick(Standing, users).where(users.c.id == bindparam("user_id")).with_for_update()
)
# PostgreSQL holds it until the transaction ends. SQLite needs no lock, since it has one writer.
TURN = Statement(select(func.pg_advisory_xact_lock(ADMINS)))
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
SET_PASSWORD = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(password_hash=bindparam("password_hash"))
    .returning(users.c.email)
)


async def email_taken(store: Store, email: str) -> bool:
    return await store.value(EMAIL_TAKEN(email=email)) is not None


async def find_owner(store: Store, email: str) -> str | None:
    """Returns the id of the account with this email, or None."""
    found = await store.value(OWNER(email=email))
    return None if found is None else str(found)


async def add(
    store: Store,
    name: str,
    email: str,
    password_hash: Secret[str],
    *,
    role: Role = "user",
    logs_in: bool = False,
) -> str | None:
    """Inserts a user and returns the id; None if the email exists, by the UNIQUE index.

    `logs_in` also sets the time of the last log-in. Raises AccountNotCreated if no free slug was
    found.
    """
    slug = make_slug(name)
    for attempt in range(TRIES):
        user_id = await store.value(
            ADD(
                id=store.token(16),
                email=email,
                name=name,
                search_key=search_key(name, email),
                slug=_with_tail(store, slug or "member") if attempt or not slug else slug,
                role=role,
                password_hash=password_hash.reveal(),
                now=store.now(),
                last_login_at=store.now() if logs_in else None,
            )
        )
        if user_id is not None:
            return str(user_id)
        if await email_taken(store, email):
            return None
    raise NotCreated


async def get_standing(store: Store, user_id: str) -> Standing:
    """Returns what administrators may change of a user, and locks the row until the transaction
    ends.

    Raises NotFound.
    """
    standing: Standing | None = await store.one(STANDING(user_id=user_id))
    if standing is None:
        raise NotFound
    return standing


@asynccontextmanager
async def change(actor: Admin | Operator, event: Event, user_id: str) -> AsyncIterator[Detail]:
    """Opens the transaction in which an administrator or the operator changes a user, and writes
    the audit entry at its end.

    The caller fills in the entry's detail; an empty detail means that nothing has changed, and no
    entry is written. An advisory lock serializes all changes. Raises NotLoggedIn, Forbidden and
    LastAdmin; the last two write an audit entry of their own.
    """
    store, by, detail = (
        actor.store,
        by_viewer(actor) if isinstance(actor, Admin) else OPERATOR,
        Detail(),
    )
    try:
        async with store.transaction():
            await store.value(TURN())
            if isinstance(actor, Admin):
                await require_right(actor, user_id)
            yield detail
            if detail:
                await audit.record(store, event, by, detail, target_id=user_id)
    except Forbidden:
        await throttle.record_seldom(store, by, "admin", DENIED, str(by.user_id))
        raise
    except LastAdmin:
        async with store.transaction():
            await audit.record(store, event, by, target_id=user_id, outcome="refused")
        raise


async def change_role(actor: Admin | Operator, user_id: str, role: Role) -> None:
    """Changes a user's role from the user's next request on, without ending the user's sessions.

    Raises NotFound, LastAdmin, and the errors of `change_user`.
    """
    async with change(actor, "role.change", user_id) as detail:
        before = await get_standing(actor.store, user_id)
        if await actor.store.value(CHANGE_ROLE(user_id=user_id, new_role=role)) is None:
            raise LastAdmin
        if before.role != role:
            detail |= {"from": before.role, "to": role}


async def disable(admin: Admin, user_id: str) -> None:
    """Disables an account and ends its sessions; the user can no longer log in.

    Raises NotFound, LastAdmin, and the errors of `change_user`.
    """
    async with change(admin, "account.disable", user_id) as detail:
        await get_standing(admin.store, user_id)
        if await admin.store.value(DISABLE(user_id=user_id, now=admin.store.now())) is None:
            raise LastAdmin
        detail["ended"] = await end_all_sessions(admin.store, user_id)


async def set_password(store: Store, user_id: str, password_hash: Secret[str]) -> int:
    """Replaces the password hash, ends every session of the account and returns how many rows there
    were.

    Resets the account's log-in limits, since earlier guesses were for the old password. Raises
    NotFound.
    """
    email = await store.value(SET_PASSWORD(user_id=user_id, password_hash=password_hash.reveal()))
    if email is None:
        raise NotFound
    await throttle.clear(store, (LOGIN_ACCOUNT, email), (LOGIN_CLIENT_ACCOUNT, email))
    return await end_all_sessions(store, user_id)


def make_slug(name: str) -> str:
    """Returns a slug of 2 to 40 characters (a–z, 0–9 and `-`) made from a name.

    Returns an empty string if the name has fewer than two of these characters.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:SLUG_LENGTH].strip("-")
    return slug if len(slug) >= 2 else ""


def _with_tail(store: Store, slug: str) -> str:
    tail = re.sub(r"[^a-z0-9]", "", store.token(12).lower())[:6]
    return f"{slug[: SLUG_LENGTH - 7]}-{tail}"
