"""The actions of the operator: create and delete users, change their roles, passwords and emails,
and list them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from db import accounts, deletions, roles
from db.access.email_change import replace_email
from db.audit import chain
from db.audit import log as audit_log
from db.audit.log import OPERATOR, mask_email
from db.crypto.secret import Secret
from db.engine.statement import Conflict, Statement
from db.errors import NotFound, UnknownRole
from db.mail.notices import end_links_after_password_change, post_password_notice
from db.roles import RoleSummary
from db.store import pick
from db.tables import users
from db.viewer import Operator, Role


@dataclass(frozen=True, slots=True)
class ListedUser:
    email: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


ALL_USERS = Statement(pick(ListedUser, users).order_by(users.c.created_at, users.c.id))


async def find_audit_problem(operator: Operator) -> str:
    """Returns why audit entries written now would not continue the log; an empty string if they
    would.
    """
    return await chain.find_head_problem(operator.store)


async def create_user(
    operator: Operator, *, name: str, email: str, password: Secret[str], role: Role
) -> str | None:
    """Creates a user and returns the id; None if an account has the email. Raises UnknownRole."""
    store = operator.store
    password_hash = await store.passwords.hash(password)
    async with store.transaction():
        await accounts.require_role(store, role)
        user_id = await accounts.insert_user(
            store, name, email, password_hash, role=role, verified=True
        )
        if user_id is None:
            target_id = await accounts.find_user_id(store, email)
            await audit_log.record(
                store, "account.create", OPERATOR, target_id=target_id, outcome="refused"
            )
        else:
            await audit_log.record(
                store, "account.create", OPERATOR, {"role": role}, target_id=user_id
            )
    return user_id


async def set_user_role(operator: Operator, email: str, role: Role) -> None:
    """Changes a user's role from the user's next request on. Raises NotFound, UnknownRole and
    LastAdmin.
    """
    await accounts.set_role(operator, await _get_user_id(operator, email), role)


async def set_user_password(operator: Operator, email: str, password: Secret[str]) -> int:
    """Replaces a user's password, ends the user's sessions and returns how many rows there were.

    Raises NotFound.
    """
    store = operator.store
    user_id = await _get_user_id(operator, email)
    password_hash = await store.passwords.hash(password)
    async with accounts.change_user(operator, "password.set", user_id) as detail:
        ended = await accounts.set_password_hash(store, user_id, password_hash)
        detail["ended"] = ended
        await end_links_after_password_change(store, user_id)
        user = await accounts.find_recipient(store, email)
        if user is not None and user.verified:
            await post_password_notice(store, user_id, email, by="the operator")
    return ended


async def set_user_email(
    operator: Operator, email: str, new_email: str, *, tells_old: bool = True
) -> Literal["changed", "taken", "disabled"]:
    """Replaces a user's email, unless another account has it or may get it back.

    The email of a disabled account stays. The new one counts as confirmed, because the operator
    answers for it. Tells both emails, as a change by the user does, or without `tells_old` only the
    new one. Sessions continue, and links to the old email end. Raises NotFound.
    """
    store = operator.store
    user_id = await _get_user_id(operator, email)
    try:
        async with accounts.change_user(operator, "email.change", user_id) as detail:
            state = await accounts.get_user_state(store, user_id)
            if state.disabled_at is not None:
                return "disabled"
            if new_email == email:
                return "changed"
            if await accounts.email_exists(store, new_email, for_user_id=user_id):
                return "taken"
            if not await replace_email(operator, user_id, email, new_email, tells_old=tells_old):
                raise NotFound
            detail |= {"from": mask_email(email), "to": mask_email(new_email)}
    except Conflict:
        return "taken"
    return "changed"


async def disable_user(operator: Operator, email: str) -> None:
    """Disables an account and ends its sessions. Raises NotFound and LastAdmin."""
    await accounts.disable_user(operator, await _get_user_id(operator, email))


async def enable_user(operator: Operator, email: str) -> bool:
    """Enables an account, and keeps it if it was about to be deleted.

    Returns False if neither was the case. Raises NotFound.
    """
    before = await deletions.enable_account(operator, await _get_user_id(operator, email))
    return before.disabled_at is not None or before.delete_at is not None


async def delete_user_now(operator: Operator, email: str) -> None:
    """Deletes an account for good. Raises NotFound and LastAdmin."""
    user_id = await _get_user_id(operator, email)
    async with accounts.change_user(operator, "account.delete", user_id) as detail:
        await deletions.delete_user(operator.store, user_id)
        detail["at"] = operator.store.now().isoformat()


async def schedule_user_deletion(operator: Operator, email: str) -> datetime:
    """Disables an account, ends its sessions, and schedules its deletion in seven days.

    Returns when that is. Raises NotFound and LastAdmin.
    """
    return await deletions.close_account(operator, await _get_user_id(operator, email))


async def list_users(operator: Operator) -> list[ListedUser]:
    """Returns every user, the oldest account first."""
    return await operator.store.all(ALL_USERS())


async def list_roles(operator: Operator) -> list[RoleSummary]:
    """Returns every role: the built-in roles, then the others in the order of their creation."""
    return await roles.list_roles(operator.store)


async def create_role(operator: Operator, name: Role, label: str) -> bool:
    """Adds a role without permissions and returns whether its name was free.

    Raises TooManyRoles.
    """
    return await roles.create_role(operator, name, label, ())


async def grant_permission(operator: Operator, name: Role, permission: str) -> None:
    """Gives a role a permission. Raises UnknownRole, also for `admin`, which has all of them."""
    await _change_permissions(operator, name, added=(permission,))


async def revoke_permission(operator: Operator, name: Role, permission: str) -> None:
    """Takes a permission from a role. Raises UnknownRole, also for `admin`."""
    await _change_permissions(operator, name, removed=(permission,))


async def delete_role(operator: Operator, name: Role) -> None:
    """Deletes a role. Raises UnknownRole, also for a built-in role, and RoleInUse."""
    try:
        await roles.delete_role(operator, name)
    except NotFound as error:
        raise UnknownRole from error


async def _change_permissions(
    operator: Operator, name: Role, *, added: Sequence[str] = (), removed: Sequence[str] = ()
) -> None:
    try:
        await roles.change_role(operator, name, added=added, removed=removed)
    except NotFound as error:
        raise UnknownRole from error


async def _get_user_id(operator: Operator, email: str) -> str:
    user_id = await accounts.find_user_id(operator.store, email)
    if user_id is None:
        raise NotFound
    return user_id
