"""Logging in: one answer, and the same work, for every way it can fail."""

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, update

from db.engine.statement import Bound, Statement
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
    .where(
        users.c.id == bindparam("user_id"),
        users.c.disabled_at.is_(None),
        users.c.password_hash == bindparam("verified_hash"),
    )
    .values(
        password_hash=bindparam("new_hash"),
        previous_login_at=users.c.last_login_at,
        last_login_at=bindparam("now", type_=Instant),
    )
    .returning(users.c.role)
)
TRIES: Final = 2


async def log_in(store: Store, *, email: str, password: Secret[str], device: Device) -> NewSession | None:
    """A new session; None where address and password do not fit, or the account is unknown or disabled.

    One hash is computed in every case. A hash that was replaced meanwhile is asked once more. Raises Busy.
    """
    for _ in range(TRIES):
        known = await store.one(CREDENTIALS(email=email))
        if not await store.passwords.verify(known and known.password_hash, password) or known is None:
            return None
        hash_to_keep = await _renewed_hash(store, known, password)
        async with store.transaction():
            role = await store.value(_logged_in(store, known, hash_to_keep))
            if role is not None:
                return await start_session(store, known.id, role, device)
    return None


def _logged_in(store: Store, known: _Credentials, hash_to_keep: Secret[str]) -> Bound[Any]:
    """The door opens only if the account is as it was when the password was verified."""
    verified, kept = known.password_hash.reveal(), hash_to_keep.reveal()
    return LOGGED_IN(user_id=known.id, verified_hash=verified, new_hash=kept, now=store.now())


async def _renewed_hash(store: Store, known: _Credentials, password: Secret[str]) -> Secret[str]:
    """The stored hash, or one with today's parameters where it was made with others."""
    if store.passwords.is_outdated(known.password_hash):
        return await store.passwords.hash(password)
    return known.password_hash
