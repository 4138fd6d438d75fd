"""The session cookie: read, set and deleted; and the viewer behind it, asked for once in a request."""

from typing import Any, Final

from starlette.requests import Request
from starlette.types import Scope

from db import sessions
from db.refusals import OtherViewer
from db.sessions import NewSession
from db.viewer import Admin, Claims, Viewer, require_admin
from web.forms import read_fields
from web.settings import Settings

ATTRIBUTES: Final = "Path=/; HttpOnly; SameSite=Lax"
SAFE_METHODS: Final = ("GET", "HEAD")


def cookie_name(settings: Settings) -> str:
    """`__Host-` binds it to this host, https and `/` (RFC 6265bis, section 4.1.3.2); loopback http cannot have it."""
    return "__Host-session" if settings.https else "session"


def peek(scope: Scope) -> Claims | None:
    """What the cookie claims: optimistic, no query."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if "claims" not in state:
        state["claims"] = sessions.peek(scope["app"].state.store, _read(scope))
    claims: Claims | None = state["claims"]
    return claims


async def verify_session(request: Request) -> Viewer:
    """The viewer, as the database knows them now. Raises NotLoggedIn, and OtherViewer for somebody else's form."""
    viewer = await _viewer(request)
    await _require_own_form(request, viewer)
    return viewer


async def verify_admin(request: Request) -> Admin:
    """The viewer, whose row says `admin`. Raises NotLoggedIn, Forbidden and OtherViewer, in this order."""
    if request.method not in SAFE_METHODS:
        await read_fields(request)  # another content type is refused before a wrong role
    admin = require_admin(await _viewer(request))
    await _require_own_form(request, admin)
    return admin


async def end_session(request: Request) -> None:
    """End the session in the database; the answer is to delete the cookie."""
    await sessions.end_session(request.app.state.store, peek(request.scope))


def set_cookie(request: Request, session: NewSession) -> None:
    """Have the answer carry the session. `web.headers.Headers` writes it."""
    _put(request, f"{session.cookie.reveal()}; Max-Age={session.max_age}")


def delete_cookie(request: Request) -> None:
    _put(request, "; Max-Age=0")


async def _viewer(request: Request) -> Viewer:
    """Memoised: however often it is asked for in one request, the database is asked once (the guide's `cache()`)."""
    if not hasattr(request.state, "viewer"):
        store, claims, prefetch = request.app.state.store, peek(request.scope), _is_prefetch(request)
        viewer = request.state.viewer = await sessions.verify_session(store, claims, may_write=not prefetch)
        renewed = claims and not prefetch and sessions.refresh(viewer, claims)
        if renewed:
            set_cookie(request, renewed)
        request.state.navigation_changed = claims is not None and claims.role != viewer.role
    found: Viewer = request.state.viewer
    return found


async def _require_own_form(request: Request, viewer: Viewer) -> None:
    """A member's form names whom it was drawn for: another account may have logged in since, in another tab."""
    if request.method in SAFE_METHODS:
        return
    drawn_for = (await read_fields(request) or {}).get("viewer")
    if drawn_for is not None and drawn_for != viewer.id:
        raise OtherViewer(viewer.name)


def _read(scope: Scope) -> str | None:
    """The cookie's value, from the raw header: two of the name are none, for one of them is not ours."""
    name = cookie_name(scope["app"].state.settings)
    raw = ";".join(value.decode("latin-1") for key, value in scope["headers"] if key == b"cookie")
    pairs = (part.partition("=") for part in raw.split(";"))
    values = [value.strip() for key, _, value in pairs if key.strip() == name]
    return values[0] if len(values) == 1 else None


def _put(request: Request, value: str) -> None:
    settings: Settings = request.app.state.settings
    secure = "; Secure" if settings.https else ""
    request.state.set_cookie = f"{cookie_name(settings)}={value}; {ATTRIBUTES}{secure}"


def _is_prefetch(request: Request) -> bool:
    return "prefetch" in request.headers.get("sec-purpose", "") + request.headers.get("purpose", "")
