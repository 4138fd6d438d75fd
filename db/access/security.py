"""The state of what protects the viewer's account: the ways to log in, second steps, email, devices
and access tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Integer, ScalarSelect, Text, bindparam, func, literal, null, select

from db.access.email_verification import IS_MAIL_REFUSED
from db.crypto.passwords import LOCKED_HASH
from db.device_names import describe_device
from db.engine.statement import Statement
from db.errors import NotLoggedIn
from db.messages import Message
from db.store import pick
from db.tables import (
    Instant,
    access_tokens,
    is_live,
    passkeys,
    recovery_codes,
    sessions,
    totp,
    users,
)
from db.viewer import Viewer

# The security page asks for new recovery codes if no more than this many are left.
FEW_CODES: Final = 3


@dataclass(frozen=True, slots=True)
class SecurityState:
    """What protects the viewer's account.

    `password_used_at` is the last log-in or confirmation with the password, None if there was none.
    `app_added_at` is None if the account has no authenticator app, `codes_made_at` if it has no
    recovery codes left. `passkey_declined_at` is when the user declined the offer of a passkey.
    `previous_login_at` is the log-in before the newest one, None at the first.
    `password_changed_at` is None if the time is not known. `newest_…` describe the session other
    than the current one that started last; they are empty and None if there is none, and with the
    stateless strategy. `is_mail_refused` is true if the mail server refused the mail with the link
    that confirms the email. `tokens_used_at` is the last use of an access token.
    """

    email: str
    created_at: datetime
    delete_at: datetime | None
    previous_login_at: datetime | None
    has_password: bool
    password_changed_at: datetime | None
    password_used_at: datetime | None
    passkey_count: int
    passkey_declined_at: datetime | None
    app_added_at: datetime | None
    app_used_at: datetime | None
    codes_left: int
    codes_made_at: datetime | None
    is_mail_refused: bool
    device_count: int
    newest_browser: str
    newest_system: str
    newest_login_at: datetime | None
    token_count: int
    tokens_used_at: datetime | None

    @property
    def newest_device(self) -> Message:
        return describe_device(self.newest_browser, self.newest_system)

    @property
    def has_factor(self) -> bool:
        """Returns whether a log-in with the password alone is not enough."""
        return bool(self.passkey_count) or self.app_added_at is not None

    @property
    def has_few_codes(self) -> bool:
        return self.has_factor and self.codes_left <= FEW_CODES


@dataclass(frozen=True, slots=True)
class OwnPasskey:
    """A passkey of the viewer. `backed_up` says whether it is synced to the user's other devices.

    It only works if `rp_id` is the domain of this site.
    """

    id: str
    name: str
    rp_id: str
    backed_up: bool
    created_at: datetime
    last_used_at: datetime | None


_own = sessions.alias("own_sessions")


def _newest_other(column: Any) -> ScalarSelect[Any]:
    """Selects a column of the newest session of the user that is not the current one."""
    return (
        select(column)
        .where(is_live(_own), _own.c.user_id == users.c.id, _own.c.id != sessions.c.id)
        .order_by(_own.c.created_at.desc(), _own.c.id)
        .limit(1)
        .correlate(users, sessions)
        .scalar_subquery()
    )


def _of_tokens(expression: Any) -> ScalarSelect[Any]:
    return (
        select(expression)
        .select_from(access_tokens)
        .where(access_tokens.c.user_id == users.c.id, is_live(access_tokens))
        .correlate(users)
        .scalar_subquery()
    )


def _of_user(expression: Any, table: Any) -> ScalarSelect[Any]:
    """Selects an expression over the rows of the user in a table of second steps."""
    return (
        select(expression)
        .select_from(table)
        .where(table.c.user_id == users.c.id)
        .correlate(users)
        .scalar_subquery()
    )


COUNT_FACTORS: Final = Statement(
    select(_of_user(func.count(), passkeys) + _of_user(func.count(), totp)).where(
        users.c.id == bindparam("user_id")
    )
)
_COLUMNS: Final[Mapping[str, Any]] = {
    "has_password": users.c.password_hash != LOCKED_HASH,
    "passkey_count": _of_user(func.count(), passkeys),
    "app_added_at": _of_user(totp.c.created_at, totp),
    "app_used_at": _of_user(totp.c.last_used_at, totp),
    "codes_left": _of_user(func.count(), recovery_codes),
    "codes_made_at": _of_user(func.max(recovery_codes.c.created_at, type_=Instant), recovery_codes),
    "is_mail_refused": IS_MAIL_REFUSED,
    "token_count": _of_tokens(func.count()),
    "tokens_used_at": _of_tokens(func.max(access_tokens.c.last_used_at, type_=Instant)),
}
# The columns for a statement that reads the session of the viewer, too.
WITH_SESSION: Final[Mapping[str, Any]] = {
    **_COLUMNS,
    "device_count": select(func.count())
    .select_from(_own)
    .where(is_live(_own), _own.c.user_id == users.c.id)
    .correlate(users)
    .scalar_subquery(),
    "newest_browser": func.coalesce(_newest_other(_own.c.browser), ""),
    "newest_system": func.coalesce(_newest_other(_own.c.system), ""),
    "newest_login_at": _newest_other(_own.c.created_at),
}
# The columns with the stateless strategy, which has no sessions to count.
WITHOUT_SESSION: Final[Mapping[str, Any]] = {
    **_COLUMNS,
    "device_count": literal(0, Integer),
    "newest_browser": literal("", Text),
    "newest_system": literal("", Text),
    "newest_login_at": null().cast(Instant),
}
# `get_viewer` takes this as its `preload`, so that one statement reads the session and the state.
PRELOAD = pick(SecurityState, users, **WITH_SESSION)
STATE = Statement(
    pick(SecurityState, users, **WITHOUT_SESSION).where(users.c.id == bindparam("user_id"))
)
PASSKEYS = Statement(
    pick(OwnPasskey, passkeys)
    .where(passkeys.c.user_id == bindparam("user_id"))
    .order_by(passkeys.c.created_at, passkeys.c.id)
)


async def get_state(viewer: Viewer) -> SecurityState:
    """Returns what protects the viewer's account. Raises NotLoggedIn if the user no longer exists.

    With the database strategy, the viewer must have been verified with `PRELOAD`.
    """
    if isinstance(viewer.preloaded, SecurityState):
        return viewer.preloaded
    state: SecurityState | None = await viewer.store.one(
        STATE(user_id=viewer.id, now=viewer.store.now())
    )
    if state is None:
        raise NotLoggedIn(ended=True)
    return state


async def list_passkeys(viewer: Viewer, state: SecurityState) -> list[OwnPasskey]:
    """Returns the passkeys of the viewer, the oldest first. Queries only if there are any."""
    if not state.passkey_count:
        return []
    return await viewer.store.all(PASSKEYS(user_id=viewer.id))


async def must_keep_factor(viewer: Viewer) -> bool:
    """Returns whether the viewer has one second step, and REQUIRE_FACTOR forbids its removal.

    Queries only for an administrator who needs a second step.
    """
    if viewer.role != "admin" or not viewer.store.factors.requires_admin_factor:
        return False
    return bool(await viewer.store.value(COUNT_FACTORS(user_id=viewer.id)) == 1)


def renewal_start(viewer: Viewer) -> datetime | None:
    """Returns the time after which a request renews the session; None if no renewal for its full
    idle lifetime is left.
    """
    lifetime = viewer.store.lifetimes.of(is_remembered=viewer.is_remembered)
    start = viewer.expires_at - lifetime.half_life
    last_renewal = viewer.logged_in_at + lifetime.maximum - lifetime.idle
    return start if start <= last_renewal else None


def idle_lifetime(viewer: Viewer) -> timedelta:
    """Returns how long the session stays valid without a request."""
    return viewer.store.lifetimes.of(is_remembered=viewer.is_remembered).idle
