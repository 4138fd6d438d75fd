"""The viewer's own access tokens: their list, creation and deletion."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, delete, func, select

from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement, insert_if
from db.errors import Forbidden, NotFound, TooManyTokens
from db.mail.notices import post_token_notice
from db.rate_limits import limiter
from db.rate_limits.limits import SESSION_REVOKES, TOKEN_CREATE
from db.scopes import grantable_scopes, join_scopes
from db.sessions.access_tokens import hash_token, make_token
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.store import pick
from db.tables import access_tokens, is_live, users
from db.viewer import Viewer, require_session

MAX_TOKENS_PER_USER: Final = 20


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as its user sees it. The token itself is shown only once, when it is created."""

    id: str
    name: str
    scopes: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


_NEW_TOKEN: Final = {
    "id": "id",
    "user_id": "user_id",
    "name": "name",
    "token_hash": "token_hash",
    "scopes": "scopes",
    "created_at": "now",
    "expires_at": "expires_at",
}
TOKENS = Statement(
    pick(AccessToken, access_tokens)
    .where(access_tokens.c.user_id == bindparam("user_id"), is_live(access_tokens))
    .order_by(access_tokens.c.created_at.desc(), access_tokens.c.id)
)
_live_count = (
    select(func.count())
    .select_from(access_tokens)
    .where(access_tokens.c.user_id == bindparam("user_id"), is_live(access_tokens))
    .scalar_subquery()
)
INSERT_TOKEN = Statement(
    insert_if(access_tokens, _NEW_TOKEN, _live_count < MAX_TOKENS_PER_USER).returning(
        access_tokens.c.id
    )
)
DELETE_TOKEN = Statement(
    delete(access_tokens)
    .where(access_tokens.c.id == bindparam("id"), access_tokens.c.user_id == bindparam("user_id"))
    .returning(access_tokens.c.name)
)
OWN_EMAIL = Statement(select(users.c.email).where(users.c.id == bindparam("user_id")))


def list_scopes(viewer: Viewer) -> dict[str, str]:
    """Returns the scopes that the viewer may give a token, with what each allows."""
    return grantable_scopes(viewer.role, viewer.store.product.permissions)


async def list_tokens(viewer: Viewer) -> list[AccessToken]:
    """Returns the viewer's live tokens, the newest first."""
    return await viewer.store.all(TOKENS(user_id=viewer.id, now=viewer.store.now()))


async def create_token(
    sudo: Sudo[Viewer], *, name: str, scopes: Sequence[str], days: int
) -> Secret[str]:
    """Creates a token and returns it.

    A stolen session cannot create a lasting credential, because it needs a confirmation. Raises
    TooManyTokens, RateLimited, Unavailable, and Forbidden for a scope that is not in `list_scopes`
    or a viewer with an access token. Raises NotLoggedIn if the session has ended since the request
    was verified.
    """
    viewer = sudo.viewer
    require_session(viewer)
    if not set(scopes) <= set(list_scopes(viewer)):
        raise Forbidden("scope")
    store = viewer.store
    await limiter.take_tokens(store, viewer_actor(viewer), (TOKEN_CREATE, viewer.id))
    token = make_token(store)
    async with store.transaction():
        await require_right(viewer)
        now = store.now()
        created = await store.value(
            INSERT_TOKEN(
                id=store.token(16),
                user_id=viewer.id,
                name=name,
                token_hash=hash_token(token),
                scopes=join_scopes(scopes),
                now=now,
                expires_at=now + timedelta(days=days),
            )
        )
        if created is None:
            raise TooManyTokens
        if viewer.verified:
            email = str(await store.value(OWN_EMAIL(user_id=viewer.id)))
            await post_token_notice(store, viewer.id, email, viewer.client)
        detail = {"label": name, "token_id": str(created), "scopes": join_scopes(scopes)}
        await audit_log.record(store, "token.create", viewer_actor(viewer), detail)
    return token


async def revoke_token(viewer: Viewer, token_id: str) -> None:
    """Deletes one of the viewer's tokens, effective at its next use.

    Raises NotFound, RateLimited, and NotLoggedIn if the viewer's right has ended.
    """
    store = viewer.store
    revoke = SESSION_REVOKES, viewer.token_id or viewer.session_id or viewer.id
    await limiter.take_tokens(store, viewer_actor(viewer), revoke)
    async with store.transaction():
        await require_right(viewer)
        name = await store.value(DELETE_TOKEN(id=token_id, user_id=viewer.id))
        if name is None:
            raise NotFound
        detail = {"label": str(name), "token_id": token_id}
        await audit_log.record(store, "token.revoke", viewer_actor(viewer), detail)
