"""Contains functions that read, set and delete the session cookie and load its viewer."""

from typing import Any, Final

from starlette.requests import Request
from starlette.types import Scope

from db.access import audit
from db.errors import NotLoggedIn, StaleDocument, ViewerMismatch
from db.sessions import lifecycle
from db.sessions.claims import NewCookie, NewSession, decode_claims
from db.viewer import UNKNOWN_CLIENT, Admin, Claims, Viewer, require_admin
from web.forms.form import read_fields
from web.http.client_info import get_client_info
from web.http.cookies import queue_cookie, read_cookie
from web.http.methods import SAFE_METHODS

# app.js sends the user ID that the page contains in this header.
DOCUMENT_VIEWER: Final = b"document-viewer"


def read_claims(scope: Scope) -> Claims | None:
    """Returns the claims of the session cookie, without a query. They are optimistic."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if "claims" not in state:
        state["claims"] = decode_claims(scope["app"].state.store, read_cookie(scope, "session"))
    claims: Claims | None = state["claims"]
    return claims


def require_matching_document(scope: Scope, claims: Claims) -> None:
    """Raises StaleDocument if the page that sent the request belongs to another user.

    No query is needed. Another user may have logged in since, in another tab: the page would then
    display their data or act on their account.
    """
    user_id = claims.user_id.encode()
    if any(name == DOCUMENT_VIEWER and value != user_id for name, value in scope["headers"]):
        raise StaleDocument


async def is_session_live(request: Request) -> bool:
    """Returns whether the session of the cookie exists in the database.

    If it does not, deletes the cookie and treats the request as anonymous.
    """
    try:
        await _load_viewer(request)
    except NotLoggedIn:
        delete_session_cookie(request)
        request.scope["state"]["claims"] = None
        return False
    return True


async def verify_session(request: Request, preload: Any = None) -> Viewer:
    """Returns the viewer, read from the database.

    `preload` is a constant of `db.access`. It names columns that the same statement reads. Raises
    NotLoggedIn, and ViewerMismatch for another user's form.
    """
    viewer = await _load_viewer(request, preload)
    await _require_matching_form(request, viewer)
    return viewer


async def verify_admin(request: Request) -> Admin:
    """Returns the viewer if their role in the database is `admin`.

    Raises NotLoggedIn, Forbidden and ViewerMismatch, in this order.
    """
    if request.method not in SAFE_METHODS:
        await read_fields(request)  # A wrong content type must be refused before a wrong role.
    viewer = await _load_viewer(request)
    if viewer.role != "admin":
        await audit.record_denial(viewer, get_client_info(request))
    admin = require_admin(viewer)
    await _require_matching_form(request, admin)
    return admin


async def end_current_session(request: Request) -> None:
    """Ends the session in the database. The caller deletes the cookie."""
    await lifecycle.end_session(
        request.app.state.store, read_claims(request.scope), get_client_info(request)
    )


def set_session_cookie(request: Request, session: NewSession) -> None:
    """Queues the session cookie and, after a log-in, the device cookie."""
    queue_cookie(request.scope, "session", session.session)
    if session.device_cookie is not None:
        set_device_cookie(request, session.device_cookie)


def set_device_cookie(request: Request, client: NewCookie) -> None:
    """Queues the device cookie, which identifies a known browser of an account."""
    queue_cookie(request.scope, "device", client)


def delete_session_cookie(request: Request) -> None:
    """Deletes the session cookie and keeps the device cookie.

    The device cookie lets the user log in while attackers exhaust the account's rate limit.
    """
    queue_cookie(request.scope, "session", None)


async def _load_viewer(request: Request, preload: Any = None) -> Viewer:
    """Returns the viewer. Queries the database only once per request."""
    state = request.scope["state"]
    if "viewer" not in state:
        store, claims, prefetch = (
            request.app.state.store,
            read_claims(request.scope),
            _is_prefetch(request),
        )
        client = UNKNOWN_CLIENT if request.method in SAFE_METHODS else get_client_info(request)
        viewer = state["viewer"] = await lifecycle.get_viewer(
            store, claims, client=client, may_write=not prefetch, preload=preload
        )
        renewed = claims and not prefetch and lifecycle.refresh(viewer, claims)
        if renewed:
            set_session_cookie(request, renewed)
        state["navigation_changed"] = claims is not None and claims.role != viewer.role
    found: Viewer = state["viewer"]
    return found


async def _require_matching_form(request: Request, viewer: Viewer) -> None:
    """Raises ViewerMismatch if the form was rendered for another user.

    Another user may have logged in since, in another tab.
    """
    if request.method in SAFE_METHODS:
        return
    form_viewer_id = (await read_fields(request) or {}).get("viewer")
    if form_viewer_id is not None and form_viewer_id != viewer.id:
        raise ViewerMismatch(viewer.name)


def _is_prefetch(request: Request) -> bool:
    purposes = (b"sec-purpose", b"purpose")
    return any(
        name in purposes and b"prefetch" in value for name, value in request.scope["headers"]
    )
