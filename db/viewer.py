"""The types that describe a caller: unverified claims, the verified viewer, and the part of the
viewer that templates may use.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Final

from db.crypto.secret import Secret
from db.device_names import describe_device
from db.errors import Forbidden, MissingScope, NeedsFactor, NotVerified
from db.sessions.provider_login import ProviderLogin

if TYPE_CHECKING:
    from db.store import Store

Role = str  # the name of a row of the table `roles`


@dataclass(frozen=True, slots=True)
class Claims:
    """The content of a signed session cookie, not yet compared with the database.

    Claims suffice for menus and redirects, never for data. `issued_at` is the time of the log-in
    and `expires_at` the expiry of the cookie, in seconds since 1970. `issued_at` is an integer with
    the database strategy and has fractions with the stateless strategy.
    """

    sid: Secret[str]
    user_id: str
    role: Role
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """The browser and IP address of a request.

    `device_type` selects the icon: computer, phone, tablet, terminal or unknown. `language` is the
    code of the language of the response; empty if it is unknown.
    """

    browser: str
    system: str
    device_type: str
    user_agent: str
    ip_address: str
    # The device cookie as received, not verified.
    device_cookie: Secret[str] | None = field(default=None, repr=False)
    language: str = ""

    @property
    def name(self) -> str:
        return str(describe_device(self.browser, self.system))


UNKNOWN_CLIENT: Final = ClientInfo("", "", "unknown", "", "")


@dataclass(frozen=True, slots=True)
class LiveUser:
    """The columns of a user that a viewer needs."""

    id: str
    name: str
    role: Role
    slug: str
    team: str
    verified: bool
    has_factor: bool


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session and its user, read by one statement.

    `session_id` is empty with the stateless strategy. `is_remembered` says whether the user chose
    to stay logged in. The last two are the mark of a session that a log-in at a provider began.
    """

    session_id: str
    logged_in_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_id: str
    name: str
    role: Role
    slug: str
    team: str
    verified: bool
    is_remembered: bool = False
    has_factor: bool = False
    provider_subject_hash: str | None = field(default=None, repr=False)
    provider_sid_hash: str | None = field(default=None, repr=False)

    @property
    def provider_login(self) -> ProviderLogin | None:
        if self.provider_subject_hash is None:
            return None
        return ProviderLogin(self.provider_subject_hash, self.provider_sid_hash or "")


@dataclass(frozen=True, slots=True)
class Me:
    """The part of the viewer that a template may use."""

    id: str
    name: str
    role: Role
    slug: str


_ISSUED: Final = object()


@dataclass(frozen=True, slots=True)
class Viewer:
    """The caller, verified against the database for this request.

    A viewer carries the store, so that code without a viewer cannot read data. Only
    `db.sessions.lifecycle` and `require_admin` create one; any other construction raises TypeError.
    """

    store: "Store" = field(repr=False)
    id: str
    name: str
    role: Role
    slug: str
    team: str
    verified: bool  # whether the user has confirmed the email
    session_id: str
    logged_in_at: datetime
    expires_at: datetime
    client: ClientInfo = field(repr=False)
    capability: object = field(repr=False, compare=False)
    # The DTO that the verifying statement also read.
    preloaded: object = field(default=None, repr=False, compare=False)
    is_remembered: bool = False  # whether the user chose to stay logged in
    # The scopes and the id of the access token of the request; None and empty for a session.
    scopes: tuple[str, ...] | None = None
    token_id: str = ""
    has_factor: bool = False  # whether the account has a passkey or an authenticator app
    # The log-in at a provider that began the session.
    provider_login: ProviderLogin | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.capability is not _ISSUED:
            raise TypeError("only db.sessions.lifecycle may create a viewer")

    @property
    def me(self) -> Me:
        return Me(self.id, self.name, self.role, self.slug)


class Admin(Viewer):
    """A viewer whose role in the database is `admin`."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The caller of a command of `latchkey`.

    Only `web.cli.operator_tasks` creates one, because a user who can run commands can read the
    database anyway.
    """

    store: "Store" = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mailer:
    """The task that delivers the messages of the outbox.

    Only `web.app` creates one, because a message contains the links of its recipient.
    """

    store: "Store" = field(repr=False)


def issue_viewer(
    store: "Store",
    live: LiveSession,
    client: ClientInfo = UNKNOWN_CLIENT,
    preloaded: object = None,
    *,
    scopes: tuple[str, ...] | None = None,
    token_id: str = "",
) -> Viewer:
    """Returns a Viewer for a live session, or with `scopes` for a live access token.

    Only `db.sessions.lifecycle` may call it, directly after it has found the session or token.
    """
    return Viewer(
        store,
        live.user_id,
        live.name,
        live.role,
        live.slug,
        live.team,
        live.verified,
        live.session_id,
        live.logged_in_at,
        live.expires_at,
        client,
        _ISSUED,
        preloaded,
        live.is_remembered,
        scopes,
        token_id,
        live.has_factor,
        live.provider_login,
    )


def require_admin(viewer: Viewer) -> Admin:
    """Returns the viewer as an Admin.

    Raises Forbidden if the viewer has another role, and NeedsFactor if administrators need a second
    step and the viewer has none.
    """
    if viewer.role != "admin":
        raise Forbidden
    if needs_factor(viewer):
        raise NeedsFactor
    return Admin(*(getattr(viewer, field.name) for field in fields(viewer)))


def needs_factor(viewer: Viewer) -> bool:
    """Returns whether the viewer has the role of an administrator, but cannot use it until they
    have added a second step.
    """
    is_required = viewer.store.factors.requires_admin_factor and viewer.role == "admin"
    return is_required and not viewer.has_factor


def require_role(viewer: Viewer, role: Role) -> None:
    """Raises Forbidden unless the viewer has the role. An administrator passes.

    Raises NeedsFactor if the administrator needs a second step for that. `require_admin` has a
    check of its own.
    """
    if viewer.role not in (role, "admin"):
        raise Forbidden(role)
    if role != "admin" and needs_factor(viewer):
        raise NeedsFactor


def has_scope(viewer: Viewer, scope: str) -> bool:
    """Returns whether the viewer has a session, or an access token with this scope."""
    return viewer.scopes is None or scope in viewer.scopes


def require_scope(viewer: Viewer, scope: str) -> None:
    """Raises MissingScope if the viewer called with an access token that lacks the scope."""
    if not has_scope(viewer, scope):
        raise MissingScope(scope)


def require_session(viewer: Viewer) -> None:
    """Raises Forbidden if the viewer called with an access token.

    Tokens never change passwords, emails and other factors, nor create tokens.
    """
    if viewer.scopes is not None:
        raise Forbidden("session")


def require_verified(viewer: Viewer) -> None:
    """Raises NotVerified if the viewer has not confirmed the email."""
    if not viewer.verified:
        raise NotVerified
