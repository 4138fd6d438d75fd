"""Starts, verifies, refreshes and ends sessions.

The claims of a cookie are optimistic; the database decides. The `database` strategy keeps a row for
each session, the `stateless` strategy none (the guide's two types of sessions). Both strategies
define the same five functions.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, or_, select, update

from db.audit import log as audit_log
from db.audit.log import Actor, anonymous_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import Forbidden, InvalidToken, NotLoggedIn
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import BEARER_FAILURES
from db.sessions import access_tokens, stateless, stored
from db.sessions.claims import NewSession, encode_claims
from db.sessions.device_cookie import read_device_cookie, renew_device_cookie
from db.sessions.provider_login import ProviderLogin
from db.sessions.sudo import Confirmation, encode_sudo
from db.store import Store
from db.tables import Instant, sessions, users
from db.tables import access_tokens as token_rows
from db.viewer import (
    UNKNOWN_CLIENT,
    Admin,
    Claims,
    ClientInfo,
    LiveSession,
    Role,
    Viewer,
    issue_viewer,
)

STRATEGIES: Final[Mapping[str, ModuleType]] = {"database": stored, "stateless": stateless}

LOCK_USERS = Statement(
    select(users.c.id)
    .where(or_(users.c.id == bindparam("viewer_id"), users.c.id == bindparam("user_id")))
    .order_by(users.c.id)
    .with_for_update()
)
LOCK_LAST_LOGIN_AND_END = Statement(
    select(users.c.sessions_ended_at, users.c.last_login_at)
    .where(users.c.id == bindparam("user_id"))
    .with_for_update()
)
SET_SESSIONS_ENDED_AT = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(sessions_ended_at=bindparam("moment", type_=Instant))
)
DELETE_SESSION_BY_ID = Statement(
    delete(sessions).where(
        sessions.c.id == bindparam("session_id"), sessions.c.user_id == bindparam("user_id")
    )
)
DELETE_TOKENS = Statement(delete(token_rows).where(token_rows.c.user_id == bindparam("user_id")))
DELETE_SESSIONS = Statement(delete(sessions).where(sessions.c.user_id == bindparam("user_id")))


async def start_session(
    store: Store,
    user_id: str,
    role: Role,
    client: ClientInfo,
    *,
    confirmation: Confirmation | None,
    is_remembered: bool = False,
    trusted_at: datetime | None = None,
    is_log_in: bool = True,
    provider_login: ProviderLogin | None = None,
) -> NewSession:
    """Starts a session and returns its cookies.

    `confirmation` says when and how the user has confirmed their identity, None if that does not
    count as a confirmation. `is_remembered` says whether the user chose to stay logged in, which
    selects the lifetime if the settings offer the choice. `trusted_at` is the time of the choice
    that the browser is not asked for the second step again, None without a new choice. `is_log_in`
    is false for a session that replaces another one: only a log-in makes a browser known.
    `provider_login` is the log-in at a provider that began the session, or the one that it
    replaces; None for any other log-in. Must run inside the transaction of the log-in, the sign-up
    or the change that replaces the session.
    """
    lifetime = store.lifetimes.of(is_remembered=is_remembered)
    session_id, claims = await _strategy(store).start(
        store,
        user_id,
        role,
        client,
        lifetime.idle,
        is_remembered=is_remembered,
        provider_login=provider_login,
    )
    device_cookie = None
    # Otherwise a thief with the session and the password would get a known browser, whose guesses
    # at the second step have a limit of their own, by each change of the password.
    if is_log_in or _is_known_browser(store, client, user_id):
        device_cookie = renew_device_cookie(
            store, client.device_cookie, user_id, trusted_at=trusted_at
        )
    return replace(
        encode_claims(store, claims),
        device_cookie=device_cookie,
        id=session_id,
        sudo=encode_sudo(store, claims, confirmation) if confirmation else None,
    )


async def get_viewer(
    store: Store,
    claims: Claims | None,
    *,
    client: ClientInfo = UNKNOWN_CLIENT,
    may_write: bool = True,
    preload: Select[Any] | None = None,
) -> Viewer:
    """Returns the viewer, verified by one statement.

    `client` describes where the request comes from. `preload` names more columns of `users` that
    the same statement reads. Unless `may_write` is false, also updates the time when the session
    was last seen, and renews the session in its second half. Raises NotLoggedIn.
    """
    if claims is None:
        raise NotLoggedIn
    found: tuple[LiveSession, object] | None = await _strategy(store).find(store, claims, preload)
    if found is None:
        raise NotLoggedIn(ended=True)
    live, preloaded = found
    if may_write:
        ends = await _strategy(store).renew(store, live, _renewed_expiry(store, live))
        if ends != live.expires_at:
            live = replace(live, expires_at=ends)
    return issue_viewer(store, live, client, preloaded)


async def get_token_viewer(
    store: Store, token: Secret[str], *, client: ClientInfo = UNKNOWN_CLIENT
) -> Viewer:
    """Returns the viewer of an access token, verified by one statement.

    Also updates the time of its last use, at most every few minutes. Raises InvalidToken, and
    RateLimited after too many wrong tokens of one client. A valid token is always accepted.
    """
    live = await access_tokens.find(store, token)
    if live is None:
        failures = per_client(BEARER_FAILURES, client.ip_address)
        await limiter.take_tokens(store, anonymous_actor(client), *failures)
        raise InvalidToken
    await access_tokens.record_use(store, live)
    scopes = tuple(live.scopes.split())
    return issue_viewer(store, live.as_session(), client, scopes=scopes, token_id=live.token_id)


async def require_right(viewer: Viewer, user_id: str = "") -> None:
    """Verifies the viewer again, as the first statement of each transaction in which a viewer
    changes data.

    The viewer may have been logged out, disabled or demoted since the request was verified. Locks
    the rows of the viewer and of the user `user_id` until the transaction ends. To avoid deadlocks,
    every transaction locks users in the order of their ids, then sessions, then the head of the
    audit log. Raises NotLoggedIn, InvalidToken for a viewer with an access token, and Forbidden for
    an Admin whose role has changed.
    """
    await viewer.store.all(LOCK_USERS(viewer_id=viewer.id, user_id=user_id or viewer.id))
    role: Role | None
    if viewer.scopes is not None:
        role = await access_tokens.lock_token(viewer)
        if role is None:
            raise InvalidToken
    else:
        role = await _strategy(viewer.store).lock_session(viewer)
        if role is None:
            raise NotLoggedIn(ended=True)
    if isinstance(viewer, Admin) and role != "admin":
        raise Forbidden


def refresh(viewer: Viewer, claims: Claims) -> NewSession | None:
    """Returns a new cookie for the same session if the role or the expiry has changed in the
    database, else None.

    The guide's `updateSession` sets the old token again, whose `exp` stays unchanged
    (docs/guide.md, row T3).
    """
    if claims.role == viewer.role and claims.expires_at == viewer.expires_at.timestamp():
        return None
    return encode_claims(
        viewer.store,
        replace(claims, role=viewer.role, expires_at=int(viewer.expires_at.timestamp())),
    )


async def end_session(
    store: Store, claims: Claims | None, client: ClientInfo = UNKNOWN_CLIENT
) -> None:
    """Ends the session of this cookie; with the stateless strategy, only writes the audit entry.

    A client can repeat a log-out with a stateless cookie, so the audit log's entry budget limits
    the entries. `client` describes where the request comes from.
    """
    if claims is None:
        return
    async with store.transaction():
        session_id = await _strategy(store).end(store, claims)
        if session_id is not None:
            actor = Actor("user", claims.user_id, session_id, client.ip_address, client.name)
            await audit_log.record(store, "logout", actor)


async def end_viewer_session(viewer: Viewer) -> None:
    """Ends the viewer's session; with the stateless strategy, every session of the account.

    Must run inside a transaction.
    """
    if viewer.session_id:
        await viewer.store.count(
            DELETE_SESSION_BY_ID(session_id=viewer.session_id, user_id=viewer.id)
        )
    else:
        await end_all_sessions(viewer.store, viewer.id)


async def end_all_sessions(store: Store, user_id: str) -> int:
    """Ends every session of an account, with both strategies, and deletes its access tokens.

    Returns how many sessions had a row. Must run inside a transaction. The stored time is not
    before any `iat` issued so far, so that it also ends sessions that started within the same
    second.
    """
    await end_stateless_sessions(store, user_id)
    ended = await store.count(DELETE_SESSIONS(user_id=user_id))
    await store.count(DELETE_TOKENS(user_id=user_id))
    return ended


async def end_stateless_sessions(store: Store, user_id: str) -> None:
    """Ends every session of an account that has no row, and the log-ins that wait for a second
    step.

    Must run inside a transaction.
    """
    for ended_at, logged_in_at in await store.all(LOCK_LAST_LOGIN_AND_END(user_id=user_id)):
        after = ended_at and ended_at + timedelta(microseconds=1)
        latest = max(moment for moment in (store.now(), after, logged_in_at) if moment)
        await store.count(SET_SESSIONS_ENDED_AT(user_id=user_id, moment=latest))


def _is_known_browser(store: Store, client: ClientInfo, user_id: str) -> bool:
    browser = read_device_cookie(store, client.device_cookie)
    return browser is not None and browser.has_logged_in_to(user_id, None)


def _renewed_expiry(store: Store, live: LiveSession) -> datetime:
    """Returns the expiry that the session has if it is used now."""
    now, lifetime = store.now(), store.lifetimes.of(is_remembered=live.is_remembered)
    if live.expires_at - now >= lifetime.half_life:
        return live.expires_at
    return max(
        live.expires_at,
        min(now.replace(microsecond=0) + lifetime.idle, live.logged_in_at + lifetime.maximum),
    )


def _strategy(store: Store) -> Any:
    return STRATEGIES[store.strategy]
