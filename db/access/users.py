"""A person's profile as this viewer may see it: decided in the SELECT, so that the rest never
leaves the database.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, ColumnElement, and_, bindparam, case, or_

from db.engine.statement import Statement
from db.errors import NotFound
from db.store import pick
from db.tables import users
from db.viewer import Role, Viewer


@dataclass(frozen=True, slots=True)
class Profile:
    """`email` and `phone` are None where the viewer may not see them."""

    name: str
    slug: str
    role: Role
    team: str
    created_at: datetime
    email: str | None
    phone: str | None


def can_see_email() -> ColumnElement[bool]:
    """Oneself, and administrators."""
    return or_(bindparam("viewer_is_admin", type_=Boolean), users.c.id == bindparam("viewer_id"))


def can_see_phone() -> ColumnElement[bool]:
    """Oneself, administrators, and the same team. An empty team is nobody's team."""
    return or_(can_see_email(), and_(users.c.team == bindparam("viewer_team"), users.c.team != ""))


PROFILE = Statement(
    pick(
        Profile,
        users,
        email=case((can_see_email(), users.c.email)),
        phone=case((can_see_phone(), users.c.phone)),
    ).where(users.c.slug == bindparam("slug"))
)


async def get_profile(viewer: Viewer, slug: str) -> Profile:
    """Raises NotFound."""
    asking = {
        "viewer_id": viewer.id,
        "viewer_team": viewer.team,
        "viewer_is_admin": viewer.role == "admin",
    }
    profile: Profile | None = await viewer.store.one(PROFILE(slug=slug, **asking))
    if profile is None:
        raise NotFound
    return profile
