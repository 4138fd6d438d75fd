"""The administration of roles: their labels and permissions."""

from collections.abc import Sequence

from db import roles
from db.audit.log import viewer_actor
from db.errors import NotFound
from db.rate_limits import limiter
from db.rate_limits.limits import ADMIN_CHANGE, ADMIN_DAY
from db.roles import RoleSummary
from db.sessions.sudo import Sudo
from db.viewer import Admin, Role


async def list_roles(admin: Admin) -> list[RoleSummary]:
    """Returns every role: the built-in roles, then the others in the order of their creation."""
    return await roles.list_roles(admin.store)


async def get_role(admin: Admin, name: Role) -> RoleSummary:
    """Returns a role. Raises NotFound."""
    for role in await roles.list_roles(admin.store):
        if role.name == name:
            return role
    raise NotFound


async def create_role(
    sudo: Sudo[Admin], name: Role, label: str, permissions: Sequence[str]
) -> bool:
    """Adds a role and returns whether its name was free.

    Raises TooManyRoles, RateLimited, NotLoggedIn and Forbidden.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    return await roles.create_role(admin, name, label, permissions)


async def change_role(
    sudo: Sudo[Admin], name: Role, label: str | None, permissions: Sequence[str] | None
) -> None:
    """Changes the label and replaces the permissions; None keeps a value.

    Raises NotFound, also for `admin`, RateLimited, NotLoggedIn and Forbidden.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    await roles.change_role(admin, name, label=label, permissions=permissions)


async def delete_role(sudo: Sudo[Admin], name: Role) -> None:
    """Deletes a role.

    Raises NotFound, also for a built-in role, RoleInUse, RateLimited, NotLoggedIn and Forbidden.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    await roles.delete_role(admin, name)


async def _take_tokens(admin: Admin) -> None:
    """Takes the tokens of one change. Raises RateLimited."""
    await limiter.take_tokens(
        admin.store, viewer_actor(admin), (ADMIN_CHANGE, admin.id), (ADMIN_DAY, admin.id)
    )
