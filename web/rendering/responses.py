"""Contains the functions that build responses, for htmx and for plain requests.

The responses are pages, changed fragments, refused forms and redirects.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from markupsafe import escape
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from db.messages import Message
from db.sessions.claimants import NewClaim
from db.sessions.claims import NewSession
from db.viewer import Me, Role
from web.http.claim import delete_claim_cookie, set_claim_cookie
from web.http.cookies import queue_deletion_of_replaced_session
from web.http.language import read_language
from web.http.methods import SAFE_METHODS
from web.http.session import delete_session_cookie, read_claims, set_session_cookie
from web.http.sudo import delete_sudo_cookie
from web.languages import ENGLISH, Language
from web.rendering.formatting import initials
from web.rendering.layouts import LayoutVariant
from web.rendering.template_types import require_presentable
from web.rendering.user_keys import key_path
from web.state import app_state, request_state

# Removes the pages of the session from the browser's cache after log-out. With BASE_PATH, the
# storage of the host belongs to other applications too.
CLEAR_SITE_DATA: Final = {"Clear-Site-Data": '"cache", "storage"'}
CLEAR_CACHE: Final = {"Clear-Site-Data": '"cache"'}
MAX_CACHED_PAGES: Final = 200  # Administrators can add roles, and each has its own variant.
HTML_TYPE: Final = (b"content-type", b"text/html; charset=utf-8")
# The request headers that change the response of one URL.
VARY: Final = "HX-Request, HX-History-Restore-Request, Accept-Language, Cookie"

HEADERS_OF_BODY_AND_PAGE: Final = (
    *(b"content-type", b"content-length", b"transfer-encoding", b"referer", b"document-viewer"),
)
NO_FORMS: Final[Mapping[str, str]] = MappingProxyType({})
ERROR_TITLE: Final = Message("Error: {title}")


class HtmlResponse(Response):
    """Starlette's HTMLResponse for bytes, without its generic building of headers."""

    def __init__(self, body: bytes, status: int = 200, language: Language = ENGLISH) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            HTML_TYPE,
            (b"content-language", language.code.encode()),
        ]


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
        fragment = _title(request, title) + fragment + _navigation(request, context)
        return _html(request, fragment, http_status)
    layouts, language = app_state(request.scope).layouts, read_language(request.scope)
    variant = LayoutVariant(
        layout, panel, _menu_path(request), _menu_role(request, me), me is not None, language
    )
    body = layouts.fill(variant, _translated(title, language), me, fragment)
    return HtmlResponse(body, http_status, language)


def cached_page(request: Request, partial: str, title: str, **options: Any) -> Response:
    """Returns a page without user data, rendered once per role and language, and cached."""
    cached_pages = app_state(request.scope).cached_pages
    language = read_language(request.scope)
    key = (partial, is_htmx(request), _menu_role(request, None), language.code)
    if key not in cached_pages:
        if len(cached_pages) >= MAX_CACHED_PAGES:
            cached_pages.pop(next(iter(cached_pages)))
        cached_pages[key] = bytes(page(request, partial, title, **options).body)
    return HtmlResponse(cached_pages[key], language=language)


def changed_fragment(
    request: Request,
    title: str,
    *,
    to: str,
    fragment: str,
    query_string: str = "",
    replaces_url: bool = False,
    **context: Any,
) -> Response:
    """Returns the response after a change: for htmx, the changed fragment and `toast` if given.

    `undo` adds a form to the toast that reverts the change (`ui.toast` describes it). A plain form
    is redirected to the page with the route name `to`. With `replaces_url`, htmx shows the URL of
    that page, for a form that had a URL of its own.
    """
    if not is_htmx(request):
        return RedirectResponse(url_path(request, to) + query_string, 303)
    toast = ""
    if context.get("toast"):
        toast = _render(request, "ui/toast_oob.html", {"undo": None, "me": None} | context)
    response = _html(
        request,
        _title(request, title)
        + _render(request, fragment, context)
        + toast
        + _navigation(request, context),
    )
    if replaces_url:
        response.headers["HX-Replace-Url"] = url_path(request, to) + query_string
    return response


