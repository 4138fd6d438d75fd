"""Contains the functions that verify a recent confirmation of the user's identity."""

from starlette.requests import Request

from db.crypto.secret import Secret
from db.errors import NotLoggedIn
from db.messages import Message
from db.sessions.claims import NewSession, decode_claims, hash_sid
from db.sessions.drafts import Draft, encode_draft, read_draft
from db.sessions.lifecycle import get_viewer
from db.sessions.sudo import Confirmation, Sudo, encode_sudo, read_confirmation, require_sudo
from db.viewer import Admin, Claims, Viewer
from web.forms.form import FORM_TYPE, read_fields
from web.http.client_info import get_client_info
from web.http.cookies import delete_sent_cookie, queue_cookie, read_cookie
from web.http.session import read_claims, verify_admin, verify_session
from web.state import app_state, request_state


async def verify_sudo(request: Request) -> Sudo[Viewer]:
    """Returns the viewer, who confirmed their identity within the last ten minutes.

    Raises the errors of `verify_session`, then NotConfirmed.
    """
    viewer = await verify_session(request)
    return require_sudo(viewer, read_claims(request.scope), _read_sudo_cookie(request))


async def verify_sudo_admin(request: Request) -> Sudo[Admin]:
    """Returns the administrator, who confirmed their identity within the last ten minutes.

    Raises the errors of `verify_admin`, then NotConfirmed.
    """
    admin = await verify_admin(request)
    return require_sudo(admin, read_claims(request.scope), _read_sudo_cookie(request))


async def verify_new_session(request: Request, session: NewSession) -> Sudo[Viewer]:
    """Returns the viewer of the session that has replaced that of the request.

    The forms of the response belong to it. Raises NotLoggedIn and NotConfirmed.
    """
    store = app_state(request.scope).store
    claims = decode_claims(store, session.session.value.reveal())
    viewer = await get_viewer(store, claims, client=get_client_info(request))
    return require_sudo(viewer, claims, session.sudo.value.reveal() if session.sudo else None)


def find_confirmation(request: Request) -> Confirmation | None:
    """Returns the recent confirmation of the session; None if there is none."""
    store = app_state(request.scope).store
    return read_confirmation(store, read_claims(request.scope), _read_sudo_cookie(request))


def set_confirmation(request: Request, confirmation: Confirmation) -> None:
    """Queues the cookie of a new confirmation, which already counts for this request.

    Raises NotLoggedIn without a session.
    """
    cookie = encode_sudo(app_state(request.scope).store, _require_claims(request), confirmation)
    queue_cookie(request.scope, "sudo", cookie)
    request_state(request.scope)["confirmed"] = cookie.value


def get_sid_hash(request: Request) -> str:
    """Returns the hash that identifies the session. Raises NotLoggedIn without a session."""
    return hash_sid(_require_claims(request).sid)


async def make_draft(request: Request) -> Secret[str] | None:
    """Returns the draft of the form that was sent; None if it must be typed again."""
    fields = await read_fields(request)
    if fields is None or request.method != "POST" or not _is_form(request):
        return None
    return encode_draft(
        app_state(request.scope).store,
        _require_claims(request),
        request.scope["path"],
        request.scope["query_string"].decode("latin-1"),
        fields,
    )


def find_draft(request: Request, token: str) -> Draft | None:
    """Returns the draft of this token if it is one of the session, and of a form that needs a
    confirmation.
    """
    draft = read_draft(app_state(request.scope).store, read_claims(request.scope), token)
    if draft is None or find_action(request, draft.path, "POST") is None:
        return None
    return draft


def find_action(request: Request, path: str, method: str) -> Message | None:
    """Returns what a request needs a confirmation for; None if it needs none.

    `path` is without BASE_PATH.
    """
    action: Message | None = request.app.router.needs_confirmation(path, method)
    return action


def find_action_of_page(request: Request, page: str) -> Message | None:
    """Returns what the page needs a confirmation for. `page` is a URL path as browsers see it."""
    base_path = app_state(request.scope).settings.base_path
    return find_action(request, page.partition("?")[0].removeprefix(base_path), "GET")


def delete_sudo_cookie(request: Request) -> None:
    """Deletes the cookie if the browser has it, or gets it by this response."""
    if "confirmed" in request_state(request.scope):
        queue_cookie(request.scope, "sudo", None)
    delete_sent_cookie(request.scope, "sudo")


def _is_form(request: Request) -> bool:
    content_type = request.headers.get("content-type", FORM_TYPE).partition(";")[0]
    return content_type.strip(" \t").lower() == FORM_TYPE


def _require_claims(request: Request) -> Claims:
    claims = read_claims(request.scope)
    if claims is None:
        raise NotLoggedIn
    return claims


def _read_sudo_cookie(request: Request) -> str | None:
    """Returns the cookie; for a form that is sent again after a confirmation, the new one."""
    confirmed = request_state(request.scope).get("confirmed")
    return confirmed.reveal() if confirmed else read_cookie(request.scope, "sudo")
