"""What the person at the shell may do: make people, change their roles and passwords, list them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select

from db import people
from db.engine.statement import Statement
from db.refusals import NotFound
from db.secret import Secret
from db.store import pick
from db.tables import users
from db.viewer import Operator, Role


@dataclass(frozen=True, slots=True)
class Person:
    email: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


PEOPLE = Statement(pick(Person, users).order_by(users.c.created_at, users.c.id))
USER_ID = Statement(select(users.c.id).where(users.c.email == bindparam("email")))


async def create_user(operator: Operator, *, name: str, email: str, password: Secret[str], role: Role) -> str | None:
    """The new user's id; None where the address has an account."""
    password_hash = await operator.store.passwords.hash(password)
    async with operator.store.transaction():
        return await people.add(operator.store, name, email, password_hash, role=role)


async def change_role(operator: Operator, email: str, role: Role) -> None:
    """Effective at that person's next request. Raises NotFound, and LastAdmin."""
    async with operator.store.transaction():
        await people.change_role(operator.store, await _get_user_id(operator, email), role)


async def set_password(operator: Operator, email: str, password: Secret[str]) -> int:
    """Replace a person's password and end their sessions; how many there were. Raises NotFound."""
    password_hash = await operator.store.passwords.hash(password)
    async with operator.store.transaction():
        return await people.set_password(operator.store, await _get_user_id(operator, email), password_hash)


async def list_people(operator: Operator) -> list[Person]:
    """Everybody, the oldest account first."""
    return await operator.store.all(PEOPLE())


async def _get_user_id(operator: Operator, email: str) -> str:
    user_id = await operator.store.value(USER_ID(email=email))
    if user_id is None:
        raise NotFound
    return str(user_id)
