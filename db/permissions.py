"""The permissions of a viewer, by the role in the database."""

from sqlalchemy import bindparam, exists, literal, or_, select

from db.engine.statement import Statement
from db.errors import Forbidden, NeedsFactor
from db.tables import role_permissions, users
from db.viewer import Viewer, has_scope, needs_factor

HAS_PERMISSION = Statement(
    select(literal(1))
    .select_from(users)
    .where(
        users.c.id == bindparam("user_id"),
        users.c.disabled_at.is_(None),
        or_(
            users.c.role == "admin",
            exists().where(
                role_permissions.c.role == users.c.role,
                role_permissions.c.permission == bindparam("permission"),
            ),
        ),
    )
)
# An administrator has every permission, so those of all roles.
OWN_PERMISSIONS = Statement(
    select(role_permissions.c.permission)
    .distinct()
    .select_from(users)
    .join(
        role_permissions,
        or_(users.c.role == "admin", role_permissions.c.role == users.c.role),
    )
    .where(users.c.id == bindparam("user_id"), users.c.disabled_at.is_(None))
    .order_by(role_permissions.c.permission)
)


async def require(viewer: Viewer, permission: str) -> None:
    """Raises Forbidden unless the viewer has the permission in the database now.

    An administrator has every permission. An access token also needs a scope of this name. In a
    transaction that changes data, call it after `require_right`, which locks the viewer's row: the
    role then stays the same until the end. Raises NeedsFactor if the viewer is an administrator who
    needs a second step.
    """
    if needs_factor(viewer):
        raise NeedsFactor
    found = await viewer.store.value(HAS_PERMISSION(user_id=viewer.id, permission=permission))
    if found is None or not has_scope(viewer, permission):
        raise Forbidden(permission)


async def permissions_of(viewer: Viewer) -> tuple[str, ...]:
    """Returns the names of the viewer's permissions, sorted.

    An administrator has those of all roles and all that the product declares. A viewer with an
    access token has only those that are also scopes of the token. An administrator who needs a
    second step has none.
    """
    if needs_factor(viewer):
        return ()
    found = {str(row[0]) for row in await viewer.store.all(OWN_PERMISSIONS(user_id=viewer.id))}
    if viewer.role == "admin":
        found.update(viewer.store.product.permissions)
    return tuple(sorted(name for name in found if has_scope(viewer, name)))
