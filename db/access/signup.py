"""Signing up: anybody may, once for each address."""

from db import people
from db.refusals import NotCreated, Refusal
from db.secret import Secret
from db.sessions import Device, NewSession, start_session
from db.store import Store


async def email_taken(store: Store, email: str) -> bool:
    """Whether the address has an account. Good for a hint while typing; the UNIQUE index decides."""
    return await people.email_taken(store, email)


async def sign_up(store: Store, *, name: str, email: str, password: Secret[str], device: Device) -> NewSession | None:
    """A new account and its first session, in one transaction; None where the address was taken meanwhile.

    Raises NotCreated where the database would not have it, and Busy; then nothing of it was stored.
    """
    password_hash = await store.passwords.hash(password)
    try:
        async with store.transaction():
            user_id = await people.add(store, name, email, password_hash, logs_in=True)
            return None if user_id is None else await start_session(store, user_id, "user", device)
    except Refusal:
        raise
    except Exception as error:  # whatever the database had against it, the transaction is undone
        raise NotCreated from error
