"""Logging in: one answer, and the same work, for every way it can fail."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, case, update

from db import audit, throttle
from db.audit import by_owner, by_stranger
from db.engine.statement import Bound, Statement
from db.known_devices import recognise
from db.limits import LOGIN_ACCOUNT, LOGIN_ALL, LOGIN_DEVICE, LOGIN_FAILS, LOGIN_POSTS, LOGIN_UNKNOWN
from db.secret import Secret
from db.sessions import Device, NewSession, start_session
from db.store import Store, pick
from db.tables import Instant, users
from db.viewer import Role


@dataclass(frozen=True, slots=True)
class _Credentials:
    id: str
    disabled: bool
    sessions_ended_at: datetime | None
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


class _NotKept(Exception):
    """Raised inside the transaction, so that nothing of it stays."""


CREDENTIALS = Statement(
    pick(_Credentials, users, disabled=users.c.disabled_at.is_not(None)).where(users.c.email == bindparam("email"))
)
_now = bindparam("now", type_=Instant)
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
        last_login_at=case((users.c.last_login_at > _now, users.c.last_login_at), else_=_now),  # another host's clock
    )
    .returning(users.c.role)
)
TRIES: Final = 2
Door = tuple[throttle.Take, ...]  # the buckets that a try takes a token from


async def log_in(store: Store, *, email: str, password: Secret[str], device: Device) -> NewSession | None:
    """A new session; None where address and password do not fit, or the account is unknown or disabled.

    One hash is computed in every case. A hash that was replaced meanwhile is asked once more. Raises TooMany and Busy.
    """
    known = await store.one(CREDENTIALS(email=email))
    at_home = _recognise(store, device, known)
    door = _own_door(at_home, known) if known and at_home else _front_door(email, device)
    store.passwords.require_room(member=at_home is not None)
    await throttle.admit(store, by_stranger(device), *door, target_id=known.id if known else None)
    async with throttle.trying(store, *(take for take in door if take[0] is not LOGIN_POSTS)):
        for _ in range(TRIES):
            fits = await store.passwords.verify(known and known.password_hash, password, member=at_home is not None)
            if not fits or known is None or known.disabled:
                break
            hash_to_keep = await _renewed_hash(store, known, password)
            async with store.transaction():
                role = await store.value(_logged_in(store, known, hash_to_keep))
                if role is not None:
                    return await _let_in(store, known, role, device, door)
            known = await store.one(CREDENTIALS(email=email))
    await _note_refusal(store, known, email, device)
    return None


def _recognise(store: Store, device: Device, known: _Credentials | None) -> str | None:
    """The browser's id, if it was in the account before. The cookie is opened whether there is one or not."""
    browser = recognise(store, device.cookie)
    if known and browser and browser.was_in(known.id, known.sessions_ended_at):
        return browser.id
    return None


def _front_door(email: str, device: Device) -> Door:
    """Strangers share the tries at an address, whether it has an account or not, and each client has its own."""
    client = throttle.client(device.address)
    return (LOGIN_POSTS, client), (LOGIN_FAILS, client), (LOGIN_ACCOUNT, email)


def _own_door(device_id: str, known: _Credentials) -> Door:
    """A browser that was in the account before has tries of its own: no stranger can use them up."""
    return (LOGIN_POSTS, f"device {device_id}"), (LOGIN_DEVICE, f"{device_id} {known.id}")


async def _let_in(store: Store, known: _Credentials, role: Role, device: Device, door: Door) -> NewSession:
    """The try was none: it goes back. What a client has guessed elsewhere stays counted."""
    for limit, whom in door:
        if limit is LOGIN_FAILS:
            await throttle.give_back(store, limit, whom)
        elif limit is not LOGIN_POSTS:
            await throttle.clear(store, limit, whom)
    session = await start_session(store, known.id, role, device)
    await audit.record(store, "login", by_owner(known.id, device, session.id))
    return session


async def _note_refusal(store: Store, known: _Credentials | None, email: str, device: Device) -> None:
    """Writes an audit entry. In a flood, which has an entry of its own, an entry about no account does not stay.

    It is written and rolled back, so that the work is the same whether there is an account or not.
    """
    by, target_id = by_stranger(device), known.id if known else None
    async with store.transaction():
        calm = await throttle.notice(store, by, LOGIN_ALL, "everybody")
        calm = calm and await throttle.notice(store, by, LOGIN_UNKNOWN, throttle.client(device.address))
        with suppress(_NotKept):
            async with store.transaction():
                await audit.record(store, "login", by, target_id=target_id, outcome="refused", counted_for=email)
                if not calm and known is None:
                    raise _NotKept


def _logged_in(store: Store, known: _Credentials, hash_to_keep: Secret[str]) -> Bound[Any]:
    """The door opens only if the account is as it was when the password was verified."""
    verified, kept = known.password_hash.reveal(), hash_to_keep.reveal()
    return LOGGED_IN(user_id=known.id, verified_hash=verified, new_hash=kept, now=store.now())


async def _renewed_hash(store: Store, known: _Credentials, password: Secret[str]) -> Secret[str]:
    """The stored hash, or one with today's parameters where it was made with others."""
    if store.passwords.is_outdated(known.password_hash):
        return await store.passwords.hash(password)
    return known.password_hash
