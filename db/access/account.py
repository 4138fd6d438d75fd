"""The viewer's own account: the profile and the password."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, exists, func, literal, select, update

from db.access.current_password import verify_current_password
from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Conflict, Statement
from db.errors import NotLoggedIn, StateChanged
from db.mail.notices import end_links_after_password_change, post_password_notice
from db.rate_limits import limiter
from db.rate_limits.limits import PASSWORD_CHANGE, PROFILE_CHANGE
from db.sessions.claims import NewSession
from db.sessions.lifecycle import end_all_sessions, require_right, start_session
from db.sessions.sudo import Confirmation, Sudo, confirm_now
from db.store import pick
from db.tables import Instant, users
from db.user_search import search_key
from db.viewer import Viewer, require_session


@dataclass(frozen=True, slots=True)
class Account:
    """The columns of the viewer's account that its settings show.

    The viewer can change all of them except the email and the team. `delete_at` is set if the
    account is about to be deleted. `password_changed_at` is None if the time is not known.
    `language` is the code of the chosen language, or empty for that of the browser. `has_password`
    is false for an account that something else opens, such as a passkey.
    """

    name: str
    email: str
    slug: str
    phone: str
    team: str
    delete_at: datetime | None
    password_changed_at: datetime | None
    language: str
    has_password: bool


class _SlugTaken(Exception):
    """Rolls the transaction back because another user has the slug."""


ACCOUNT = Statement(
    pick(Account, users, has_password=users.c.password_hash != LOCKED_HASH).where(
        users.c.id == bindparam("user_id")
    )
)
SLUG_EXISTS = Statement(
    select(literal(1)).where(
        exists().where(users.c.slug == bindparam("slug"), users.c.id != bindparam("user_id"))
    )
)
PROFILE_COLUMNS: Final = ("name", "search_key", "slug", "phone")
CHANGE_PROFILE = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(
        {name: func.coalesce(bindparam(f"new_{name}"), users.c[name]) for name in PROFILE_COLUMNS}
    )
)
CHANGE_LANGUAGE = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.language != bindparam("new_language"))
    .values(language=bindparam("new_language"), browser_language=bindparam("new_browser_language"))
    .returning(users.c.id)
)
CHANGE_PASSWORD = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("verified_hash"))
    .values(
        password_hash=bindparam("new_hash"),
        password_changed_at=bindparam("now", type_=Instant),
    )
    .returning(users.c.email)
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


async def change_language(viewer: Viewer, language: str, browser_language: str) -> None:
    """Changes the language of pages and mails. An empty code stands for that of the browser.

    Raises RateLimited, and NotLoggedIn if the session has ended since the request was verified.
    """
    store = viewer.store
    await limiter.take_tokens(store, viewer_actor(viewer), (PROFILE_CHANGE, viewer.id))
    change = CHANGE_LANGUAGE(
        user_id=viewer.id, new_language=language, new_browser_language=browser_language
    )
    async with store.transaction():
        await require_right(viewer)
        if await store.value(change) is not None:
            fields = {"fields": "language"}
            await audit_log.record(store, "profile.change", viewer_actor(viewer), fields)


async def change_password(
    viewer: Viewer,
    *,
    current: Secret[str],
    new: Secret[str],
    confirmation: Confirmation | None = None,
) -> tuple[NewSession, int] | None:
    """Changes the password, ends every session and starts a new one in place of the current one.

    `confirmation` is the recent one of the session, which the new session keeps. The current
    password confirms the identity of a user without a second step.

    Returns the new session and the number of other sessions that ended; None if `current` is wrong.
    Raises NotLoggedIn if the session has ended in the meantime, or ends now after too many
    consecutive wrong passwords. Raises RateLimited, BreachedPassword and Unavailable.
    """
    store, change = viewer.store, (PASSWORD_CHANGE, viewer.id)
    verified = await verify_current_password(viewer, current, change, "password.change")
    if verified is None:
        return None
    new_hash = await _hash(viewer, new)
    confirmation = confirmation if viewer.has_factor else confirm_now(store, "password")
    return await _replace_hash(viewer, verified, new_hash, confirmation)


async def set_password(sudo: Sudo[Viewer], *, new: Secret[str]) -> tuple[NewSession, int]:
    """Sets the password of an account that has none, which needs a recent confirmation instead of
    the current password. Otherwise does what `change_password` does.

    Returns the new session and the number of other sessions that ended. Raises StateChanged if the
    account has a password by now, NotLoggedIn, RateLimited, BreachedPassword and Unavailable.
    """
    viewer = sudo.viewer
    require_session(viewer)
    await limiter.take_tokens(viewer.store, viewer_actor(viewer), (PASSWORD_CHANGE, viewer.id))
    new_hash = await _hash(viewer, new)
    done = await _replace_hash(viewer, Secret(LOCKED_HASH), new_hash, sudo.confirmation)
    if done is None:
        raise StateChanged
    return done


async def _hash(viewer: Viewer, new: Secret[str]) -> Secret[str]:
    """Returns the hash of a new password. Raises BreachedPassword and Unavailable."""
    store = viewer.store
    async with limiter.refund_if_overloaded(store, (PASSWORD_CHANGE, viewer.id)):
        await store.breached_passwords.require_not_breached(new)
        return await store.passwords.hash(new, user_id=viewer.id)


async def _replace_hash(
    viewer: Viewer, stored: Secret[str], new_hash: Secret[str], confirmation: Confirmation | None
) -> tuple[NewSession, int] | None:
    """Replaces the stored hash, every session and the links; None if the stored hash has changed
    in the meantime.
    """
    store = viewer.store
    hashes = {"verified_hash": stored.reveal(), "new_hash": new_hash.reveal()}
    async with store.transaction():
        await require_right(viewer)
        email = await store.value(CHANGE_PASSWORD(user_id=viewer.id, now=store.now(), **hashes))
        if email is None:
            return None
        ended = await end_all_sessions(store, viewer.id)
        session = await start_session(
            store,
            viewer.id,
            viewer.role,
            viewer.client,
            confirmation=confirmation,
            is_remembered=viewer.is_remembered,
            is_log_in=False,
            provider_login=viewer.provider_login,
        )
        await end_links_after_password_change(store, viewer.id)
        if viewer.verified:
            await post_password_notice(store, viewer.id, email, by="you")
        await audit_log.record(store, "password.change", viewer_actor(viewer))
        return session, max(0, ended - 1)
