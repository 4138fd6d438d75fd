"""Contains the confirmation of an account's email by a link in a mail."""

from dataclasses import dataclass

from sqlalchemy import bindparam, exists, func, select

from db import accounts
from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import LinkOfOtherUser, NotLoggedIn
from db.mail.notices import post_verification
from db.mail.tokens import find_token, require_same_link
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import LINK_POSTS, VERIFY_HOURS, VERIFY_MINUTES
from db.sessions.lifecycle import require_right
from db.store import pick
from db.tables import Instant, outbox, tokens, users
from db.viewer import Viewer


@dataclass(frozen=True, slots=True)
class VerificationState:
    """Whether the viewer's email is confirmed, and the state of its mails.

    `pending_email` is the new email that waits for its confirmation, or empty. `is_refused` is true
    if the mail server refused the mail with the link.
    """

    email: str
    verified: bool
    pending_email: str
    is_refused: bool


_pending_email = (
    select(func.max(tokens.c.email))
    .where(
        tokens.c.user_id == users.c.id,
        tokens.c.purpose == "change",
        tokens.c.expires_at > bindparam("now", type_=Instant),
    )
    .correlate(users)
    .scalar_subquery()
)
_newer = outbox.alias("newer")
# Whether the newest mail with a link could not be delivered.
IS_MAIL_REFUSED = exists().where(
    outbox.c.user_id == users.c.id,
    outbox.c.message_type == "verify",
    outbox.c.due_at.is_(None),
    outbox.c.sent_at.is_(None),
    outbox.c.error != "",
    ~exists().where(
        _newer.c.user_id == outbox.c.user_id,
        _newer.c.message_type == "verify",
        _newer.c.created_at > outbox.c.created_at,
    ),
)
# `get_viewer` takes this as its `preload`, so that one statement reads the session and the state.
PRELOAD = pick(
    VerificationState,
    users,
    verified=users.c.verified_at.is_not(None),
    pending_email=func.coalesce(_pending_email, ""),
    is_refused=IS_MAIL_REFUSED,
)
STATE = Statement(PRELOAD.where(users.c.id == bindparam("user_id")))


async def get_state(viewer: Viewer) -> VerificationState:
    """Returns the state of the viewer's email. Raises NotLoggedIn if the user no longer exists."""
    if isinstance(viewer.preloaded, VerificationState):
        return viewer.preloaded
    return await _read_state(viewer)


async def _read_state(viewer: Viewer) -> VerificationState:
    state: VerificationState | None = await viewer.store.one(
        STATE(user_id=viewer.id, now=viewer.store.now())
    )
    if state is None:
        raise NotLoggedIn(ended=True)
    return state


async def send_again(viewer: Viewer) -> None:
    """Sends a new link; the older one stops working. Does nothing if the email is confirmed.

    Raises RateLimited and NotLoggedIn.
    """
    store, actor = viewer.store, viewer_actor(viewer)
    await limiter.take_tokens(store, actor, (VERIFY_MINUTES, viewer.id), (VERIFY_HOURS, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        state = await _read_state(viewer)
        if not state.verified:
            await post_verification(store, viewer.id, state.email)


async def verify_email(viewer: Viewer, *, token: Secret[str] | None, link: str) -> None:
    """Confirms the viewer's email. The link works only in a session of its own account.

    Raises LinkInvalid, LinkOfOtherUser, LinkMismatch, RateLimited and NotLoggedIn.
    """
    store, actor = viewer.store, viewer_actor(viewer)
    known = require_same_link(token, link)
    await limiter.take_tokens(store, actor, *per_client(LINK_POSTS, viewer.client.ip_address))
    if (await find_token(store, "verify", known)).user_id != viewer.id:
        raise LinkOfOtherUser
    async with store.transaction():
        await require_right(viewer)
        await accounts.confirm_email(store, viewer.id, known)
        await audit_log.record(store, "email.verify", actor)
