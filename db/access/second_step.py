"""The second step of a log-in, after a password that does not open the account alone."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import bindparam, update

from db import accounts
from db.audit import log as audit_log
from db.audit.log import anonymous_actor, user_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import LinkInvalid, NoClaim
from db.factors.limits import make_charges
from db.factors.passkeys import NOT_OFFERED, Ceremony, begin_assertion
from db.factors.totp import StoredApp, app_column, stored_app
from db.factors.verification import GivenFactor, PreparedFactor, accept, prepare
from db.mail.notices import post_new_device_notice, post_second_step_notice
from db.mail.tokens import find_token
from db.rate_limits import limiter
from db.rate_limits.limiter import Charge
from db.rate_limits.limits import FACTOR_REPORT
from db.sessions.claimants import CLAIM_IS_VALID, Claimant
from db.sessions.claims import NewSession
from db.sessions.device_cookie import find_known_browser
from db.sessions.lifecycle import start_session
from db.sessions.provider_logouts import has_ended
from db.sessions.sudo import Method, confirm_now
from db.store import Store
from db.tables import Instant, totp, users
from db.viewer import Role


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A log-in after both steps.

    `codes_left` is the number of recovery codes that are left if one was used, else None.
    `has_confirmed_email` says whether the log-in used the link that confirms the email.
    """

    session: NewSession
    codes_left: int | None
    has_confirmed_email: bool


@dataclass(frozen=True, slots=True)
class _RecordedLogin:
    """The user after the log-in was recorded, and their authenticator app.

    `last_login_at` is not before any earlier log-in.
    """

    role: Role
    language: str
    verified_at: datetime | None
    last_login_at: datetime
    app_secret: str | None
    app_kid: str
    app_last_step: int

    @property
    def app(self) -> StoredApp | None:
        return stored_app(self.app_secret, self.app_kid, self.app_last_step)


class _WrongFactor(Exception):
    """Rolls the transaction back, because the second step is wrong or was used already."""


# Locks the user until the transaction ends, so that a change of the password or of a second step
# either makes the claim void or comes after the log-in.
RECORD_LOGIN = Statement(
    update(users)
    .where(*CLAIM_IS_VALID)
    .values(
        password_used_at=bindparam("now", type_=Instant),
        **accounts.LOGIN_VALUES,
    )
    .returning(
        users.c.role,
        users.c.language,
        # Not `IS NOT NULL`: in a RETURNING clause, SQLite 3.40 answers it wrongly with 1.
        users.c.verified_at,
        users.c.last_login_at,
        # One statement less than a SELECT. The code is used only if no later one was used.
        app_column(totp.c.secret),
        app_column(totp.c.kid),
        app_column(totp.c.last_step),
    )
    .execution_options(into=_RecordedLogin)
)


async def begin_passkey(claimant: Claimant) -> Ceremony:
    """Returns what the page needs to ask the browser for a passkey.

    Offers nothing if the account has none for this site.
    """
    if not claimant.has_passkey:
        return NOT_OFFERED
    return await begin_assertion(claimant.store, "factor", user_id=claimant.user_id)


def offered_days(claimant: Claimant) -> int:
    """Returns for how many days the user may choose that this browser is not asked for the second
    step; 0 if there is no such choice.
    """
    may_trust = _may_trust_browser(claimant.store, claimant.role)
    return claimant.store.factors.remembered_for.days if may_trust else 0


async def log_in(
    claimant: Claimant,
    given: GivenFactor,
    *,
    trusts_browser: bool = False,
    verify_token: Secret[str] | None = None,
) -> NewLogin | None:
    """Returns a new session if the given second step is correct, otherwise None.

    `trusts_browser` says whether the user chose that the second step is not asked for in this
    browser again. `verify_token` comes from the browser's link cookie, and confirms the email as
    the first step would. Raises NoClaim if the account has changed since the first step,
    RateLimited, Unavailable and Refused.
    """
    store, client = claimant.store, claimant.client
    charges = make_charges(store, claimant.user_id, client, claimant.sessions_ended_at)
    actor = anonymous_actor(client)
    await limiter.take_tokens(store, actor, *charges, target_id=claimant.user_id)
    async with limiter.refund_if_overloaded(store, *charges):
        prepared = await prepare(store, claimant.user_id, given, "factor")
        with suppress(_WrongFactor):
            async with store.transaction():
                return await _finish(claimant, prepared, charges, trusts_browser, verify_token)
    await _record_failure(claimant)
    return None


