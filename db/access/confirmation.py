"""Contains the confirmation of a logged-in user's identity, which sensitive changes need.

An account with a second step confirms with that, or with a recovery code. Otherwise an attacker who
knows the password could remove the second step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, func, select

from db.access.current_password import verify_current_password
from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.crypto.passwords import LOCKED_HASH
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import NotLoggedIn
from db.factors import limits, passkeys, verification
from db.factors.passkeys import Ceremony
from db.factors.totp import StoredApp, app_column, stored_app
from db.factors.verification import GivenFactor, PreparedFactor
from db.rate_limits import limiter
from db.rate_limits.limits import CONFIRM
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Confirmation, Method, confirm_now
from db.store import pick
from db.tables import passkeys as passkey_rows
from db.tables import recovery_codes, totp, users
from db.used_tokens import use_token
from db.viewer import Viewer, require_session


@dataclass(frozen=True, slots=True)
class ConfirmationOptions:
    """What the viewer's account has to confirm with.

    `has_passkey` says whether it has a passkey, which may belong to another domain.
    """

    has_password: bool
    has_passkey: bool
    app_secret: str | None
    app_kid: str
    app_last_step: int
    recovery_code_count: int
    sessions_ended_at: datetime | None

    @property
    def has_authenticator(self) -> bool:
        return self.app_secret is not None

    @property
    def has_factor(self) -> bool:
        return self.has_passkey or self.has_authenticator

    @property
    def app(self) -> StoredApp | None:
        return stored_app(self.app_secret, self.app_kid, self.app_last_step)


@dataclass(frozen=True, slots=True)
class NewConfirmation:
    """A new confirmation.

    `may_send_draft` says whether its draft is sent now, for the first time. `codes_left` is how
    many recovery codes the account has left, None if none was used.
    """

    confirmation: Confirmation
    may_send_draft: bool
    codes_left: int | None = None


# `get_viewer` takes this as its `preload`, so that one statement reads the session and the options.
PRELOAD = pick(
    ConfirmationOptions,
    users,
    has_password=users.c.password_hash != LOCKED_HASH,
    has_passkey=exists().where(passkey_rows.c.user_id == users.c.id),
    app_secret=app_column(totp.c.secret),
    app_kid=app_column(totp.c.kid),
    app_last_step=app_column(totp.c.last_step),
    recovery_code_count=select(func.count())
    .select_from(recovery_codes)
    .where(recovery_codes.c.user_id == users.c.id)
    .correlate(users)
    .scalar_subquery(),
)
OPTIONS = Statement(PRELOAD.where(users.c.id == bindparam("user_id")))


async def get_options(viewer: Viewer) -> ConfirmationOptions:
    """Returns what the account has to confirm with. Raises NotLoggedIn if it no longer exists."""
    if isinstance(viewer.preloaded, ConfirmationOptions):
        return viewer.preloaded
    options: ConfirmationOptions | None = await viewer.store.one(OPTIONS(user_id=viewer.id))
    if options is None:
        raise NotLoggedIn(ended=True)
    return options


async def begin_passkey(viewer: Viewer, sid_hash: str) -> Ceremony:
    """Returns what the page needs to ask the browser for a passkey of the account.

    Offers nothing if it has none for this site.
    """
    return await passkeys.begin_assertion(
        viewer.store, "confirm", user_id=viewer.id, sid_hash=sid_hash
    )


async def confirm(
    viewer: Viewer,
    *,
    password: Secret[str],
    factor: GivenFactor,
    sid_hash: str,
    draft_claims: Mapping[str, Any] | None,
) -> NewConfirmation | None:
    """Confirms the viewer's identity; returns None if what was given is wrong.

    For an account with a second step, only `factor` counts, otherwise only `password`. `sid_hash`
    identifies the session of a passkey's challenge. `draft_claims` are those of the form that waits
    for the confirmation, which this uses up. Raises RateLimited, Unavailable, and NotLoggedIn if
    the session has ended since the request was verified, or ends now after too many wrong
    passwords.
    """
    require_session(viewer)
    options = await get_options(viewer)
    if options.has_factor:
        return await _confirm_with_factor(viewer, options, factor, sid_hash, draft_claims)
    charge = (CONFIRM, viewer.id)
    if await verify_current_password(viewer, password, charge, "confirm") is None:
        return None
    async with viewer.store.transaction():
        await require_right(viewer)
        return await _finish(viewer, "password", draft_claims)


async def _confirm_with_factor(
    viewer: Viewer,
    options: ConfirmationOptions,
    factor: GivenFactor,
    sid_hash: str,
    draft_claims: Mapping[str, Any] | None,
) -> NewConfirmation | None:
    store, actor = viewer.store, viewer_actor(viewer)
    charges = limits.make_charges(store, viewer.id, viewer.client, options.sessions_ended_at)
    await limiter.take_tokens(store, actor, *charges)
    async with limiter.refund_if_overloaded(store, *charges):
        prepared = await verification.prepare(
            store, viewer.id, factor, "confirm", sid_hash=sid_hash
        )
        confirmed = await _use_factor(viewer, options, prepared, draft_claims)
    if confirmed is None:
        return None
    await limiter.refund(store, *charges, succeeded=True)
    if confirmed.confirmation.method == "recovery code":
        return replace(confirmed, codes_left=max(0, options.recovery_code_count - 1))
    return confirmed


async def _use_factor(
    viewer: Viewer,
    options: ConfirmationOptions,
    prepared: PreparedFactor,
    draft_claims: Mapping[str, Any] | None,
) -> NewConfirmation | None:
    store, actor = viewer.store, viewer_actor(viewer)
    async with store.transaction():
        await require_right(viewer)
        method = await verification.accept(store, viewer.id, prepared, options.app)
        if method is None:
            await audit_log.record(store, "confirm", actor, outcome="refused")
            return None
        if method == "recovery code":
            await audit_log.record(store, "recovery.use", actor)
        return await _finish(viewer, method, draft_claims)


async def _finish(
    viewer: Viewer, method: Method, draft_claims: Mapping[str, Any] | None
) -> NewConfirmation:
    """Writes the audit entry and uses the draft up. Must run inside a transaction."""
    store = viewer.store
    may_send_draft = draft_claims is not None and await use_token(store, draft_claims)
    await audit_log.record(store, "confirm", viewer_actor(viewer), {"factor": method})
    return NewConfirmation(confirm_now(store, method), may_send_draft)
