"""One's own account: the profile, and the password."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import bindparam, exists, func, literal, select, update

from db.audit import log as audit
from db.audit.log import by_viewer
from db.crypto.secret import Secret
from db.engine.statement import Conflict, Statement
from db.errors import NotLoggedIn
from db.rate_limits import limiter as throttle
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import MEMBER_HASHES, PASSWORD_CHANGE, PASSWORD_GUESS, PROFILE_CHANGE
from db.sessions.claims import NewSession
from db.sessions.lifecycle import end_all_sessions, end_session_of, require_right, start_session
from db.store import pick
from db.tables import users
from db.user_search import search_key
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
    select(literal(1)).where(
        exists().where(users.c.slug == bindparam("slug"), users.c.id != bindparam("user_id"))
    )
)
MOST_WRONG: Final = 20  # passwords in a row, then the session ends
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
    """Change what is given and leave the rest; False, and nothing changed, where the slug is
    another person's.

    Raises TooMany, and NotLoggedIn if the session has ended since the request was verified.
    """
    store, given = viewer.store, {"name": name, "slug": slug, "phone": phone}
    await throttle.admit(store, by_viewer(viewer), (PROFILE_CHANGE, viewer.id))
    try:
        async with store.transaction():
            await require_right(viewer)
            before = await get_account(viewer)
            fields = [
                field
                for field, value in given.items()
                if value not in (None, getattr(before, field))
            ]
            if fields:
                key = search_key(before.name if name is None else name, before.email)
                await _write(viewer, given | {"search_key": key})
                await audit.record(
                    store, "profile.change", by_viewer(viewer), {"fields": " ".join(fields)}
                )
    except _SlugTaken:
        return False
    return True


async def _write(viewer: Viewer, given: Mapping[str, str | None]) -> None:
    new = {f"new_{name}": value for name, value in given.items()}
    try:
        await viewer.store.count(CHANGE_PROFILE(user_id=viewer.id, **new))
    except Conflict as conflict:
        raise _SlugTaken from conflict


async def change_password(
    viewer: Viewer, *, current: Secret[str], new: Secret[str]
) -> tuple[NewSession, int] | None:
    """A new session in place of this one, and how many others ended; None where `current` is not
    the password.

    Raises NotLoggedIn where this session has ended while the hashes were computed, or ends now,
    since the password was wrong MOST_WRONG times in a row. Raises TooMany, Breached and Busy.
    """
    store, by = viewer.store, by_viewer(viewer)
    store.passwords.require_room(member=viewer.id)
    change, guess = (PASSWORD_CHANGE, viewer.id), (PASSWORD_GUESS, _session_key(viewer))
    await throttle.admit(
        store, by, change, *per_client(MEMBER_HASHES, viewer.device.address), guess
    )
    async with throttle.trying(store, change, guess):
        verified = await _verified_hash(viewer, current)
        if verified is not None:
            await throttle.give_back(store, guess, succeeded=True)
            await store.breaches.require_unknown(new)
            new_hash = await store.passwords.hash(new, member=viewer.id)
    if verified is None:
        await _record_wrong_password(viewer, guess)
        return None
    hashes = {"verified_hash": verified.reveal(), "new_hash": new_hash.reveal()}
    async with store.transaction():
        await require_right(viewer)
        if await store.value(CHANGE_PASSWORD(user_id=viewer.id, **hashes)) is None:
            return None
        ended = await end_all_sessions(store, viewer.id)
        session = await start_session(store, viewer.id, viewer.role, viewer.device)
        await audit.record(store, "password.change", by)
        return session, max(0, ended - 1)


async def _verified_hash(viewer: Viewer, current: Secret[str]) -> Secret[str] | None:
    """Returns what is stored of the password; None where `current` is not the password."""
    stored: _Stored | None = await viewer.store.one(STORED(user_id=viewer.id))
    if stored is None or not await viewer.store.passwords.verify(
        stored.password_hash, current, member=viewer.id
    ):
        return None
    return stored.password_hash


async def _record_wrong_password(viewer: Viewer, guess: throttle.Take) -> None:
    """Writes an audit entry.

    After MOST_WRONG wrong passwords in a row, ends the session and raises NotLoggedIn.

    A stolen session cookie would otherwise allow guessing for as long as the session lives.
    """
    store, by = viewer.store, by_viewer(viewer)
    async with store.transaction():
        await require_right(viewer)
        wrong = await throttle.attempts_in_a_row(store, *guess)
        if wrong >= MOST_WRONG:
            await end_session_of(viewer)
        await audit.record(store, "password.change", by, outcome="refused")
        if wrong >= MOST_WRONG:
            await audit.record(store, "session.end-guessing", by, {"times": wrong})
    if wrong >= MOST_WRONG:
        raise NotLoggedIn(ended=True, guessed=True)


def _session_key(viewer: Viewer) -> str:
    """Names the session: where it has no row, by the moment of its log-in."""
    return f"{viewer.id} {viewer.session_id or viewer.logged_in_at.isoformat()}"
