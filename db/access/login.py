"""Logging in.

Every failure gets the same answer after the same work, so that neither reveals whether an account
exists.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, case, update

from db.audit import log as audit
from db.audit.log import by_owner, by_stranger
from db.crypto.secret import Secret
from db.engine.statement import Bound, Statement
from db.rate_limits import limiter as throttle
from db.rate_limits.ip_networks import largest_network_of, per_client
from db.rate_limits.limits import (
    LOGIN_ACCOUNT,
    LOGIN_ALL,
    LOGIN_CLIENT_ACCOUNT,
    LOGIN_DEVICE,
    LOGIN_FAILS,
    LOGIN_POSTS,
    LOGIN_UNKNOWN,
    MEMBER_HASHES,
)
from db.sessions.claims import NewSession
from db.sessions.device_cookie import recognise
from db.sessions.lifecycle import start_session
from db.store import Store, pick
from db.tables import Instant, users
from db.viewer import Device, Role


@dataclass(frozen=True, slots=True)
class _Credentials:
    id: str
    disabled: bool
    sessions_ended_at: datetime | None
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


@dataclass(frozen=True, slots=True)
class _Cost:
    """The tokens that an attempt takes.

    Those of `guesses` are refunded if the password was correct or the service overloaded.
    """

    posts: tuple[throttle.Take, ...]
    guesses: tuple[throttle.Take, ...]


class _NotKept(Exception):
    """Rolls the transaction back, so that the audit entry is not stored."""


CREDENTIALS = Statement(
    pick(_Credentials, users, disabled=users.c.disabled_at.is_not(None)).where(
        users.c.email == bindparam("email")
    )
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
        # Keeps the later of the two times, since the clock of another host may be ahead.
        last_login_at=case((users.c.last_login_at > _now, users.c.last_login_at), else_=_now),
    )
    .returning(users.c.role)
)
TRIES: Final = 2


async def log_in(
    store: Store, *, email: str, password: Secret[str], device: Device
) -> NewSession | None:
    """Returns a new session; None if the email is unknown, the password is wrong or the account is
    disabled.

    Computes one hash in each of these cases. If another request replaces the stored hash in the
    meantime, verifies once more. Raises RateLimited and Unavailable.
    """
    known = await store.one(CREDENTIALS(email=email))
    at_home = _recognise(store, device, known)
    cost = (
        _cost_at_known_browser(at_home, known, device)
        if known and at_home
        else _cost(email, device)
    )
    member = known.id if known and at_home else None
    store.passwords.require_room(member=member)
    target_id = known.id if known else None
    await throttle.admit(
        store, by_stranger(device), *cost.posts, *cost.guesses, target_id=target_id
    )
    async with throttle.trying(store, *cost.guesses):
        for _ in range(TRIES):
            fits = await store.passwords.verify(
                known and known.password_hash, password, member=member
            )
            if not fits or known is None or known.disabled:
                break
            hash_to_keep = await _renewed_hash(store, known, password)
            async with store.transaction():
                role = await store.value(_logged_in(store, known, hash_to_keep))
                if role is not None:
                    return await _let_in(store, known, role, device, cost)
            known = await store.one(CREDENTIALS(email=email))
    await _note_refusal(store, known, email, device)
    return None


def _recognise(store: Store, device: Device, known: _Credentials | None) -> str | None:
    """Returns the id of the browser if its device cookie shows an earlier log-in to this account.

    Decodes the cookie even if there is no account, so that the time does not depend on it.
    """
    browser = recognise(store, device.cookie)
    if known and browser and browser.was_in(known.id, known.sessions_ended_at):
        return browser.id
    return None


def _cost(email: str, device: Device) -> _Cost:
    """Returns the charges at an unknown browser.

    Each client has its own bucket for an email, whether or not an account has it. With one bucket
    for all clients, a few guesses an hour by one client would lock the user out.
    """
    guesses = (
        *per_client(LOGIN_FAILS, device.address),
        *per_client(LOGIN_CLIENT_ACCOUNT, device.address, email),
        (LOGIN_ACCOUNT, email),
    )
    return _Cost(per_client(LOGIN_POSTS, device.address), guesses)


def _cost_at_known_browser(device_id: str, known: _Credentials, device: Device) -> _Cost:
    """Returns the charges at a browser with an earlier log-in, whose buckets the guesses of other
    clients do not use up.

    Posts are charged to the account, because each log-in without a device cookie creates a new
    device id. They are also charged to the client, since one client could create many accounts.
    """
    posts = ((LOGIN_POSTS, f"account {known.id}"), *per_client(MEMBER_HASHES, device.address))
    return _Cost(posts, ((LOGIN_DEVICE, f"{device_id} {known.id}"),))


async def _let_in(
    store: Store, known: _Credentials, role: Role, device: Device, cost: _Cost
) -> NewSession:
    """Starts the session and refunds the tokens of this attempt.

    Earlier wrong guesses of the client stay counted.
    """
    await throttle.give_back(store, *cost.guesses, succeeded=True)
    session = await start_session(store, known.id, role, device)
    await audit.record(store, "login", by_owner(known.id, device, session.id))
    return session


async def _note_refusal(
    store: Store, known: _Credentials | None, email: str, device: Device
) -> None:
    """Writes an audit entry about a failed log-in.

    During a flood, which has an entry of its own, an entry about an unknown email is written and
    rolled back. The work is therefore the same whether or not an account exists.
    """
    by, target_id = by_stranger(device), known.id if known else None
    async with store.transaction():
        calm = await throttle.notice(store, by, LOGIN_ALL, "everybody")
        calm = calm and await throttle.notice(
            store, by, LOGIN_UNKNOWN, largest_network_of(device.address)
        )
        with suppress(_NotKept):
            async with store.transaction():
                await audit.record(
                    store, "login", by, target_id=target_id, outcome="refused", counted_for=email
                )
                if not calm and known is None:
                    raise _NotKept


def _logged_in(store: Store, known: _Credentials, hash_to_keep: Secret[str]) -> Bound[Any]:
    """Returns the statement that records the log-in.

    It changes no row if the password has changed or the account was disabled since the
    verification.
    """
    verified, kept = known.password_hash.reveal(), hash_to_keep.reveal()
    return LOGGED_IN(user_id=known.id, verified_hash=verified, new_hash=kept, now=store.now())


async def _renewed_hash(store: Store, known: _Credentials, password: Secret[str]) -> Secret[str]:
    """Returns the stored hash, or a new hash if the stored one has outdated parameters."""
    if store.passwords.is_outdated(known.password_hash):
        return await store.passwords.hash(password)
    return known.password_hash
