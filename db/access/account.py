"""The viewer's own account: the profile and the password."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import bindparam, exists, func, literal, select, update

from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Conflict, Statement
from db.errors import NotLoggedIn
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import PASSWORD_CHANGE, PASSWORD_GUESS, PROFILE_CHANGE, USER_HASHES
from db.sessions.claims import NewSession
from db.sessions.lifecycle import end_all_sessions, end_viewer_session, require_right, start_session
from db.store import pick
from db.tables import users
from db.user_search import search_key
from db.viewer import Viewer


@dataclass(frozen=True, slots=True)
class Account:
    """The columns of the viewer's account that its settings show.

    The viewer can change all of them except the email and the team.
    """

    name: str
    email: str
    slug: str
    phone: str
    team: str


@dataclass(frozen=True, slots=True)
class _PasswordHash:
    password_hash: Secret[str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", Secret(self.password_hash))


class _SlugTaken(Exception):
    """Rolls the transaction back because another user has the slug."""


ACCOUNT = Statement(pick(Account, users).where(users.c.id == bindparam("user_id")))
PASSWORD_HASH = Statement(pick(_PasswordHash, users).where(users.c.id == bindparam("user_id")))
SLUG_EXISTS = Statement(
    select(literal(1)).where(
        exists().where(users.c.slug == bindparam("slug"), users.c.id != bindparam("user_id"))
    )
)
MAX_WRONG_PASSWORDS: Final = 20  # consecutive wrong passwords that end the session
PROFILE_COLUMNS: Final = ("name", "search_key", "slug", "phone")
CHANGE_PROFILE = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(
        {name: func.coalesce(bindparam(f"new_{name}"), users.c[name]) for name in PROFILE_COLUMNS}
    )
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


async def is_slug_taken(viewer: Viewer, slug: str) -> bool:
    """Returns whether another user has the slug.

    Slugs are public, so this query is not rate-limited.
    """
    return await viewer.store.value(SLUG_EXISTS(slug=slug, user_id=viewer.id)) is not None


async def change_profile(
    viewer: Viewer, *, name: str | None = None, slug: str | None = None, phone: str | None = None
) -> bool:
    """Changes the values that are given and keeps the others.

    Returns False and changes nothing if another user has the slug. Raises RateLimited, and
    NotLoggedIn if the session has ended since the request was verified.
    """
    store = viewer.store
    given = {"name": name, "slug": slug, "phone": phone}
    await limiter.take_tokens(store, viewer_actor(viewer), (PROFILE_CHANGE, viewer.id))
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
                await audit_log.record(
                    store, "profile.change", viewer_actor(viewer), {"fields": " ".join(fields)}
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
    """Changes the password, ends every session and starts a new one in place of the current one.

    Returns the new session and the number of other sessions that ended; None if `current` is wrong.
    Raises NotLoggedIn if the session has ended in the meantime, or ends now after
    MAX_WRONG_PASSWORDS consecutive wrong passwords. Raises RateLimited, BreachedPassword and
    Unavailable.
    """
    store = viewer.store
    actor = viewer_actor(viewer)
    store.passwords.require_capacity(user_id=viewer.id)
    change = (PASSWORD_CHANGE, viewer.id)
    guess = (PASSWORD_GUESS, _session_key(viewer))
    await limiter.take_tokens(
        store, actor, change, *per_client(USER_HASHES, viewer.client.ip_address), guess
    )
    async with limiter.refund_if_overloaded(store, change, guess):
        verified = await _verified_hash(viewer, current)
        if verified is not None:
            await limiter.refund(store, guess, succeeded=True)
            await store.breached_passwords.require_not_breached(new)
            new_hash = await store.passwords.hash(new, user_id=viewer.id)
    if verified is None:
        await _record_wrong_password(viewer, guess)
        return None
    hashes = {"verified_hash": verified.reveal(), "new_hash": new_hash.reveal()}
    async with store.transaction():
        await require_right(viewer)
        if await store.value(CHANGE_PASSWORD(user_id=viewer.id, **hashes)) is None:
            return None
        ended = await end_all_sessions(store, viewer.id)
        session = await start_session(store, viewer.id, viewer.role, viewer.client)
        await audit_log.record(store, "password.change", actor)
        return session, max(0, ended - 1)


async def _verified_hash(viewer: Viewer, current: Secret[str]) -> Secret[str] | None:
    """Returns the stored password hash, or None if `current` is wrong."""
    stored: _PasswordHash | None = await viewer.store.one(PASSWORD_HASH(user_id=viewer.id))
    if stored is None or not await viewer.store.passwords.verify(
        stored.password_hash, current, user_id=viewer.id
    ):
        return None
    return stored.password_hash


async def _record_wrong_password(viewer: Viewer, guess: limiter.Charge) -> None:
    """Writes an audit entry for a wrong password.

    After MAX_WRONG_PASSWORDS consecutive wrong passwords it also ends the session and raises
    NotLoggedIn. Without this end, an attacker with a stolen session cookie could guess until the
    session expires.
    """
    store = viewer.store
    actor = viewer_actor(viewer)
    async with store.transaction():
        await require_right(viewer)
        wrong_count = await limiter.count_consecutive_attempts(store, *guess)
        if wrong_count >= MAX_WRONG_PASSWORDS:
            await end_viewer_session(viewer)
        await audit_log.record(store, "password.change", actor, outcome="refused")
        if wrong_count >= MAX_WRONG_PASSWORDS:
            await audit_log.record(store, "session.end-guessing", actor, {"times": wrong_count})
    if wrong_count >= MAX_WRONG_PASSWORDS:
        raise NotLoggedIn(ended=True, guessed=True)


def _session_key(viewer: Viewer) -> str:
    """Returns a bucket subject that identifies the session; a stateless session is identified by
    its log-in time.
    """
    return f"{viewer.id} {viewer.session_id or viewer.logged_in_at.isoformat()}"
