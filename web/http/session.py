"""Contains functions that read, set and delete the session cookie, and verify its session."""

from typing import Any, Final

from starlette.requests import Request
from starlette.types import Scope

from db.access import audit
from db.crypto.secret import Secret
from db.errors import Forbidden, NotLoggedIn, StaleDocument, ViewerMismatch
from db.role_names import is_permission_name
from db.sessions import lifecycle
from db.sessions.claims import NewCookie, NewSession, decode_claims
from db.viewer import (
    UNKNOWN_CLIENT,
    Admin,
    Claims,
    Role,
    Viewer,
    require_admin,
    require_role,
    require_scope,
)
from web.forms.form import read_fields
from web.http.client_info import get_client_info
from web.http.cookies import queue_cookie, read_cookie, read_replaced_session_cookie
from web.http.language import keep_language
from web.http.methods import SAFE_METHODS
from web.state import app_state, request_state

# app.js sends the user ID that the page contains in this header.
DOCUMENT_VIEWER: Final = b"document-viewer"


def read_claims(scope: Scope) -> Claims | None:
    """Returns the claims of the session cookie, without a query. They are optimistic.

    The cookie of a request with an access token is ignored.
    """
    state = request_state(scope)
    if "claims" not in state:
        cookie = read_cookie(scope, "session") if read_bearer(scope) is None else None
        state["claims"] = decode_claims(app_state(scope).store, cookie)
    return state["claims"]


def read_bearer(scope: Scope) -> Secret[str] | None:
    """Returns the access token of the Authorization header (RFC 6750, section 2.1), not verified.

    Returns None for a route that accepts no tokens, or without such a header. With two headers, the
    token is empty and so invalid.
    """
    state = request_state(scope)
    if "bearer" not in state:
        accepts_tokens = getattr(scope.get("route"), "token_scope", "")
        state["bearer"] = _bearer_of(scope) if accepts_tokens else None
    return state["bearer"]


def _bearer_of(scope: Scope) -> Secret[str] | None:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    schemes = {value.partition(b" ")[0].lower() for value in values}
    if b"bearer" not in schemes:
        return None
    text = values[0].partition(b" ")[2].strip(b" ").decode("latin-1") if len(values) == 1 else ""
    return Secret(text)


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
        await load_viewer(request)
    except NotLoggedIn:
        delete_session_cookie(request)
        request_state(request.scope)["claims"] = None
        return False
    return True


async def verify_session(request: Request, preload: Any = None) -> Viewer:
    """Returns the viewer, read from the database.

    `preload` is a constant of `db.access`. It names columns that the same statement reads. Raises
    NotLoggedIn, and ViewerMismatch for another user's form.
    """
    viewer = await load_viewer(request, preload)
    await _require_matching_form(request, viewer)
    return viewer


async def verify_admin(request: Request) -> Admin:
    """Returns the viewer if their role in the database is `admin`.

    Raises NotLoggedIn, Forbidden and ViewerMismatch, in this order.
    """
    return require_admin(await verify_role(request, "admin"))


async def verify_role(request: Request, role: Role) -> Viewer:
    """Returns the viewer if their role in the database is this one or `admin`.

    Raises NotLoggedIn, Forbidden and ViewerMismatch, in this order.
    """
    viewer = await load_viewer(request)
    if request.method not in SAFE_METHODS:
        await read_fields(request)  # A wrong content type must be refused before a wrong role.
    try:
        require_role(viewer, role)
    except Forbidden:
        await audit.record_denial(viewer, get_client_info(request), role)
        raise
    await _require_matching_form(request, viewer)
    return viewer


async def record_missing_permission(request: Request, error: Forbidden) -> None:
    """Writes an audit entry if the viewer lacked a permission, such as `articles:write`.

    A missing role already has its entry. The transaction of the request has been rolled back.
    """
    viewer = request_state(request.scope).get("viewer")
    if viewer is not None and is_permission_name(error.needed):
        await audit.record_denial(viewer, get_client_info(request), error.needed)


