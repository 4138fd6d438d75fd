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
    """Returns `target` if it is path and query of a protected page, otherwise the dashboard.

    As in the browser, the path contains BASE_PATH.
    """
    if not target or not target.isascii() or not target.isprintable() or not target.startswith("/"):
        return default_page(request)
    path, _, query = target.partition("?")
    state = app_state(request.scope)
    base_path = state.settings.base_path
    inner = path.removeprefix(base_path)
    if not path.startswith(f"{base_path}/") or not any(
        page.match(inner) for page in state.protected_pages
    ):
        return default_page(request)
    return f"{path}?{quote(query, safe='=&+%,:;@/-._~!$()*')}" if query else path


def same_page(request: Request) -> str:
    """Returns the requested page for a GET, and the page of the form for any other method."""
    if request.method in SAFE_METHODS:
        return _requested_page(request)
    return wanted_page(request)


def carried_page(request: Request, target: str | None) -> str:
    """Returns `target` as `safe_page` does, or an empty string if there is no target."""
    return safe_page(request, target) if target else ""


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
