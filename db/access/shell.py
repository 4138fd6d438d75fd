"""What the person at the shell may do: make people, change their roles and passwords, list them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, exists, literal, or_, select, update

from db.access.signup import add_user
from db.engine.statement import Statement
from db.refusals import LastAdmin, NotFound
from db.secret import Secret
from db.store import pick
from db.tables import sessions, users
from db.viewer import Operator, Role


@dataclass(frozen=True, slots=True)
class Person:
    email: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


_other = users.alias("other")
ANOTHER_ADMIN = exists().where(_other.c.role == "admin", _other.c.disabled_at.is_(None), _other.c.id != users.c.id)
PEOPLE = Statement(pick(Person, users).order_by(users.c.created_at, users.c.id))
USER_ID = Statement(select(users.c.id).where(users.c.email == bindparam("email")))
CHANGE_ROLE = Statement(
    update(users)
    .where(
        users.c.email == bindparam("email"),
        or_(users.c.role != "admin", literal("admin") == bindparam("role"), ANOTHER_ADMIN),
    )
    .values(role=bindparam("role"))
    .returning(users.c.id)
)
SET_PASSWORD = Statement(
    update(users)
    .where(users.c.email == bindparam("email"))
    .values(password_hash=bindparam("password_hash"))
    .returning(users.c.id)
)
END_SESSIONS = Statement(delete(sessions).where(sessions.c.user_id == bindparam("user_id")))


async def create_user(operator: Operator, *, name: str, email: str, password: Secret[str], role: Role) -> str | None:
    """The new user's id; None where the address has an account."""
    password_hash = await operator.store.passwords.hash(password)
    async with operator.store.transaction():
        return await add_user(operator.store, name, email, password_hash, role=role)


async def change_role(operator: Operator, email: str, role: Role) -> None:
    """Effective at that person's next request. Raises NotFound, and LastAdmin."""
    async with operator.store.transaction():
        if await operator.store.value(CHANGE_ROLE(email=email, role=role)) is None:
            await _get_user_id(operator, email)
            raise LastAdmin


async def set_password(operator: Operator, email: str, password: Secret[str]) -> int:
    """Replace a person's password and end their sessions; how many there were. Raises NotFound."""
    password_hash = await operator.store.passwords.hash(password)
    async with operator.store.transaction():
        user_id = await _get_user_id(operator, email)
        await operator.store.value(SET_PASSWORD(email=email, password_hash=password_hash.reveal()))
        return await operator.store.count(END_SESSIONS(user_id=user_id))


async def list_people(operator: Operator) -> list[Person]:
    """Everybody, the oldest account first."""
    return await operator.store.all(PEOPLE())


async def _get_user_id(operator: Operator, email: str) -> str:
    user_id = await operator.store.value(USER_ID(email=email))
    if user_id is None:
        raise NotFound
    return str(user_id)
