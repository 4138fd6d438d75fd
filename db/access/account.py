"""One's own account: the profile, and the password."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import bindparam, exists, func, literal, select, update

from db import audit, throttle
from db.audit import by_viewer
from db.engine.statement import Conflict, Statement
from db.limits import MEMBER_HASHES, PASSWORD_CHANGE, PROFILE_CHANGE
from db.networks import per_client
from db.refusals import NotLoggedIn
from db.search import search_key
from db.secret import Secret
from db.sessions import NewSession, end_all_sessions, require_right, start_session
from db.store import pick
from db.tables import users
from db.viewer import Viewer


@dataclass(frozen=True, slots=True)
class Account:
    """What one may see of oneself and, the team and the address apart, change."""

    name: str
    email: str
    slug: str
    phone: str
    team: str


@dataclass(frozen=True, slots=True)
class _Stored:
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


class _SlugTaken(Exception):
    """Raised inside the transaction, so that nothing of it stays."""


ACCOUNT = Statement(pick(Account, users).where(users.c.id == bindparam("user_id")))
STORED = Statement(pick(_Stored, users).where(users.c.id == bindparam("user_id")))
SLUG_TAKEN = Statement(
    select(literal(1)).where(exists().where(users.c.slug == bindparam("slug"), users.c.id != bindparam("user_id")))
)
WRITTEN: Final = ("name", "search_key", "slug", "phone")
CHANGE_PROFILE = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values({name: func.coalesce(bindparam(f"new_{name}"), users.c[name]) for name in WRITTEN})
)

CHANGE_PASSWORD = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("verified_hash"))
    .values(password_hash=bindparam("new_hash"))
    .returning(users.c.id)
)


async def get_account(viewer: Viewer) -> Account:
    account: Account | None = await viewer.store.one(ACCOUNT(user_id=viewer.id))
    if account is None:
        raise NotLoggedIn(ended=True)
    return account


async def slug_taken(viewer: Viewer, slug: str) -> bool:
    """Whether the page address is another person's. A slug is public, so this always answers."""
    return await viewer.store.value(SLUG_TAKEN(slug=slug, user_id=viewer.id)) is not None


async def change_profile(
    viewer: Viewer, *, name: str | None = None, slug: str | None = None, phone: str | None = None
) -> bool:
    """Change what is given and leave the rest; False, and nothing changed, where the slug is another person's.

    Raises TooMany, and NotLoggedIn if the session has ended since the request was verified.
    """
    store, given = viewer.store, {"name": name, "slug": slug, "phone": phone}
    await throttle.admit(store, by_viewer(viewer), (PROFILE_CHANGE, viewer.id))
    try:
        async with store.transaction():
            await require_right(viewer)
            before = await get_account(viewer)
            fields = [field for field, value in given.items() if value not in (None, getattr(before, field))]
            if fields:
                key = search_key(before.name if name is None else name, before.email)
                await _write(viewer, given | {"search_key": key})
                await audit.record(store, "profile.change", by_viewer(viewer), {"fields": " ".join(fields)})
    except _SlugTaken:
        return False
    return True


async def _write(viewer: Viewer, given: Mapping[str, str | None]) -> None:
    new = {f"new_{name}": value for name, value in given.items()}
    try:
        await viewer.store.count(CHANGE_PROFILE(user_id=viewer.id, **new))
    except Conflict as conflict:
        raise _SlugTaken from conflict


async def change_password(viewer: Viewer, *, current: Secret[str], new: Secret[str]) -> tuple[NewSession, int] | None:
    """A new session in place of this one, and how many others ended; None where `current` is not the password.

    Raises NotLoggedIn where this session has ended while the hashes were computed, TooMany, Breached and Busy.
    """
    store, by = viewer.store, by_viewer(viewer)
    store.passwords.require_room(member=viewer.id)
    await throttle.admit(store, by, (PASSWORD_CHANGE, viewer.id), *per_client(MEMBER_HASHES, viewer.device.address))
    async with throttle.trying(store, (PASSWORD_CHANGE, viewer.id)):
        hashes = await _hashes(viewer, current, new)
    if hashes is None:
        async with store.transaction():
            await audit.record(store, "password.change", by, outcome="refused")
        return None
    verified, new_hash = hashes
    async with store.transaction():
        await require_right(viewer)
        if await store.value(CHANGE_PASSWORD(user_id=viewer.id, verified_hash=verified, new_hash=new_hash)) is None:
            return None
        ended = await end_all_sessions(store, viewer.id)
        session = await start_session(store, viewer.id, viewer.role, viewer.device)
        await audit.record(store, "password.change", by)
        return session, max(0, ended - 1)


async def _hashes(viewer: Viewer, current: Secret[str], new: Secret[str]) -> tuple[str, str] | None:
    """What is stored of the password and what is to be; None where `current` is not the password."""
    passwords = viewer.store.passwords
    stored = await viewer.store.one(STORED(user_id=viewer.id))
    if stored is None or not await passwords.verify(stored.password_hash, current, member=viewer.id):
        return None
    await viewer.store.breaches.require_unknown(new)
    new_hash = await passwords.hash(new, member=viewer.id)
    return stored.password_hash.reveal(), new_hash.reveal()
