"""Signing up: anybody may, once for each address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from db import accounts as people
from db.access.login import log_in
from db.audit import log as audit
from db.audit.log import by_owner, by_stranger
from db.crypto.secret import Secret
from db.errors import NotCreated, Refusal, TooMany
from db.rate_limits import limiter as throttle
from db.rate_limits.ip_networks import networks_of, per_client
from db.rate_limits.limits import (
    EMAIL_ALL,
    EMAIL_HOUR,
    EMAIL_MINUTE,
    EMAIL_SEEN,
    SIGNUP_HOUR,
    SIGNUP_MINUTE,
)
from db.sessions.claims import NewSession
from db.sessions.lifecycle import start_session
from db.store import Store
from db.viewer import Device


async def email_taken(store: Store, email: str, device: Device) -> bool | None:
    """Whether the address has an account: a hint while typing; the UNIQUE index decides.

    None where it is not told: somebody asks for more addresses than a person has.
    """
    try:
        await throttle.admit_once(
            store, by_stranger(device), *_look_up(email, device), (EMAIL_ALL, "everybody")
        )
    except TooMany:
        return None
    return await people.email_taken(store, email)


async def sign_up(
    store: Store, *, name: str, email: str, password: Secret[str], device: Device
) -> NewSession | None:
    """Creates an account and its first session in one transaction.

    Where the address is taken, logs in if the password is the account's: a sign-up that timed out
    may have made the account and is then sent again. Returns None where it is not. Raises TooMany,
    Breached, Busy, and NotCreated where the database refuses the account; then nothing is stored.
    """
    password_hash = await _hash(store, email, password, device)
    async with _creating(store):
        user_id = await people.add(store, name, email, password_hash, logs_in=True)
        if user_id is not None:
            session = await start_session(store, user_id, "user", device)
            await audit.record(store, "signup", by_owner(user_id, device, session.id))
            return session
    return await _log_in(store, email, password, device)


async def sign_up_privately(
    store: Store, *, name: str, email: str, password: Secret[str], device: Device
) -> None:
    """A new account, or none where the address has one, whose owner finds it in their trail; nobody
    else can tell.

    Both ways have the same work: one hash, and one transaction with as many writes. Raises as
    `sign_up`.
    """
    password_hash = await _hash(store, email, password, device)
    async with _creating(store):
        user_id = await people.add(store, name, email, password_hash)
        if user_id is None:
            await _note_refusal(store, email, device)
        else:
            await audit.record(store, "signup", by_owner(user_id, device))


async def _log_in(
    store: Store, email: str, password: Secret[str], device: Device
) -> NewSession | None:
    """Logs in to the account that has the address: limited, verified and recorded as any log-in.

    An attempt beyond log-in's limits is answered as a wrong password is: it verifies nothing.
    """
    with suppress(TooMany):
        session = await log_in(store, email=email, password=password, device=device)
        if session is not None:
            return session
    async with _creating(store):
        await _note_refusal(store, email, device)
    return None


async def _hash(store: Store, email: str, password: Secret[str], device: Device) -> Secret[str]:
    """What is stored of the password, once the limits let the client pass: a flood costs no hash
    and no look-up.
    """
    store.passwords.require_room()
    await _admit(store, email, device)
    async with throttle.trying(store, *_sign_ups(device)):
        await store.breaches.require_unknown(password)
        return await store.passwords.hash(password)


async def _admit(store: Store, email: str, device: Device) -> None:
    """Who may not look whether an address is taken may not try it by signing up either.

    The limit of everybody together refuses no sign-up: else whoever reaches it would shut the door
    to all others.
    """
    await throttle.admit(store, by_stranger(device), *_sign_ups(device))
    await throttle.admit_once(store, by_stranger(device), *_look_up(email, device))


def _sign_ups(device: Device) -> tuple[throttle.Take, ...]:
    return *per_client(SIGNUP_MINUTE, device.address), *per_client(SIGNUP_HOUR, device.address)


def _look_up(email: str, device: Device) -> tuple[throttle.Take, ...]:
    """The mark that the client has asked about the address, and what it costs to ask for the first
    time.
    """
    seen = (EMAIL_SEEN, f"{networks_of(device.address)[0].name} {email}")
    return seen, *per_client(EMAIL_MINUTE, device.address), *per_client(EMAIL_HOUR, device.address)


async def _note_refusal(store: Store, email: str, device: Device) -> None:
    owner_id = await people.find_owner(store, email)
    await audit.record(store, "signup", by_stranger(device), target_id=owner_id, outcome="refused")


@asynccontextmanager
async def _creating(store: Store) -> AsyncIterator[None]:
    """A transaction. Whatever the database has against it, nothing of it stays: NotCreated."""
    try:
        async with store.transaction():
            yield
    except Refusal:
        raise
    except Exception as error:
        raise NotCreated from error
