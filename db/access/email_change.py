"""Contains the change of an account's email, which takes effect when its link is confirmed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, select, update

from db import accounts
from db.audit import log as audit_log
from db.audit.log import mask_email, viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Conflict, Statement
from db.errors import LinkInvalid, LinkOfOtherUser
from db.mail.notices import client_facts
from db.mail.outbox import delete_unsent, format_time, post, post_request, until
from db.mail.tokens import (
    LIFETIMES,
    consume_token,
    delete_tokens,
    find_token,
    insert_token,
    require_same_link,
)
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import EMAIL_CHANGE, EMAIL_CHANGE_TO, LINK_POSTS
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.store import Store, pick
from db.tables import Instant, users
from db.user_search import search_key
from db.viewer import Operator, Viewer, require_session


@dataclass(frozen=True, slots=True)
class _NameAndState:
    name: str
    verified: bool


# The mail about the change displays these where it displays the browser of a user.
OPERATOR_FACTS: Final = {"browser": "the operator of this site", "ip_address": "none"}
NAME_AND_STATE = Statement(
    pick(_NameAndState, users, verified=users.c.verified_at.is_not(None)).where(
        users.c.id == bindparam("user_id")
    )
)
OWN_EMAIL = Statement(select(users.c.email).where(users.c.id == bindparam("user_id")))
CHANGE_EMAIL = Statement(
    update(users)
    .where(
        users.c.id == bindparam("user_id"),
        users.c.email == bindparam("old_email"),
        users.c.disabled_at.is_(None),
    )
    .values(
        email=bindparam("new_email"),
        search_key=bindparam("search_key"),
        verified_at=bindparam("now", type_=Instant),
    )
    .returning(users.c.id)
)


async def request_change(sudo: Sudo[Viewer], *, email: str) -> None:
    """Sends a link to the new email.

    The email of the account stays as it is until the link is opened. The response is the same
    if another account has the email, and its user gets a mail. Raises RateLimited, Unavailable, and
    NotLoggedIn if the session has ended.
    """
    viewer = sudo.viewer
    require_session(viewer)
    store, actor = viewer.store, viewer_actor(viewer)
    await limiter.take_tokens(store, actor, (EMAIL_CHANGE, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        is_within_limit = await limiter.try_take_token(store, EMAIL_CHANGE_TO, email)
        if not is_within_limit:
            # Many accounts could otherwise fill the mailbox of someone who has none.
            await _pretend(viewer, email)
        elif await accounts.email_exists(store, email, for_user_id=viewer.id):
            await _pretend(viewer, email)
            if email != await store.value(OWN_EMAIL(user_id=viewer.id)):
                await post_request(store, "taken", email)
        else:
            await post(
                store,
                "change",
                user_id=viewer.id,
                recipient=email,
                verified=False,
                facts={"until": until(store, "change")},
            )
        await audit_log.record(store, "email.ask", actor, {"email": mask_email(email)})


async def _pretend(viewer: Viewer, email: str) -> None:
    """Makes the email wait for a confirmation that no link gives.

    The account page displays the email that waits. If it displayed none, it would show that another
    account has the email.
    """
    store = viewer.store
    if store.outbox.is_enabled:
        await delete_tokens(store, viewer.id, ["change"])
        await delete_unsent(store, viewer.id, ["change"])
        await insert_token(store, Secret(store.token(32)), "change", viewer.id, email, "change")


async def cancel_change(viewer: Viewer) -> None:
    """Ends the link that waits for its confirmation. Raises NotLoggedIn."""
    store = viewer.store
    async with store.transaction():
        await require_right(viewer)
        await delete_tokens(store, viewer.id, ["change"])
        await delete_unsent(store, viewer.id, ["change"])


async def confirm_change(viewer: Viewer, *, token: Secret[str] | None, link: str) -> None:
    """Changes the viewer's email to the one that the link was sent to.

    Sends a notice to both emails. If the old one was confirmed, its notice has a link that undoes
    the change for seven days. Sessions continue, and links to the old email end.

    Raises LinkInvalid, also if another account has the email by now, LinkOfOtherUser,
    LinkMismatch, RateLimited and NotLoggedIn.
    """
    store, actor = viewer.store, viewer_actor(viewer)
    known = require_same_link(token, link)
    await limiter.take_tokens(store, actor, *per_client(LINK_POSTS, viewer.client.ip_address))
    if (await find_token(store, "change", known)).user_id != viewer.id:
        raise LinkOfOtherUser
    try:
        async with store.transaction():
            await require_right(viewer)
            new_email = (await consume_token(store, "change", known, viewer.id)).email
            old_email = await store.value(OWN_EMAIL(user_id=viewer.id))
            if await accounts.email_exists(store, new_email, for_user_id=viewer.id):
                raise LinkInvalid("change")
            if not await _write_email(store, viewer.id, viewer.name, old_email, new_email):
                raise LinkInvalid("change")
            facts = client_facts(store, viewer.client)
            await _notify_both(
                store, viewer.id, old_email, new_email, facts, verified=viewer.verified
            )
            masked = {"from": mask_email(old_email), "to": mask_email(new_email)}
            await audit_log.record(store, "email.change", actor, masked)
    except Conflict:
        raise LinkInvalid("change") from None


async def replace_email(
    operator: Operator, user_id: str, old_email: str, new_email: str, *, tells_old: bool
) -> bool:
    """Changes the email of an account without a link, as the operator does.

    Tells the new email and, with `tells_old`, the old one if it was confirmed.
    Returns False if the account does not have the old email anymore. Must run inside a
    transaction that has locked the user.
    """
    store = operator.store
    user: _NameAndState | None = await store.one(NAME_AND_STATE(user_id=user_id))
    if user is None or not await _write_email(store, user_id, user.name, old_email, new_email):
        return False
    await delete_tokens(store, user_id, ["change"])
    await delete_unsent(store, user_id, ["change"])
    facts = {"time": format_time(store.now()), **OPERATOR_FACTS}
    tells_old = tells_old and user.verified
    await _notify_both(store, user_id, old_email, new_email, facts, verified=tells_old)
    return True


async def _write_email(
    store: Store, user_id: str, name: str, old_email: str, new_email: str
) -> bool:
    """Changes the email, and ends the links to the old one. Returns False if it was not changed."""
    values = {
        "old_email": old_email,
        "new_email": new_email,
        "search_key": search_key(name, new_email),
    }
    if await store.value(CHANGE_EMAIL(user_id=user_id, now=store.now(), **values)) is None:
        return False
    await delete_tokens(store, user_id, ["verify", "reset"])
    await delete_unsent(store, user_id, ["verify", "exists", "reset", "locked"])
    return True


async def _notify_both(
    store: Store,
    user_id: str,
    old_email: str,
    new_email: str,
    facts: Mapping[str, str],
    *,
    verified: bool,
) -> None:
    if verified:
        facts = {
            **facts,
            "masked": mask_email(new_email),
            "until": format_time(store.now() + LIFETIMES["not-me"]),
        }
        await post(store, "moved", user_id=user_id, recipient=old_email, facts=facts)
    await post(store, "arrived", user_id=user_id, recipient=new_email)
