"""Claimants: users whose first step of a log-in was verified, and who are not logged in yet.

A claim is an encrypted cookie without a row, the same for both session strategies. It is void once
the account's password or second steps change, because each change moves `sessions_ended_at`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, exists, func, or_, select

from db.crypto.encrypted_tokens import LIFETIMES
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import NoClaim
from db.sessions.claims import NewCookie, to_datetime
from db.sessions.device_cookie import read_device_cookie
from db.sessions.provider_login import ProviderLogin
from db.store import pick
from db.tables import Instant, passkeys, recovery_codes, totp, users
from db.viewer import ClientInfo, Role

if TYPE_CHECKING:
    from db.store import Store

_ISSUED: Final = object()


@dataclass(frozen=True, slots=True)
class NewClaim:
    """The cookie of a claim, after the first step of a log-in."""

    cookie: NewCookie


@dataclass(frozen=True, slots=True)
class _ClaimUser:
    email: str
    role: Role
    sessions_ended_at: datetime | None
    verified: bool
    has_passkey: bool
    has_authenticator: bool
    recovery_code_count: int


@dataclass(frozen=True, slots=True)
class Claimant:
    """A user whose first step was verified, read from the database for this request.

    Only this module creates one. `verified` says whether the email is confirmed, and `has_passkey`
    whether the account has a passkey of this site. `claimed_at` is the time of the first step.
    `next_page` is the page after the log-in, or empty. `is_remembered` says whether the user chose
    to stay logged in.
    """

    store: "Store" = field(repr=False)
    user_id: str
    email: str
    role: Role
    sessions_ended_at: datetime | None
    verified: bool
    has_passkey: bool
    has_authenticator: bool
    recovery_code_count: int
    claimed_at: datetime
    next_page: str
    is_remembered: bool
    first_step: str  # `password`, or the name of the provider that the user logged in with
    provider_login: ProviderLogin | None  # None after a password
    client: ClientInfo = field(repr=False)
    capability: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.capability is not _ISSUED:
            raise TypeError("only db.sessions.claimants may create a Claimant")


CLAIM_IS_VALID: Final = (
    users.c.id == bindparam("user_id"),
    users.c.disabled_at.is_(None),
    or_(
        users.c.sessions_ended_at.is_(None),
        users.c.sessions_ended_at < bindparam("claimed_at", type_=Instant),
    ),
)
CLAIM_USER = Statement(
    pick(
        _ClaimUser,
        users,
        verified=users.c.verified_at.is_not(None),
        has_passkey=exists().where(
            passkeys.c.user_id == users.c.id, passkeys.c.rp_id == bindparam("rp_id")
        ),
        has_authenticator=exists().where(totp.c.user_id == users.c.id),
        recovery_code_count=select(func.count())
        .select_from(recovery_codes)
        .where(recovery_codes.c.user_id == users.c.id)
        .correlate(users)
        .scalar_subquery(),
    ).where(*CLAIM_IS_VALID)
)


def needs_second_step(
    store: "Store",
    client: ClientInfo,
    *,
    user_id: str,
    role: Role,
    has_factor: bool,
    sessions_ended_at: datetime | None,
) -> bool:
    """Returns whether a password or a log-in at a provider does not open the account alone.

    It does if the account has no second step, and in a browser that the user has chosen to
    remember, except for administrators who need a second step.
    """
    if not has_factor:
        return False
    if store.factors.requires_admin_factor and role == "admin":
        return True
    browser = read_device_cookie(store, client.device_cookie)
    return browser is None or not browser.is_trusted_by(
        user_id, sessions_ended_at, store.now() - store.factors.remembered_for
    )


def make_claim(
    store: "Store",
    user_id: str,
    *,
    read_at: datetime,
    sessions_ended_at: datetime | None,
    next_page: str,
    is_remembered: bool,
    first_step: str = "password",
    provider_login: ProviderLogin | None = None,
) -> NewClaim:
    """Returns the claim of a user whose password was verified.

    `first_step` is the name of the provider if the user logged in there, and `provider_login` marks
    the session that the claim becomes. `read_at` is a time before
    the password hash and `sessions_ended_at` were read, so that a change of the password since then
    makes the claim void.
    """
    after = sessions_ended_at and sessions_ended_at + timedelta(microseconds=1)
    claimed_at = max(moment for moment in (read_at, after) if moment)
    token = store.encrypted_tokens.encrypt(
        "claim",
        {
            "sub": user_id,
            "at": claimed_at.timestamp(),
            "next": next_page,
            "remembered": is_remembered,
            "first_step": first_step,
            "subject_hash": provider_login.subject_hash if provider_login else "",
            "sid_hash": provider_login.sid_hash if provider_login else "",
        },
    )
    return NewClaim(NewCookie(token, int(LIFETIMES["claim"].total_seconds())))


def is_claim(store: "Store", cookie: str | None) -> bool:
    """Returns whether the cookie is a claim that has not expired, without a query."""
    return store.encrypted_tokens.decrypt("claim", cookie) is not None


async def get_claimant(store: "Store", cookie: Secret[str] | None, client: ClientInfo) -> Claimant:
    """Returns the claimant, verified by one statement. Raises NoClaim."""
    claim = store.encrypted_tokens.decrypt("claim", cookie.reveal() if cookie else None)
    if claim is None:
        raise NoClaim
    user_id, claimed_at = str(claim["sub"]), to_datetime(claim["at"])
    user: _ClaimUser | None = await store.one(
        CLAIM_USER(user_id=user_id, claimed_at=claimed_at, rp_id=store.factors.rp_id)
    )
    if user is None:
        raise NoClaim
    return Claimant(
        store,
        user_id,
        user.email,
        user.role,
        user.sessions_ended_at,
        user.verified,
        user.has_passkey,
        user.has_authenticator,
        user.recovery_code_count,
        claimed_at,
        str(claim["next"]),
        bool(claim["remembered"]),
        str(claim.get("first_step", "password")),  # Claims before schema 0008 lack it.
        _read_provider_login(claim),
        client,
        _ISSUED,
    )


def _read_provider_login(claim: Mapping[str, Any]) -> ProviderLogin | None:
    """Returns the log-in at a provider of a claim. Claims before schema 0009 have none."""
    subject_hash = str(claim.get("subject_hash", ""))
    if not subject_hash:
        return None
    return ProviderLogin(subject_hash, str(claim.get("sid_hash", "")))
