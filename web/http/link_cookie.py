"""Contains the cookie that carries the token of a mail's link from its URL to its page.

The URL in the mail contains the token. Its response stores the token in this cookie and redirects
to the page without it, so the token is neither in the address bar nor in the history, the Referer
or `HX-Current-URL`. A request for a page never changes data, because mail scanners send such
requests too.
"""

from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from db.access import links
from db.crypto.secret import Secret
from db.errors import LinkInvalid, LinkMismatch, LinkOfOtherUser
from db.mail.tokens import TOKEN_PATTERN, Purpose, link_id
from db.sessions.claims import NewCookie
from db.viewer import Viewer
from web.forms.form import read_fields
from web.http.cookies import queue_cookie, read_cookie
from web.http.methods import SAFE_METHODS
from web.state import app_state

MAX_AGE_SECONDS: Final = 900


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """The live link that the cookie contains.

    `id` is the value of the hidden field `link`. `email` is that of the account or, for a change of
    email, the new one. `event` is the message type that a link to lock the account was sent with.
    """

    id: str
    user_id: str
    email: str
    event: str
    token: Secret[str] = field(repr=False)


def set_link_cookie(scope: Scope, token: str) -> None:
    """Queues the cookie with this token, or deletes the cookie if the token is malformed."""
    is_token = TOKEN_PATTERN.fullmatch(token)
    queue_cookie(scope, "link", NewCookie(Secret(token), MAX_AGE_SECONDS) if is_token else None)


def read_link_cookie(scope: Scope) -> Secret[str] | None:
    """Returns the token in the cookie, not yet compared with the database."""
    token = read_cookie(scope, "link")
    return Secret(token) if token and TOKEN_PATTERN.fullmatch(token) else None


def delete_link_cookie(scope: Scope) -> None:
    """Deletes the cookie, because its link was used or no longer works."""
    queue_cookie(scope, "link", None)


async def verify_link(
    request: Request, purpose: Purpose, viewer: Viewer | None = None
) -> OpenedLink:
    """Returns the link of the cookie, read from the database.

    Raises LinkInvalid, LinkMismatch for the form of another link, and LinkOfOtherUser if the link
    belongs to another account than the viewer's.
    """
    token = read_link_cookie(request.scope)
    if token is None:
        raise LinkInvalid(purpose)
    if request.method not in SAFE_METHODS:
        fields = await read_fields(request)
        # A form that cannot be parsed gets its own message from `Form.check`.
        if fields is not None and fields.get("link") != link_id(token):
            raise LinkMismatch
    found = await links.find_link(app_state(request.scope).store, purpose, token)
    if viewer is not None and found.user_id != viewer.id:
        raise LinkOfOtherUser
    return OpenedLink(link_id(token), found.user_id, found.email, found.event, token)


async def read_sent_link(request: Request) -> str:
    """Returns the hidden field `link` of the form; empty if it was not sent."""
    return str((await read_fields(request) or {}).get("link", ""))
