"""Signing up: anybody may, once for each address."""

import re
import unicodedata
from typing import Final

from sqlalchemy import bindparam, exists, literal, select

from db.engine.statement import Statement, insert
from db.refusals import NotCreated
from db.secret import Secret
from db.sessions import Device, NewSession, start_session
from db.store import Store
from db.tables import Instant, users

SLUG_LENGTH: Final = 40
TRIES: Final = 3

EMAIL_TAKEN = Statement(select(literal(1)).where(exists().where(users.c.email == bindparam("email"))))
ADD_USER = Statement(
    insert(users)
    .values(
        id=bindparam("id"),
        email=bindparam("email"),
        name=bindparam("name"),
        slug=bindparam("slug"),
        role=bindparam("role"),
        password_hash=bindparam("password_hash"),
        created_at=bindparam("now", type_=Instant),
        last_login_at=bindparam("last_login_at", type_=Instant),
    )
    .on_conflict_do_nothing()
    .returning(users.c.id)
)


async def email_taken(store: Store, email: str) -> bool:
    """Whether the address has an account. Good for a hint while typing; the UNIQUE index decides."""
    return await store.value(EMAIL_TAKEN(email=email)) is not None


async def sign_up(store: Store, *, name: str, email: str, password: Secret[str], device: Device) -> NewSession | None:
    """A new account and its first session, in one transaction; None where the address was taken meanwhile.

    Raises NotCreated where the database would not have it, and Busy; then nothing of it was stored.
    """
    password_hash = await store.passwords.hash(password)
    async with store.transaction():
        user_id = await add_user(store, name, email, password_hash, logs_in=True)
        return None if user_id is None else await start_session(store, user_id, "user", device)


async def add_user(
    store: Store, name: str, email: str, password_hash: Secret[str], *, role: str = "user", logs_in: bool = False
) -> str | None:
    """The new user's id; None where the address is taken. To be called inside a transaction."""
    slug = make_slug(name)
    for attempt in range(TRIES):
        tail = f"-{store.token(8)[:6].lower().replace('_', '0').replace('-', '0')}" if attempt or not slug else ""
        user_id = await store.value(
            ADD_USER(
                id=store.token(16),
                email=email,
                name=name,
                slug=(slug[: SLUG_LENGTH - len(tail)] or "member") + tail,
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


def make_slug(name: str) -> str:
    """2 to 40 of a–z, 0–9 and `-`, from a name; empty where the name has too few of them."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:SLUG_LENGTH].strip("-")
    return slug if len(slug) >= 2 else ""