def replaced_fragment(
    request: Request, partial: str, title: str, *, fragment: str, **options: Any
) -> Response:
    """Returns a changed fragment that a redirect could not show, such as a new access token.

    The response to a plain form is the page with status 200.
    """
    if not is_htmx(request):
        return page(request, partial, title, **options)
    return _html(request, _title(request, title) + _render(request, fragment, options))


def refused_form(
    request: Request,
    partial: str,
    title: str,
    *,
    form_id: str,
    fragment: str,
    status: int = 422,
    retry_after: int | None = None,
    other_forms: Mapping[str, str] = NO_FORMS,
    **options: Any,
) -> Response:
    """Returns a refused form with its typed values: the fragment for htmx, otherwise the page.

    With any status except 422, the form's `hx-status` prevents the main swap. The fragment is then
    sent in an `<hx-partial>` that has its own target. `other_forms` are the fragments of further
    forms that htmx replaces, by their id.
    """
    title = ERROR_TITLE.format(title=title)
    if not is_htmx(request):
        response = page(request, partial, title, http_status=status, **options)
    else:
        context = {"me": None} | options
        form = _render(request, fragment, context)
        if status != 422:
            form = _partial(form_id, form)
        others = [_partial(id, _render(request, other_forms[id], context)) for id in other_forms]
        response = _html(request, "".join((_title(request, title), form, *others)), status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _partial(target_id: str, fragment: str) -> str:
    """Returns the fragment in an element that makes htmx replace the element with this id."""
    return f'<hx-partial hx-target="#{target_id}" hx-swap="outerMorph">{fragment}</hx-partial>'


def replaced_page(request: Request, partial: str, title: str, **options: Any) -> Response:
    """Returns a page instead of the one whose form was sent.

    A form's `hx-status` prevents the main swap of an error. For htmx, the page is then sent in an
    `<hx-partial>` that has its own target.
    """
    response = page(request, partial, title, **options)
    if is_htmx(request) and request.method not in SAFE_METHODS:
        head, fragment = bytes(response.body).decode().split("\n", 1)
        main = f'<hx-partial hx-target="#main" hx-swap="innerHTML">{fragment}</hx-partial>'
        return _html(request, f"{head}\n{main}", response.status_code)
    return response


def redirect_across_login(
    request: Request, *, to: str, session: NewSession | None = None, delete_cookie: bool = False
) -> Response:
    """Redirects by a full navigation, because the log-in state changes.

    `to` is a local path, or a URL that RETURN_TO allows.
    """
    if session is not None or delete_cookie:
        queue_deletion_of_replaced_session(request.scope)
    if session is not None:
        set_session_cookie(request, session)
        delete_claim_cookie(request.scope)
    if delete_cookie:
        delete_session_cookie(request)
        delete_sudo_cookie(request)
        delete_claim_cookie(request.scope)
    has_neighbors = bool(app_state(request.scope).settings.base_path)
    clear = CLEAR_CACHE if has_neighbors else CLEAR_SITE_DATA
    headers = clear if delete_cookie else {}
    if is_htmx(request):
        return Response(status_code=204, headers={"HX-Redirect": to, **headers})
    return RedirectResponse(to, 303, headers)


def redirect_to_second_step(request: Request, claim: NewClaim) -> Response:
    """Redirects a user whose password was verified to the page of the second step."""
    set_claim_cookie(request, claim)
    to = url_path(request, "login-factor")
    if is_htmx(request):
        return Response(status_code=204, headers={"HX-Redirect": to})
    return RedirectResponse(to, 303)


def depart(request: Request, partial: str, title: str, *, to: str, **context: Any) -> Response:
    """Returns a page that leads to another site: the log-in of a provider.

    A redirect would be an answer to a form, and the directive form-action also applies to the
    redirects of the other site. `to` was checked by `db.providers`.
    """
    if is_htmx(request):
        return Response(status_code=204, headers={"HX-Redirect": to})
    response = page(request, partial, title, to=to, **context)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def refresh_navigation(request: Request) -> None:
    """Makes the next fragment include the navigation bar, because the name in it has changed."""
    request_state(request.scope)["navigation_changed"] = True


def field_fragment(request: Request, partial: str, **context: Any) -> Response:
    """Returns the response to a live check: the fragment of the field."""
    return _html(request, _render(request, partial, context))


def download(data: Mapping[str, Any], file_name: str) -> Response:
    """Returns a JSON file, which the browser saves. `file_name` has only ASCII letters and `.-`."""
    body = json.dumps(data, indent=2, ensure_ascii=False)
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return Response(body.encode(), media_type="application/json", headers=headers)


def redirect_to_login(request: Request, to: str) -> Response:
    """Returns the response to a request without a session: for htmx, status 401 and HX-Redirect."""
    if is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": to})
    return RedirectResponse(to, 303)


def refuse_with_redirect(request: Request, to: str) -> Response:
    """Returns the response to a request that another page must precede: for htmx, status 403 and
    HX-Redirect.
    """
    if is_htmx(request):
        return Response(status_code=403, headers={"HX-Redirect": to})
    return RedirectResponse(to, 303)


def page_url(request: Request) -> str | None:
    """Returns the URL of the page that sent the request, or an empty string if it is unknown.

    Returns None if the request is for a page, because its own URL is then the URL of the page.
    """
    headers = request.headers
    if request.method in SAFE_METHODS and not is_htmx(request):
        return None
    return headers.get("hx-current-url") or headers.get("referer") or ""


def is_htmx(request: Request) -> bool:
    """Returns whether htmx needs a fragment. It needs the whole page to restore history."""
    headers = request.scope["headers"]
    return (b"hx-request", b"true") in headers and (
        b"hx-history-restore-request",
        b"true",
    ) not in headers


def headers_without_page(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Returns the headers of a request without those that describe its body or its page."""
    return [
        (name, value)
        for name, value in scope["headers"]
        if name not in HEADERS_OF_BODY_AND_PAGE and not name.startswith(b"hx-")
    ]


def url_path(request: Request, name: str, **params: str) -> str:
    """Returns the path of a route as browsers see it, with BASE_PATH."""
    return str(request.app.url_path_for(name, **params))


def visible_path(request: Request, path: str) -> str:
    """Returns a path inside the application as browsers see it, with BASE_PATH."""
    return f"{app_state(request.scope).settings.base_path}{path}"


def now(request: Request) -> datetime:
    """Returns the time of the application's clock."""
    return app_state(request.scope).clock()


def _menu_role(request: Request, me: Me | None) -> Role | None:
    """Returns the role for the menu: the role in the database, or without a query the cookie's."""
    if me is not None:
        return me.role
    claims = read_claims(request.scope)
    return claims.role if claims else None


def _menu_path(request: Request) -> str:
    """Returns the path of the page as far as it has no parameters.

    The menu marks the item with this path, or with the start of it.
    """
    route = request.scope.get("route")
    return visible_path(request, route.path.partition("{")[0]) if route else ""


def _navigation(request: Request, context: dict[str, Any]) -> str:
    """Returns the navigation bar as an out-of-band swap if the role or the name in it has changed.

    The main swap does not replace the bar.
    """
    if not request_state(request.scope).get("navigation_changed"):
        return ""
    me = context["me"]
    menu = {"role": _menu_role(request, me), "path": _menu_path(request)}
    if me is not None:
        menu |= {"key": key_path(me.id), "initials": initials(me.name)}
    return _render(request, "ui/nav.html", menu | context | {"oob": True})


def _title(request: Request, title: str) -> str:
    name = app_state(request.scope).product.brand.name
    translated = _translated(title, read_language(request.scope))
    return f"<title>{escape(translated)} · {escape(name)}</title>\n"


def _translated(title: str, language: Language) -> str:
    """Returns a title in the language. Only a Message is a text of the program."""
    return title.in_language_of(language) if isinstance(title, Message) else title


def _render(request: Request, partial: str, context: dict[str, Any]) -> str:
    require_presentable(context)
    templates = app_state(request.scope).templates.of(read_language(request.scope))
    return templates.get_cached(partial).render(context)


def _html(request: Request, body: str, status: int = 200) -> Response:
    return HtmlResponse(body.encode(), status, read_language(request.scope))
