"""Logging in: one answer, and the same work, for every way it can fail."""

from dataclasses import dataclass, field

from sqlalchemy import bindparam, update

from db.engine.statement import Statement
from db.secret import Secret
from db.sessions import Device, NewSession, start_session
from db.store import Store, pick
from db.tables import Instant, users
from db.viewer import Role


@dataclass(frozen=True, slots=True)
class _Credentials:
    id: str
    role: Role
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


CREDENTIALS = Statement(
    pick(_Credentials, users).where(users.c.email == bindparam("email"), users.c.disabled_at.is_(None))
)
LOGGED_IN = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.disabled_at.is_(None))
    .values(previous_login_at=users.c.last_login_at, last_login_at=bindparam("now", type_=Instant))
    .returning(users.c.role)
)
REHASH = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)


async def log_in(store: Store, *, email: str, password: Secret[str], device: Device) -> NewSession | None:
    """A new session; None where address and password do not fit, or the account is unknown or disabled.

    One hash is computed in every case. Raises Busy.
    """
    known = await store.one(CREDENTIALS(email=email))
    if not await store.passwords.verify(known and known.password_hash, password) or known is None:
        return None
    renewed = await _renewed_hash(store, known, password)
    async with store.transaction():
        role = await store.value(LOGGED_IN(user_id=known.id, now=store.now()))
        if role is None:
            return None  # disabled while the hash was computed
        if renewed:
            await store.count(REHASH(user_id=known.id, old=known.password_hash.reveal(), new=renewed.reveal()))
        return await start_session(store, known.id, role, device)


async def _renewed_hash(store: Store, known: _Credentials, password: Secret[str]) -> Secret[str] | None:
    """A hash with today's parameters, where the stored one was made with others."""
    return await store.passwords.hash(password) if store.passwords.is_outdated(known.password_hash) else None
