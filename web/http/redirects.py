"""Contains functions that choose and validate the targets of redirects."""

from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import Request

from web.http.cookies import read_cookie
from web.http.methods import SAFE_METHODS
from web.rendering.responses import page_url, url_path, visible_path
from web.state import app_state


def default_page(request: Request) -> str:
    """Returns the path of the dashboard."""
    return url_path(request, "dashboard")


def wanted_page(request: Request) -> str:
    """Returns the requested page, or the page that requested the fragment."""
    url = page_url(request)
    if url is None:
        return _requested_page(request)
    return safe_page(request, _local_path(request, url))


def safe_page(request: Request, target: str | None) -> str:
    """Returns `target` if it is path and query of a protected page, or a path or URL that RETURN_TO
    allows; otherwise the dashboard.

    As in the browser, a path of Latchkey contains BASE_PATH.
    """
    return _allowed_target(request, target or "") or default_page(request)


def same_page(request: Request) -> str:
    """Returns the requested page for a GET, and the page of the form for any other method."""
    if request.method in SAFE_METHODS:
        return _requested_page(request)
    return wanted_page(request)


def carried_page(request: Request, target: str | None) -> str:
    """Returns `target` as `safe_page` does, or an empty string if there is no target."""
    return safe_page(request, target) if target else ""


def page_of_form(request: Request) -> str:
    """Returns path and query of the page whose form was sent, or the front page.

    Only a page whose path is that of a route without parameters counts, because a path such as
    `//example.org` would lead to another site.
    """
    path, _, query = (_local_path(request, page_url(request) or "") or "").partition("?")
    base_path = app_state(request.scope).settings.base_path
    # A path outside of BASE_PATH is that of another application on the host.
    is_page = any(
        path == f"{base_path}{route.path}" and "GET" in route.methods
        for route in request.app.router.routes
        if not route.param_convertors
    )
    if not is_page:
        return url_path(request, "home")
    return f"{path}?{_canonical(query)}" if query else path


def page_after_login(request: Request) -> str:
    """Returns the `next` of the sign-up page that sent a live check, or an empty string."""
    query = urlsplit(_local_path(request, page_url(request) or "") or "").query
    return carried_page(request, dict(parse_qsl(query)).get("next"))


def login_page(request: Request, *, ended: bool, guessed: bool) -> str:
    """Returns the URL of the log-in page, with `next` and the reason for the redirect.

    Reasons are an ended session, blocked cookies, or too many wrong current passwords.
    """
    reason = ""
    if ended:
        reason = "&ended=1"
    elif _blocks_cookies(request):
        reason = "&cookies=1"
    if guessed:
        reason += "&guessed=1"
    return f"{url_path(request, 'login')}?next={quote(wanted_page(request), safe='/')}{reason}"


def forwarded_login_page(request: Request) -> str:
    """Returns the absolute URL of the log-in page, for the request that a proxy has received.

    `next` leads back to its URL if RETURN_TO allows it.
    """
    origin, path = _forwarded_url(request)
    base_url = app_state(request.scope).settings.base_url
    target = _allowed_target(request, path if origin == base_url else f"{origin}{path}")
    query = f"?next={quote(target, safe='/')}" if target else ""
    return f"{base_url}{url_path(request, 'login')}{query}"


def application_origin(request: Request) -> str | None:
    """Returns the origin of the request that a proxy has received, if RETURN_TO lists it."""
    origin, _ = _forwarded_url(request)
    return origin if origin in app_state(request.scope).settings.forward.return_origins else None


def _blocks_cookies(request: Request) -> bool:
    """Returns whether the browser came from the log-in or sign-up form and kept no cookie.

    A log-out keeps the device cookie, so a session that ended is not mistaken for blocked cookies.
    """
    form = urlsplit(_local_path(request, request.headers.get("referer", "")) or "").path
    is_from_form = form in (url_path(request, "login"), url_path(request, "signup"))
    return (
        is_from_form
        and read_cookie(request.scope, "session") is None
        and read_cookie(request.scope, "device") is None
    )


def _allowed_target(request: Request, target: str) -> str:
    """Returns `target` with its query in canonical form; empty if `next` must not name it."""
    if not target.isascii() or not target.isprintable():
        return ""
    url, _, query = target.partition("?")
    if not _is_allowed(request, url):
        return ""
    return f"{url}?{_canonical(query)}" if query else url


def _canonical(query: str) -> str:
    return quote(query, safe="=&+%,:;@/-._~!$()*")


def _is_allowed(request: Request, url: str) -> bool:
    """Returns whether a log-in may lead to this path or URL, which has no query.

    A path in RETURN_TO may include paths of Latchkey itself, which are those below BASE_PATH. Of
    these, only protected pages count.
    """
    state = app_state(request.scope)
    if not url.startswith("/"):
        return state.settings.forward.allows_url(url)
    base_path = state.settings.base_path
    inner = url.removeprefix(base_path) if url.startswith(f"{base_path}/") else ""
    if any(page.match(inner) for page in state.protected_pages):
        return True
    is_own = bool(inner) if base_path else _is_own_path(request, inner)
    return state.settings.forward.allows_path(url) and not is_own


def _is_own_path(request: Request, path: str) -> bool:
    return any(route.path_regex.match(path) for route in request.app.router.routes)


def _forwarded_url(request: Request) -> tuple[str, str]:
    """Returns origin and path of the request that a proxy has received.

    Without its headers, returns this site and an empty path. The client may have sent the headers,
    so callers compare the URL with RETURN_TO.
    """
    proto, host, uri = (
        request.headers.get(f"x-forwarded-{part}", "") for part in ("proto", "host", "uri")
    )
    if not host:
        return app_state(request.scope).settings.base_url, uri
    origin = f"{proto}://{host}".lower()
    default_port = {"http": ":80", "https": ":443"}.get(proto, "")
    return origin.removesuffix(default_port), uri


def _requested_page(request: Request) -> str:
    query = request.scope["query_string"].decode("latin-1")
    path = visible_path(request, quote(request.scope["path"]))
    return safe_page(request, path + (f"?{query}" if query else ""))


def _local_path(request: Request, url: str) -> str | None:
    """Returns path and query of a URL of this site, and None for any other URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    # Browsers send scheme and host in canonical form.
    if f"{parts.scheme}://{parts.netloc}" != app_state(request.scope).settings.base_url:
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
