"""The import and the export of accounts by the operator."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, select

from db import accounts
from db.audit import log as audit_log
from db.audit.log import OPERATOR
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.mail.tokens import find_reserved_emails
from db.store import Store, pick
from db.tables import roles, users
from db.user_search import search_key
from db.viewer import Operator

# The accounts of one transaction, which takes about 0.1 s: on SQLite, sign-ups wait for it.
BATCH_SIZE: Final = 500
ROWS_PER_INSERT: Final = 100
LOOK_UP_SIZE: Final = 500
EXPORT_SIZE: Final = 1000
MAX_SLUG_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account to import. `line` is its place in the file.

    Without `password_hash`, its user has to choose a password by mail. An empty `slug` is made from
    the name. `verified_at` and `disabled_at` are None if the account is not.
    """

    line: int
    email: str
    name: str
    created_at: datetime
    role: str = "user"
    team: str = ""
    phone: str = ""
    slug: str = ""
    verified_at: datetime | None = None
    disabled_at: datetime | None = None
    password_hash: Secret[str] = field(default=Secret(LOCKED_HASH), repr=False)


@dataclass(frozen=True, slots=True)
class Clashes:
    """The accounts of a file that the database does not accept, by their lines.

    `existing` have an email that an account has, or had and may get back.
    """

    existing: frozenset[int]
    taken_slugs: frozenset[int]
    unknown_roles: frozenset[int]


@dataclass(frozen=True, slots=True)
class ExportedUser:
    """The columns of an account that an export has."""

    id: str
    email: str
    name: str
    role: str
    team: str
    phone: str
    slug: str
    created_at: datetime
    verified_at: datetime | None
    disabled_at: datetime | None
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


@dataclass(frozen=True, slots=True)
class _Row:
    """An account with the values that the program chooses."""

    id: str
    slug: str
    user: NewUser


EMAILS_IN_USE = Statement(
    select(users.c.email).where(users.c.email.in_(bindparam("emails", expanding=True)))
)
SLUGS_IN_USE = Statement(
    select(users.c.slug).where(users.c.slug.in_(bindparam("slugs", expanding=True)))
)
ROLE_NAMES = Statement(select(roles.c.name))
EXPORTED_USERS = Statement(
    pick(ExportedUser, users)
    .where(users.c.id > bindparam("after"))
    .order_by(users.c.id)
    .limit(EXPORT_SIZE)
)
COLUMNS: Final = (
    "id",
    "email",
    "name",
    "search_key",
    "slug",
    "phone",
    "team",
    "role",
    "password_hash",
    "created_at",
    "verified_at",
    "disabled_at",
)


def _insert_of(count: int) -> Statement[str]:
    """Returns a statement that inserts rows, and returns the emails of those without a clash."""
    rows = [
        {name: bindparam(f"{name}_{n}", type_=users.c[name].type) for name in COLUMNS}
        for n in range(count)
    ]
    inserted = insert(users).values(rows).on_conflict_do_nothing().returning(users.c.email)
    return Statement(inserted.execution_options(into=str))


INSERT_MANY = _insert_of(ROWS_PER_INSERT)
INSERT_ONE = _insert_of(1)


async def find_clashes(operator: Operator, new_users: Sequence[NewUser]) -> Clashes:
    """Returns which accounts the database does not accept. Changes nothing."""
    store = operator.store
    existing: set[str] = set()
    taken: set[str] = set()
    for chunk in _chunks(new_users, LOOK_UP_SIZE):
        existing |= await _find_emails_in_use(store, chunk)
        taken |= await _find_slugs_in_use(store, [user.slug for user in chunk if user.slug])
    known_roles = {name for (name,) in await store.all(ROLE_NAMES())}
    return Clashes(
        _lines(new_users, lambda user: user.email in existing),
        # An account that exists is reported for its email only.
        _lines(new_users, lambda user: user.slug in taken and user.email not in existing),
        _lines(new_users, lambda user: user.role not in known_roles),
    )


