"""The profile of a user as the viewer may see it.

The SELECT decides on each column, so that the others never leave the database.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, ColumnElement, and_, bindparam, case, or_

from db.engine.statement import Statement
from db.errors import NotFound
from db.messages import Message, UserText
from db.role_names import label_of
from db.roles import role_label
from db.store import pick
from db.tables import users
from db.viewer import Role, Viewer, has_scope, needs_factor


@dataclass(frozen=True, slots=True)
class Profile:
    """The profile of a user. `email` and `phone` are None if the viewer may not see them."""

    id: str
    name: str
    slug: str
    role: Role
    role_label: str
    team: str
    created_at: datetime
    email: str | None
    phone: str | None

    @property
    def role_title(self) -> Message | UserText:
        """The label of the role for pages, which translate that of a built-in role."""
        return label_of(self.role, self.role_label)


def can_see_email() -> ColumnElement[bool]:
    """Returns the condition that the viewer is the user or an administrator."""
    return or_(bindparam("viewer_is_admin", type_=Boolean), users.c.id == bindparam("viewer_id"))


def can_see_phone() -> ColumnElement[bool]:
    """Returns the condition that the viewer is the user, an administrator, or in the same team.

    An empty team matches no other team.
    """
    return or_(can_see_email(), and_(users.c.team == bindparam("viewer_team"), users.c.team != ""))


PROFILE = Statement(
    pick(
        Profile,
        users,
        role_label=role_label(),
        email=case((can_see_email(), users.c.email)),
        phone=case((can_see_phone(), users.c.phone)),
    ).where(users.c.slug == bindparam("slug"))
)


async def get_profile(viewer: Viewer, slug: str) -> Profile:
    """Returns the profile with this slug. Raises NotFound.

    An administrator reads what other users may see with an access token without the scope
    `admin:read`, or as long as they need a second step.
    """
    viewer_values = {
        "viewer_id": viewer.id,
        "viewer_team": viewer.team,
        "viewer_is_admin": _is_admin(viewer),
    }
    profile: Profile | None = await viewer.store.one(PROFILE(slug=slug, **viewer_values))
    if profile is None:
        raise NotFound
    return profile


def _is_admin(viewer: Viewer) -> bool:
    is_admin = viewer.role == "admin" and not needs_factor(viewer)
    return is_admin and has_scope(viewer, "admin:read")