async def _finish(
    claimant: Claimant,
    prepared: PreparedFactor,
    charges: tuple[Charge, ...],
    trusts_browser: bool,
    verify_token: Secret[str] | None,
) -> NewLogin:
    """Uses the second step and starts the session. Raises NoClaim and _WrongFactor."""
    store, client, user_id = claimant.store, claimant.client, claimant.user_id
    recorded: _RecordedLogin | None = await store.one(
        RECORD_LOGIN(
            user_id=user_id,
            claimed_at=claimant.claimed_at,
            now=store.now(),
            browser_language=client.language,
        )
    )
    login = claimant.provider_login
    if recorded is None or (login and await has_ended(store, login, claimant.claimed_at)):
        raise NoClaim
    method = await accept(store, user_id, prepared, recorded.app)
    if method is None:
        raise _WrongFactor
    was_verified = recorded.verified_at is not None
    confirms = not was_verified and await _confirm_email(store, user_id, verify_token)
    if not (was_verified or confirms) and store.outbox.requires_verification:
        raise NoClaim
    if was_verified and not _is_known_browser(claimant):
        await post_new_device_notice(store, user_id, claimant.email, client)
    await limiter.refund(store, *charges, succeeded=True)
    is_trusted = trusts_browser and _may_trust_browser(store, recorded.role)
    session = await start_session(
        store,
        user_id,
        recorded.role,
        client,
        confirmation=confirm_now(store, method),
        is_remembered=claimant.is_remembered,
        provider_login=claimant.provider_login,
        trusted_at=_trusted_at(claimant, recorded) if is_trusted else None,
    )
    await _record_entries(claimant, session, method)
    codes_left = claimant.recovery_code_count - 1 if method == "recovery code" else None
    return NewLogin(replace(session, language=recorded.language), codes_left, confirms)


def _may_trust_browser(store: Store, role: Role) -> bool:
    """Returns whether a user of this role may choose that a browser is not asked again."""
    needs_factor = store.factors.requires_admin_factor and role == "admin"
    return bool(store.factors.remembered_for) and not needs_factor


def _is_known_browser(claimant: Claimant) -> bool:
    cookie, ended_at = claimant.client.device_cookie, claimant.sessions_ended_at
    return find_known_browser(claimant.store, cookie, claimant.user_id, ended_at) is not None


def _trusted_at(claimant: Claimant, recorded: _RecordedLogin) -> datetime:
    """Returns a time for the choice that is later than the last end of all sessions, and not later
    than the next, although the clocks of two hosts may differ.
    """
    ended_at = claimant.sessions_ended_at
    after = ended_at and ended_at + timedelta(microseconds=1)
    return max(moment for moment in (recorded.last_login_at, after) if moment)


async def _confirm_email(store: Store, user_id: str, token: Secret[str] | None) -> bool:
    """Confirms the email if the token does, and returns whether it did."""
    try:
        if (await find_token(store, "verify", token)).user_id != user_id or token is None:
            return False
    except LinkInvalid:
        return False
    await accounts.confirm_email(store, user_id, token)
    return True


async def _record_entries(claimant: Claimant, session: NewSession, method: Method) -> None:
    store = claimant.store
    actor = user_actor(claimant.user_id, claimant.client, session.id)
    if method == "recovery code":
        await audit_log.record(store, "recovery.use", actor)
    await audit_log.record(store, "login", actor, {"with": claimant.first_step, "factor": method})


async def _record_failure(claimant: Claimant) -> None:
    """Writes an audit entry, and tells the user about the failure at most once a day.

    An email that is not confirmed may be that of someone else, who gets no mail.
    """
    store, client, user_id = claimant.store, claimant.client, claimant.user_id
    async with store.transaction():
        if (
            claimant.verified
            and store.outbox.is_enabled
            and await limiter.try_take_token(store, FACTOR_REPORT, user_id)
        ):
            await post_second_step_notice(store, user_id, claimant.email, client)
        actor = anonymous_actor(client)
        await audit_log.record(store, "factor", actor, target_id=user_id, outcome="refused")