async def import_users(operator: Operator, new_users: Sequence[NewUser]) -> int:
    """Inserts the accounts in transactions of BATCH_SIZE, and returns how many were inserted.

    Leaves out an account whose email is in use by now. Each transaction writes one audit entry with
    the number of its accounts: an entry for each account would push older entries out of the log.
    """
    store, total = operator.store, 0
    for batch in _chunks(new_users, BATCH_SIZE):
        async with store.transaction():
            count = await _insert_batch(store, batch)
            if count:
                await audit_log.record(store, "account.import", OPERATOR, {"count": count})
        total += count
    return total


async def export_users(operator: Operator) -> AsyncIterator[ExportedUser]:
    """Yields every account, in the order of the ids."""
    store, after = operator.store, ""
    while found := await store.all(EXPORTED_USERS(after=after)):
        for user in found:
            yield user
        after = found[-1].id


async def _insert_batch(store: Store, batch: Sequence[NewUser]) -> int:
    in_use = await _find_emails_in_use(store, batch)
    new = [user for user in batch if user.email not in in_use]
    rows = await _choose_slugs(store, new)
    inserted: set[str] = set()
    for chunk in _chunks(rows, ROWS_PER_INSERT):
        if len(chunk) == ROWS_PER_INSERT:
            inserted.update(await store.all(INSERT_MANY(**_values(chunk))))
        else:
            for row in chunk:
                inserted.update(await store.all(INSERT_ONE(**_values([row]))))
    for row in rows:
        # Another process has created an account with this email or slug in the meantime.
        if row.user.email not in inserted and await _insert_with_other_slug(store, row.user):
            inserted.add(row.user.email)
    return len(inserted)


async def _choose_slugs(store: Store, new_users: Sequence[NewUser]) -> list[_Row]:
    """Returns rows with the slugs of the file, or with free ones made from the names."""
    made = {user.email: accounts.make_slug(user.name) for user in new_users if not user.slug}
    used = await _find_slugs_in_use(store, [slug for slug in made.values() if slug])
    used |= {user.slug for user in new_users if user.slug}
    rows = []
    for user in new_users:
        slug = user.slug or made[user.email]
        if not user.slug:
            if not slug or slug in used:
                slug = accounts.add_random_suffix(store, slug or "user")
            used.add(slug)
        rows.append(_Row(store.token(16), slug, user))
    return rows


async def _insert_with_other_slug(store: Store, user: NewUser) -> bool:
    """Inserts an account with a random slug, and returns False if its email is in use."""
    for _ in range(MAX_SLUG_ATTEMPTS):
        if await accounts.email_exists(store, user.email):
            return False
        slug = accounts.add_random_suffix(store, accounts.make_slug(user.name) or "user")
        if await store.all(INSERT_ONE(**_values([_Row(store.token(16), slug, user)]))):
            return True
    return False


async def _find_emails_in_use(store: Store, new_users: Iterable[NewUser]) -> set[str]:
    emails = [user.email for user in new_users]
    in_use = {email for (email,) in await store.all(EMAILS_IN_USE(emails=emails))}
    return in_use | await find_reserved_emails(store, emails)


async def _find_slugs_in_use(store: Store, slugs: Sequence[str]) -> set[str]:
    if not slugs:
        return set()
    return {slug for (slug,) in await store.all(SLUGS_IN_USE(slugs=list(slugs)))}


def _values(rows: Sequence[_Row]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for n, row in enumerate(rows):
        user = row.user
        values |= {
            f"id_{n}": row.id,
            f"email_{n}": user.email,
            f"name_{n}": user.name,
            f"search_key_{n}": search_key(user.name, user.email),
            f"slug_{n}": row.slug,
            f"phone_{n}": user.phone,
            f"team_{n}": user.team,
            f"role_{n}": user.role,
            f"password_hash_{n}": user.password_hash.reveal(),
            f"created_at_{n}": user.created_at,
            f"verified_at_{n}": user.verified_at,
            f"disabled_at_{n}": user.disabled_at,
        }
    return values


def _lines(new_users: Iterable[NewUser], clashes: Callable[[NewUser], bool]) -> frozenset[int]:
    return frozenset(user.line for user in new_users if clashes(user))


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
