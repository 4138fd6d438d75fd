"""The changes of roles that administrators and the operator have in common.

Only `db.access` calls these functions; its functions check who may call them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, func, insert, select, update

from db.accounts import LOCK_ROLE
from db.admin_changes import open_change
from db.engine.statement import Conflict, Statement, insert_if
from db.errors import NotFound, RoleInUse, TooManyRoles
from db.messages import Message, UserText
from db.role_names import BUILT_IN_ROLES, label_of
from db.store import Store, pick
from db.tables import invitations, role_permissions, roles, users
from db.viewer import Admin, Operator, Role

MAX_ROLES: Final = 50


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A row of the table, and how many users and invitations have the role."""

    name: Role
    label: str
    user_count: int
    invitation_count: int


@dataclass(frozen=True, slots=True)
class RoleSummary:
    """A role with its permissions.

    A built-in role can be neither renamed nor deleted. `admin` has every permission without rows.
    """

    name: Role
    label: str
    user_count: int
    invitation_count: int
    permissions: tuple[str, ...]

    @property
    def title(self) -> Message | UserText:
        """The label for pages, which translate that of a built-in role."""
        return label_of(self.name, self.label)

    @property
    def is_built_in(self) -> bool:
        return self.name in BUILT_IN_ROLES

    @property
    def is_in_use(self) -> bool:
        return bool(self.user_count or self.invitation_count)


def _count(table: Any) -> Any:
    count = select(func.count()).select_from(table).where(table.c.role == roles.c.name)
    return count.correlate(roles).scalar_subquery()


_NEW_ROLE: Final = {"name": "name", "label": "label", "created_at": "now"}
_NAME = roles.c.name == bindparam("name")
_IS_ADDED: Final = roles.c.name.not_in(BUILT_IN_ROLES)
ROLES = Statement(
    pick(RoleRow, roles, user_count=_count(users), invitation_count=_count(invitations)).order_by(
        _IS_ADDED, roles.c.created_at, roles.c.name.desc()
    )
)
ROLE_LABELS = Statement(
    select(roles.c.name, roles.c.label).order_by(_IS_ADDED, roles.c.created_at, roles.c.name.desc())
)
PERMISSIONS = Statement(
    select(role_permissions.c.role, role_permissions.c.permission).order_by(
        role_permissions.c.permission
    )
)
INSERT_ROLE = Statement(
    insert_if(
        roles,
        _NEW_ROLE,
        select(func.count()).select_from(roles).scalar_subquery() < MAX_ROLES,
    )
    .on_conflict_do_nothing()
    .returning(roles.c.name)
)
CHANGE_LABEL = Statement(update(roles).where(_NAME, _IS_ADDED).values(label=bindparam("new_label")))
DELETE_ROLE = Statement(
    delete(roles)
    .where(
        _NAME,
        _IS_ADDED,
        ~exists().where(users.c.role == roles.c.name),
        ~exists().where(invitations.c.role == roles.c.name),
    )
    .returning(roles.c.name)
)
ROLE_PERMISSIONS = Statement(
    select(role_permissions.c.permission).where(role_permissions.c.role == bindparam("name"))
)
INSERT_PERMISSION = Statement(
    insert(role_permissions).values(role=bindparam("name"), permission=bindparam("permission"))
)
DELETE_PERMISSION = Statement(
    delete(role_permissions).where(
        role_permissions.c.role == bindparam("name"),
        role_permissions.c.permission == bindparam("permission"),
    )
)


def role_label() -> Any:
    """Returns the label of a user's role as an expression for a SELECT from `users`."""
    label = select(roles.c.label).where(roles.c.name == users.c.role)
    return label.correlate(users).scalar_subquery()


async def list_role_labels(store: Store) -> dict[Role, Message | UserText]:
    """Returns the label of every role by its name: the built-in roles, then the others.

    Counts no users, unlike `list_roles`.
    """
    return {name: label_of(name, label) for name, label in await store.all(ROLE_LABELS())}


async def list_roles(store: Store) -> list[RoleSummary]:
    """Returns every role with its permissions: the built-in roles, then the others."""
    permissions: dict[str, list[str]] = {}
    for role, permission in await store.all(PERMISSIONS()):
        permissions.setdefault(role, []).append(permission)
    return [
        RoleSummary(
            row.name,
            row.label,
            row.user_count,
            row.invitation_count,
            tuple(permissions.get(row.name, ())),
        )
        for row in await store.all(ROLES())
    ]


async def create_role(
    caller: Admin | Operator, name: Role, label: str, permissions: Sequence[str]
) -> bool:
    """Adds a role and returns whether its name was free.

    Raises TooManyRoles, and the errors of `open_change`.
    """
    store = caller.store
    async with open_change(caller, "role.create") as detail:
        created = await store.value(INSERT_ROLE(name=name, label=label, now=store.now()))
        if created is None:
            if await store.value(LOCK_ROLE(name=name)) is None:
                raise TooManyRoles
            return False
        await _add_permissions(store, name, permissions)
        detail |= {"changed_role": name, "label": label, "added": " ".join(permissions)}
    return True


async def change_role(
    caller: Admin | Operator,
    name: Role,
    *,
    label: str | None = None,
    permissions: Iterable[str] | None = None,
    added: Iterable[str] = (),
    removed: Iterable[str] = (),
) -> None:
    """Changes the label and the permissions of a role, effective at the next request of its users.

    None keeps a value, and a built-in role keeps its label. `permissions` replaces all permissions;
    `added` and `removed` change some of them. Raises NotFound, also for `admin`, and the errors of
    `open_change`.
    """
    store = caller.store
    async with open_change(caller, "role.edit") as detail:
        before = await store.value(LOCK_ROLE(name=name))
        if before is None or name == "admin":
            raise NotFound
        present = {str(row[0]) for row in await store.all(ROLE_PERMISSIONS(name=name))}
        wanted = (present if permissions is None else set(permissions)) | set(added)
        wanted -= set(removed)
        renamed = label is not None and label != before and name not in BUILT_IN_ROLES
        if renamed:
            await store.count(CHANGE_LABEL(name=name, new_label=label))
        await _add_permissions(store, name, wanted - present)
        for permission in present - wanted:
            await store.count(DELETE_PERMISSION(name=name, permission=permission))
        if renamed or wanted != present:
            detail |= {
                "changed_role": name,
                "label": (label if renamed else before) or "",
                "added": " ".join(sorted(wanted - present)),
                "removed": " ".join(sorted(present - wanted)),
            }


async def delete_role(caller: Admin | Operator, name: Role) -> None:
    """Deletes a role. Raises NotFound, also for a built-in role, and RoleInUse if a user or an
    invitation has the role.
    """
    store = caller.store
    async with open_change(caller, "role.delete") as detail:
        label = await store.value(LOCK_ROLE(name=name))
        if label is None or name in BUILT_IN_ROLES:
            raise NotFound
        try:
            deleted = await store.value(DELETE_ROLE(name=name))
        except Conflict as conflict:  # A user or an invitation has received it since.
            raise RoleInUse from conflict
        if deleted is None:
            raise RoleInUse
        detail |= {"changed_role": name, "label": str(label)}


async def _add_permissions(store: Store, name: Role, permissions: Iterable[str]) -> None:
    for permission in sorted(set(permissions)):
        await store.count(INSERT_PERMISSION(name=name, permission=permission))
