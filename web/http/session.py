"""The session cookie: read, set and deleted; and the viewer behind it, asked for once
in a request.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.types import Scope

from db.access import audit
from db.errors import NotLoggedIn, OtherViewer, StaleDocument
from db.sessions import lifecycle as sessions
from db.sessions.claims import NewCookie, NewSession
from db.sessions.claims import peek as peek_claims
from db.viewer import NOWHERE, Admin, Claims, Viewer, require_admin
from web.forms.form import read_fields
from web.http.client_info import describe_device
from web.http.cookies import put, read
from web.http.methods import SAFE_METHODS

# the header in which app.js sends the user that the page names
DOCUMENT_VIEWER: Final = b"document-viewer"


def peek(scope: Scope) -> Claims | None:
    """What the cookie claims: optimistic, no query."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if "claims" not in state:
        state["claims"] = peek_claims(scope["app"].state.store, read(scope, "session"))
    claims: Claims | None = state["claims"]
    return claims


def require_own_document(scope: Scope, claims: Claims) -> None:
    """Raises StaleDocument where the page that sent the request names another user than the cookie
    does, no query.

    Another user has logged in since, in another tab: the page would show their data, or act for
    them.
    """
    user_id = claims.user_id.encode()
    if any(name == DOCUMENT_VIEWER and value != user_id for name, value in scope["headers"]):
        raise StaleDocument


async def is_live(request: Request) -> bool:
    """Whether the database knows the session that the cookie claims.

    If not, nobody is logged in here from now on.
    """
    try:
        await _viewer(request)
    except NotLoggedIn:
        delete_cookie(request)
        request.scope["state"]["claims"] = None
        return False
    return True


async def verify_session(request: Request, preload: Any = None) -> Viewer:
    """The viewer, as the database knows them now.

    Raises NotLoggedIn, and OtherViewer for somebody else's form.

    `preload` is a constant of `db.access`: columns that the same statement reads, for the function
    that returns them.
    """
    viewer = await _viewer(request, preload)
    await _require_own_form(request, viewer)
    return viewer


async def verify_admin(request: Request) -> Admin:
    """The viewer, whose row says `admin`.

    Raises NotLoggedIn, Forbidden and OtherViewer, in this order.
    """
    if request.method not in SAFE_METHODS:
        await read_fields(request)  # another content type is refused before a wrong role
    viewer = await _viewer(request)
    if viewer.role != "admin":
        await audit.note_denial(viewer, describe_device(request))
    admin = require_admin(viewer)
    await _require_own_form(request, admin)
    return admin


async def end_session(request: Request) -> None:
    """End the session in the database; the answer is to delete the cookie."""
    await sessions.end_session(
        request.app.state.store, peek(request.scope), describe_device(request)
    )


def set_cookie(request: Request, session: NewSession) -> None:
    """Have the answer carry the session, and that by which its browser will be known."""
    put(request.scope, "session", session.session)
    if session.device is not None:
        keep_device(request, session.device)


def keep_device(request: Request, device: NewCookie) -> None:
    """Have the answer carry that by which this browser is known to an account."""
    put(request.scope, "device", device)


def delete_cookie(request: Request) -> None:
    """End the session here.

    The browser stays known: that is what lets its owner in while strangers guess.
    """
    put(request.scope, "session", None)


async def _viewer(request: Request, preload: Any = None) -> Viewer:
    """Memoised: however often it is asked for in one request, the database is asked once (the
    guide's `cache()`).
    """
    state = request.scope["state"]
    if "viewer" not in state:
        store, claims, prefetch = (
            request.app.state.store,
            peek(request.scope),
            _is_prefetch(request),
        )
        device = NOWHERE if request.method in SAFE_METHODS else describe_device(request)
        viewer = state["viewer"] = await sessions.verify_session(
            store, claims, device=device, may_write=not prefetch, preload=preload
        )
        renewed = claims and not prefetch and sessions.refresh(viewer, claims)
        if renewed:
            set_cookie(request, renewed)
        state["navigation_changed"] = claims is not None and claims.role != viewer.role
    found: Viewer = state["viewer"]
    return found


async def _require_own_form(request: Request, viewer: Viewer) -> None:
    """A member's form names whom it was drawn for: another account may have logged in since, in
    another tab.
    """
    if request.method in SAFE_METHODS:
        return
    drawn_for = (await read_fields(request) or {}).get("viewer")
    if drawn_for is not None and drawn_for != viewer.id:
        raise OtherViewer(viewer.name)


def _is_prefetch(request: Request) -> bool:
    purposes = (b"sec-purpose", b"purpose")
    return any(
        name in purposes and b"prefetch" in value for name, value in request.scope["headers"]
    )
