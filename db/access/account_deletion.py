"""Contains the deletion of an account by its user, which can be undone for seven days."""

from sqlalchemy import bindparam, select

from db import deletions
from db.admin_changes import lock_admin_changes
from db.audit import log as audit_log
from db.audit.log import anonymous_actor, user_actor, viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import LastAdmin, LinkInvalid
from db.mail.outbox import format_time, post
from db.mail.tokens import consume_token, require_same_link
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import ACCOUNT_DELETION, LINK_POSTS, PROFILE_CHANGE
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.store import Store
from db.tables import users
from db.viewer import ClientInfo, Viewer, require_session

OWN_EMAIL = Statement(select(users.c.email).where(users.c.id == bindparam("user_id")))
DISABLED_AT = Statement(select(users.c.disabled_at).where(users.c.id == bindparam("user_id")))


async def request_deletion(sudo: Sudo[Viewer]) -> None:
    """Schedules the deletion of the viewer's account in seven days.

    Ends every session, also this one, so that nobody stays logged in to an account that is about to
    be deleted. A confirmed email gets a link that keeps the account. Raises LastAdmin, RateLimited,
    Unavailable, and NotLoggedIn if the session has ended.
    """
    viewer = sudo.viewer
    require_session(viewer)
    store, actor = viewer.store, viewer_actor(viewer)
    await limiter.take_tokens(store, actor, (ACCOUNT_DELETION, viewer.id))
    try:
        async with store.transaction():
            await lock_admin_changes(store)
            await require_right(viewer)
            delete_at = await deletions.schedule_deletion(store, viewer.id)
            if viewer.verified:
                email = await store.value(OWN_EMAIL(user_id=viewer.id))
                facts = {"date": format_time(delete_at)}
                await post(store, "leaving", user_id=viewer.id, recipient=email, facts=facts)
            await audit_log.record(store, "account.leave", actor)
    except LastAdmin:
        async with store.transaction():
            await require_right(viewer)
            detail = {"reason": "last-admin"}
            await audit_log.record(store, "account.leave", actor, detail, outcome="refused")
        raise


async def keep_account(viewer: Viewer) -> None:
    """Keeps the viewer's account if its deletion was scheduled.

    Raises RateLimited, and NotLoggedIn if the session has ended.
    """
    store, actor = viewer.store, viewer_actor(viewer)
    await limiter.take_tokens(store, actor, (PROFILE_CHANGE, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        if await deletions.cancel_deletion(store, viewer.id):
            await audit_log.record(store, "account.keep", actor)


async def keep_account_by_link(
    store: Store, *, token: Secret[str] | None, link: str, client: ClientInfo
) -> None:
    """Keeps the account that the link of the mail belongs to. Starts no session.

    Raises LinkInvalid, also if an administrator has disabled the account, LinkMismatch and
    RateLimited.
    """
    known = require_same_link(token, link)
    charges = per_client(LINK_POSTS, client.ip_address)
    await limiter.take_tokens(store, anonymous_actor(client), *charges)
    async with store.transaction():
        consumed = await consume_token(store, "keep", known)
        if await store.value(DISABLED_AT(user_id=consumed.user_id)) is not None:
            raise LinkInvalid("keep")
        if not await deletions.cancel_deletion(store, consumed.user_id):
            raise LinkInvalid("keep")
        await audit_log.record(store, "account.keep", user_actor(consumed.user_id, client))
