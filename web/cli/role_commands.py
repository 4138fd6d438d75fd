"""Contains the commands `latchkey roles`.

Each `prepare_` function validates the arguments like a form, before the database is opened. It
returns the task and raises CommandError.
"""

import argparse
from itertools import chain

from db.access import operator
from db.viewer import Operator
from web.cli.operator_commands import CommandError, OperatorTask
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
    form = Form.check(NewRole, {"name": options.name, "label": options.label})
    data = form.data
    if data is None:
        raise CommandError(" ".join(chain.from_iterable(form.errors.values())))

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
    form = Form.check_field(RoleEdit, "permissions", {"permissions": typed})
    if form.data is None:
        raise CommandError(" ".join(form.errors["permissions"]))
    if len(form.data.permissions) != 1:
        raise CommandError("Write one permission, such as articles:write.")
    return str(form.data.permissions[0])
