"""Who is asking: what a cookie claims, whom the database knows, and what a template may be told."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from db.crypto.secret import Secret
from db.device_names import describe
from db.errors import Forbidden

if TYPE_CHECKING:
    from db.store import Store

Role = Literal["user", "admin"]
ROLES: Final[tuple[Role, ...]] = ("user", "admin")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a signed cookie says. Optimistic: good for menus and redirects, never for data.

    `issued_at` is the moment of log-in and `expires_at` the end of the cookie, both in seconds
    since 1970; the first is a whole number where sessions have rows, and carries fractions where
    they have none.
    """

    sid: Secret[str]
    user_id: str
    role: Role
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Device:
    """Where a log-in comes from, as its owner will recognise it.

    `kind` picks the drawing; `address` is an IP.
    """

    browser: str
    system: str
    kind: str
    user_agent: str
    address: str
    # by which the browser may be known: unverified
    cookie: Secret[str] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return describe(self.browser, self.system)


NOWHERE: Final = Device("", "", "unknown", "", "")


@dataclass(frozen=True, slots=True)
class LiveUser:
    """What of a user's row makes a viewer."""

    id: str
    name: str
    role: Role
    slug: str
    team: str


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session and its user, as one statement found them.

    `session_id` is empty where sessions have no rows.
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


@dataclass(frozen=True, slots=True)
class Me:
    """What a template may know of the viewer."""

    id: str
    name: str
    role: Role
    slug: str


_SEAL: Final = object()


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person behind a request, as the database knows them now.

    It carries the store: no viewer, no data.

    Only `db.sessions.lifecycle` and `require_admin` make one; anybody else gets a TypeError.
    """

    store: "Store" = field(repr=False)
    id: str
    name: str
    role: Role
    slug: str
    team: str
    session_id: str
    logged_in_at: datetime
    expires_at: datetime
    device: Device = field(repr=False)
    seal: object = field(repr=False, compare=False)
    # a DTO that the same statement read
    preloaded: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise TypeError("viewers are issued by db.sessions.lifecycle alone")

    @property
    def me(self) -> Me:
        return Me(self.id, self.name, self.role, self.slug)


class Admin(Viewer):
    """A viewer whose row says `admin` now."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The person at the shell.

    `web.cli.main` alone makes one: whoever can run a command owns the database anyway.
    """

    store: "Store" = field(repr=False)


def issue(
    store: "Store", live: LiveSession, device: Device = NOWHERE, preloaded: object = None
) -> Viewer:
    """A sealed Viewer.

    For `db.sessions.lifecycle` alone, which has just found the session alive.
    """
    return Viewer(
        store,
        live.user_id,
        live.name,
        live.role,
        live.slug,
        live.team,
        live.session_id,
        live.logged_in_at,
        live.expires_at,
        device,
        _SEAL,
        preloaded,
    )


def require_admin(viewer: Viewer) -> Admin:
    """The same person as an Admin. Raises Forbidden where the row says another role."""
    if viewer.role != "admin":
        raise Forbidden
    return Admin(*(getattr(viewer, field.name) for field in fields(viewer)))
