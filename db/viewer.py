"""Who is asking: what a cookie claims, whom the database knows, and what a template may be told."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from db.refusals import Forbidden
from db.secret import Secret

if TYPE_CHECKING:
    from db.store import Store

Role = Literal["user", "admin"]
ROLES: Final[tuple[Role, ...]] = ("user", "admin")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a signed cookie says. Optimistic: good for menus and redirects, never for data.

    `issued_at` is the moment of log-in and `expires_at` the end of the cookie, both in seconds since 1970.
    """

    sid: Secret[str]
    user_id: str
    role: Role
    issued_at: float
    expires_at: float


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
    """The person behind a request, as the database knows them now. It carries the store: no viewer, no data.

    Only `db.sessions` and `require_admin` make one; anybody else gets a TypeError.
    """

    store: "Store" = field(repr=False)
    id: str
    name: str
    role: Role
    slug: str
    session_id: str
    logged_in_at: datetime
    expires_at: datetime
    seal: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise TypeError("viewers are issued by db.sessions alone")

    @property
    def me(self) -> Me:
        return Me(self.id, self.name, self.role, self.slug)


class Admin(Viewer):
    """A viewer whose row says `admin` now."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The person at the shell. `web.cli` alone makes one: whoever can run a command here owns the database anyway."""

    store: "Store" = field(repr=False)


def issue(
    store: "Store",
    *,
    id: str,
    name: str,
    role: Role,
    slug: str,
    session_id: str,
    logged_in_at: datetime,
    expires_at: datetime,
) -> Viewer:
    """A sealed Viewer. For `db.sessions` alone, which has just read these values from the session's and user's rows."""
    return Viewer(store, id, name, role, slug, session_id, logged_in_at, expires_at, _SEAL)


def require_admin(viewer: Viewer) -> Admin:
    """The same person as an Admin. Raises Forbidden where the row says another role."""
    if viewer.role != "admin":
        raise Forbidden
    return Admin(
        viewer.store,
        viewer.id,
        viewer.name,
        viewer.role,
        viewer.slug,
        viewer.session_id,
        viewer.logged_in_at,
        viewer.expires_at,
        _SEAL,
    )