async def end_current_session(request: Request) -> None:
    """Ends the session in the database. The caller deletes the cookie.

    Also ends the session of a cookie from before COOKIE_DOMAIN was set or removed.
    """
    store = app_state(request.scope).store
    replaced = decode_claims(store, read_replaced_session_cookie(request.scope))
    for claims in (read_claims(request.scope), replaced):
        await lifecycle.end_session(store, claims, get_client_info(request))


def set_session_cookie(request: Request, session: NewSession) -> None:
    """Queues the session cookie and, after a log-in, the device cookie and that of the language.

    A new session has its own sudo cookie, if its user has confirmed their identity.
    """
    queue_cookie(request.scope, "session", session.session)
    if session.sudo is not None:
        queue_cookie(request.scope, "sudo", session.sudo)
    if session.device_cookie is not None:
        set_device_cookie(request, session.device_cookie)
    if session.language:
        keep_language(request.scope, session.language)


def set_device_cookie(request: Request, client: NewCookie) -> None:
    """Queues the device cookie, which identifies a known browser of an account."""
    queue_cookie(request.scope, "device", client)


def delete_session_cookie(request: Request) -> None:
    """Deletes the session cookie and keeps the device cookie.

    The device cookie lets the user log in while attackers exhaust the account's rate limit.
    """
    queue_cookie(request.scope, "session", None)


async def load_viewer(request: Request, preload: Any = None, *, may_write: bool = True) -> Viewer:
    """Returns the viewer, without the check of a form. Queries the database once per request.

    Unless `may_write` is false, renews the session. Raises NotLoggedIn.
    """
    state = request_state(request.scope)
    if "viewer" in state:
        return state["viewer"]
    bearer = read_bearer(request.scope)
    if bearer is not None:
        state["viewer"] = await _load_token_viewer(request, bearer)
        return state["viewer"]
    store = app_state(request.scope).store
    claims = read_claims(request.scope)
    may_write = may_write and not is_prefetch(request)
    client = UNKNOWN_CLIENT if request.method in SAFE_METHODS else get_client_info(request)
    viewer = await lifecycle.get_viewer(
        store, claims, client=client, may_write=may_write, preload=preload
    )
    renewed = claims and may_write and lifecycle.refresh(viewer, claims)
    if renewed:
        set_session_cookie(request, renewed)
    state["viewer"] = viewer
    state["navigation_changed"] = claims is not None and claims.role != viewer.role
    return viewer


async def _load_token_viewer(request: Request, token: Secret[str]) -> Viewer:
    """Returns the viewer of an access token that has the scope of the route.

    Raises InvalidToken, MissingScope, and RateLimited after too many wrong tokens of one client.
    """
    client = get_client_info(request)
    store = app_state(request.scope).store
    viewer = await lifecycle.get_token_viewer(store, token, client=client)
    is_safe = request.method in SAFE_METHODS
    if not is_safe:
        await read_fields(request)  # A wrong content type must be refused before a wrong scope.
    require_scope(viewer, f"{request.scope['route'].token_scope}:{'read' if is_safe else 'write'}")
    return viewer


async def _require_matching_form(request: Request, viewer: Viewer) -> None:
    """Raises ViewerMismatch if the form was rendered for another user.

    Another user may have logged in since, in another tab.
    """
    if request.method in SAFE_METHODS:
        return
    form_viewer_id = (await read_fields(request) or {}).get("viewer")
    if form_viewer_id is not None and form_viewer_id != viewer.id:
        raise ViewerMismatch(viewer.name)


def is_prefetch(request: Request) -> bool:
    """Returns whether the browser loads the page before its user has asked for it."""
    purposes = (b"sec-purpose", b"purpose")
    return any(
        name in purposes and b"prefetch" in value for name, value in request.scope["headers"]
    )
