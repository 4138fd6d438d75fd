"""The four answers: page, changed, refused, leave. The only module that speaks htmx."""

from datetime import datetime
from typing import Any, Final

from markupsafe import escape
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db.sessions.claims import NewSession
from db.viewer import Me, Role
from web.http.methods import SAFE_METHODS
from web.http.session import delete_session_cookie, read_claims, set_session_cookie
from web.rendering.layouts import LayoutVariant
from web.rendering.template_types import require_presentable
from web.state import app_state, request_state

SITE_NAME: Final = "Latchkey"
# nothing of what was seen stays with the browser
CLEAR_SITE_DATA: Final = {"Clear-Site-Data": '"cache", "storage"'}
HTML_TYPE: Final = (b"content-type", b"text/html; charset=utf-8")
# what the same address answers differently for
VARY: Final = "HX-Request, HX-History-Restore-Request"


class HtmlResponse(Response):
    """Starlette's HTMLResponse for a body that is already bytes; it skips the generic building of
    headers.
    """

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), HTML_TYPE]


def page(
    request: Request,
    partial: str,
    title: str,
    *,
    me: Me | None = None,
    layout: str = "centered",
    panel: str = "key",
    http_status: int = 200,
    **context: Any,
) -> Response:
    """Returns a page: the partial alone for htmx, otherwise inside the layout."""
    context |= {"me": me, "request_id": context.get("request_id", "")}
    fragment = _render(request, partial, context)
    if is_htmx(request):
        return _html(_title(title) + fragment + _navigation(request, context), http_status)
    layouts = app_state(request.scope).layouts
    variant = LayoutVariant(
        layout, panel, _menu_path(request), _menu_role(request, me), me is not None
    )
    return HtmlResponse(layouts.fill(variant, title, me, fragment), http_status)


def cached_page(request: Request, partial: str, title: str, **options: Any) -> Response:
    """Returns a page without user data, rendered once per role and cached."""
    cached_pages = app_state(request.scope).cached_pages
    key = (partial, is_htmx(request), _menu_role(request, None))
    if key not in cached_pages:
        cached_pages[key] = bytes(page(request, partial, title, **options).body)
    return HtmlResponse(cached_pages[key])


def changed_fragment(
    request: Request, title: str, *, to: str, fragment: str, query_string: str = "", **context: Any
) -> Response:
    """After an effect: to htmx the fragment that changed, and `toast`; a plain form goes to the
    page it belongs to.
    """
    if not is_htmx(request):
        return RedirectResponse(url_path(request, to) + query_string, 303)
    toast = _render(request, "ui/toast_oob.html", context) if context.get("toast") else ""
    return _html(
        _title(title) + _render(request, fragment, context) + toast + _navigation(request, context)
    )


def refused_form(
    request: Request,
    partial: str,
    title: str,
    *,
    form_id: str,
    fragment: str,
    status: int = 422,
    retry_after: int | None = None,
    **options: Any,
) -> Response:
    """A form that was not accepted: to htmx its fragment, to a plain form the whole page, what was
    typed still in it.

    Beyond 422 the form's `hx-status` stops the main swap: the fragment travels in an `<hx-partial>`
    with its target.
    """
    title = f"Error: {title}"
    if not is_htmx(request):
        response = page(request, partial, title, http_status=status, **options)
    elif status == 422:
        response = _html(_title(title) + _render(request, fragment, {"me": None} | options), status)
    else:
        form = _render(request, fragment, {"me": None} | options)
        open_tag = f'<hx-partial hx-target="#{form_id}" hx-swap="outerMorph">'
        response = _html(f"{_title(title)}{open_tag}{form}</hx-partial>", status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def redirect_across_login(
    request: Request, *, to: str, session: NewSession | None = None, delete_cookie: bool = False
) -> Response:
    """Redirects by a full navigation, because the log-in state changes. `to` is a local path."""
    if session is not None:
        set_session_cookie(request, session)
    if delete_cookie:
        delete_session_cookie(request)
    headers = CLEAR_SITE_DATA if delete_cookie else {}
    if is_htmx(request):
        return Response(status_code=204, headers={"HX-Redirect": to, **headers})
    return RedirectResponse(to, 303, headers)


def refresh_navigation(request: Request) -> None:
    """The name in the bar has changed: the next fragment brings the bar along."""
    request_state(request.scope)["navigation_changed"] = True


def field_fragment(request: Request, partial: str, **context: Any) -> Response:
    """Returns the response to a live check: the fragment of the field."""
    return _html(_render(request, partial, context))


def redirect_to_login(request: Request, to: str) -> Response:
    """No session: a page goes to log in by itself, a fragment tells htmx to."""
    if is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": to})
    return RedirectResponse(to, 303)


def page_url(request: Request) -> str | None:
    """The address in the browser's bar when the request was sent; None where only the request
    itself knows.
    """
    headers = request.headers
    if request.method in SAFE_METHODS and not is_htmx(request):
        return None
    return headers.get("hx-current-url") or headers.get("referer") or ""


def is_htmx(request: Request) -> bool:
    """Whether htmx wants a fragment. To restore history it wants the page."""
    headers = request.scope["headers"]
    return (b"hx-request", b"true") in headers and (
        b"hx-history-restore-request",
        b"true",
    ) not in headers


def url_path(request: Request, name: str, **params: str) -> str:
    return str(request.app.url_path_for(name, **params))


def now(request: Request) -> datetime:
    """The clock that the program was given."""
    return app_state(request.scope).clock()


def _menu_role(request: Request, me: Me | None) -> Role | None:
    """The role that shapes the menu: the cookie's where the database was not asked."""
    if me is not None:
        return me.role
    claims = read_claims(request.scope)
    return claims.role if claims else None


def _menu_path(request: Request) -> str:
    """The path that the menu may mark as current: that of a row without parameters, or none."""
    route = request.scope.get("route")
    return route.path if route and not route.param_convertors else ""


def _navigation(request: Request, context: dict[str, Any]) -> str:
    """The bar is not drawn again by a swap, so it travels along where the role or the name in it
    has changed.
    """
    if not request_state(request.scope).get("navigation_changed"):
        return ""
    menu = {"role": _menu_role(request, context["me"]), "path": _menu_path(request)}
    return _render(request, "ui/nav.html", menu | context | {"oob": True})


def _title(title: str) -> str:
    return f"<title>{escape(title)} · {SITE_NAME}</title>\n"


def _render(request: Request, partial: str, context: dict[str, Any]) -> str:
    require_presentable(context)
    return app_state(request.scope).templates.get_cached(partial).render(context)


def _html(body: str, status: int = 200) -> Response:
    return HtmlResponse(body.encode(), status)
