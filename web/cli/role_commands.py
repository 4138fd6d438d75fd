"""Contains the commands `latchkey roles …`."""

import argparse
from typing import Final

from db.access import operator
from db.viewer import Operator
from web.cli.argument_checks import get_data
from web.cli.commands import (
    Argument,
    CommandError,
    CommandGroup,
    OperatorCommand,
    OperatorTask,
)
from web.forms.form import Form
from web.forms.schemas import NewRole, RoleEdit
from web.observability.logs import printable
from web.rendering.formatting import plural
from web.settings.settings import Settings


def prepare_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    async def show(caller: Operator) -> None:
        for role in await operator.list_roles(caller):
            users = f"{role.user_count} {plural(role.user_count, 'user', 'users')}"
            granted = "every permission" if role.name == "admin" else " ".join(role.permissions)
            print(printable(f"{role.name:<16}  {role.label}  {users}  {granted}".rstrip()))

    return show


def prepare_creation(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    data = get_data(Form.check(NewRole, {"name": options.name, "label": options.label}))

    async def create(caller: Operator) -> None:
        if not await operator.create_role(caller, data.name, data.label):
            raise CommandError("There is already a role with this name.")
        print(f"added the role {data.name}")

    return create


def prepare_grant(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    permission = _permission(options.permission)

    async def grant(caller: Operator) -> None:
        await operator.grant_permission(caller, options.name, permission)
        print(f"{options.name} has the permission {permission}")

    return grant


def prepare_revocation(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    permission = _permission(options.permission)

    async def revoke(caller: Operator) -> None:
        await operator.revoke_permission(caller, options.name, permission)
        print(f"{options.name} no longer has the permission {permission}")

    return revoke


def prepare_deletion(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    async def delete(caller: Operator) -> None:
        await operator.delete_role(caller, options.name)
        print(f"deleted the role {options.name}")

    return delete


def _permission(typed: str) -> str:
    """Returns the one permission that was typed. Raises CommandError."""
    data = get_data(Form.check_field(RoleEdit, "permissions", {"permissions": typed}))
    if len(data.permissions) != 1:
        raise CommandError("Write one permission, such as articles:write.")
    return str(data.permissions[0])


NAME: Final = Argument("name")
PERMISSION: Final = Argument("permission", help="such as articles:write")
COMMANDS: Final = (
    CommandGroup(
        "roles",
        "roles",
        (
            OperatorCommand(
                "list",
                "list the roles with their users and permissions",
                prepare_list,
                writes=False,
            ),
            OperatorCommand(
                "create", "add a role", prepare_creation, (NAME, Argument("--label", required=True))
            ),
            OperatorCommand("grant", "give a role a permission", prepare_grant, (NAME, PERMISSION)),
            OperatorCommand(
                "revoke", "take a permission from a role", prepare_revocation, (NAME, PERMISSION)
            ),
            OperatorCommand("delete", "delete a role that nobody has", prepare_deletion, (NAME,)),
        ),
    ),
)
