"""Signing up. An anonymous user can create one account per email."""

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
    """Returns whether an account has the email, as a hint while the user types; only the UNIQUE
    index decides.

    Returns None if the client has looked up too many emails.
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

    If an account has the email, logs in with the password, because a browser may repeat a sign-up
    whose response was lost. Returns None if this log-in fails. Raises RateLimited,
    BreachedPassword, Unavailable, and AccountNotCreated if the database rejects the account; then
    nothing is stored.
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
    """Creates an account if none has the email; the client cannot see the difference.

    If an account has the email, its user sees an entry in the audit log. Both cases do the same
    work: one hash, and one transaction with as many writes. Raises the errors of `sign_up`.
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
    """Logs in to the existing account with the limits, verification and audit entries of any
    log-in.

    An attempt above the limits of log-in verifies nothing and gets the answer to a wrong password.
    """
    with suppress(TooMany):
        session = await log_in(store, email=email, password=password, device=device)
        if session is not None:
            return session
    async with _creating(store):
        await _note_refusal(store, email, device)
    return None


async def _hash(store: Store, email: str, password: Secret[str], device: Device) -> Secret[str]:
    """Applies the rate limits, then returns the password hash.

    A flood therefore costs neither a hash nor a look-up.
    """
    store.passwords.require_room()
    await _admit(store, email, device)
    async with throttle.trying(store, *_sign_ups(device)):
        await store.breaches.require_unknown(password)
        return await store.passwords.hash(password)


async def _admit(store: Store, email: str, device: Device) -> None:
    """Takes the tokens of a sign-up and of an email look-up, because a sign-up also shows whether
    an account has the email.

    It does not take a token of the look-up limit that all clients share: one client could use it up
    and block every sign-up.
    """
    await throttle.admit(store, by_stranger(device), *_sign_ups(device))
    await throttle.admit_once(store, by_stranger(device), *_look_up(email, device))


def _sign_ups(device: Device) -> tuple[throttle.Take, ...]:
    return *per_client(SIGNUP_MINUTE, device.address), *per_client(SIGNUP_HOUR, device.address)


def _look_up(email: str, device: Device) -> tuple[throttle.Take, ...]:
    """Returns the mark that the client has looked up the email, then the charges of a first
    look-up.
    """
    seen = (EMAIL_SEEN, f"{networks_of(device.address)[0].name} {email}")
    return seen, *per_client(EMAIL_MINUTE, device.address), *per_client(EMAIL_HOUR, device.address)


async def _note_refusal(store: Store, email: str, device: Device) -> None:
    owner_id = await people.find_owner(store, email)
    await audit.record(store, "signup", by_stranger(device), target_id=owner_id, outcome="refused")


@asynccontextmanager
async def _creating(store: Store) -> AsyncIterator[None]:
    """Opens a transaction.

    Rolls back and raises AccountNotCreated on any exception that is not an AppError.
    """
    try:
        async with store.transaction():
            yield
    except Refusal:
        raise
    except Exception as error:
        raise NotCreated from error
