"""The roles that the provider of an organization gives to its users."""

from db import accounts
from db.admin_changes import lock_admin_changes
from db.audit import log as audit_log
from db.audit.log import Actor
from db.providers.asserted import Asserted
from db.store import Store
from db.viewer import ClientInfo, Role


async def existing_role(store: Store, asserted: Asserted) -> Role:
    """Returns the role that the provider asserts; `user` if it asserts none, or a deleted one."""
    if not asserted.role or await store.value(accounts.LOCK_ROLE(name=asserted.role)) is None:
        return "user"
    return asserted.role


async def follow_role(store: Store, asserted: Asserted, user_id: str, client: ClientInfo) -> Role:
    """Gives the account the role that its organization's provider asserts, in a transaction of its
    own, and returns the role that the account has then.
    """
    async with store.transaction():
        await lock_admin_changes(store)
        return await change_role(store, asserted, user_id, client)


async def change_role(store: Store, asserted: Asserted, user_id: str, client: ClientInfo) -> Role:
    """Gives the account the asserted role, and returns the role that it has then.

    The role stays as it is if no administrator would be left. Must run inside a transaction that
    has called `lock_admin_changes`.
    """
    actor = Actor("system", ip_address=client.ip_address, browser=client.name)
    before = await accounts.get_user_state(store, user_id)
    role = await existing_role(store, asserted)
    if role == before.role:
        return role
    change = accounts.CHANGE_ROLE(user_id=user_id, new_role=role)
    is_changed = await store.value(change) is not None
    await audit_log.record(
        store,
        "role.change",
        actor,
        {"from": before.role, "to": role, "with": asserted.provider},
        target_id=user_id,
        outcome="done" if is_changed else "refused",
    )
    return role if is_changed else before.role
