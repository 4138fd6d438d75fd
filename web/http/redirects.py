"""Destinations of redirects: the log-in page, and after it a page that answers GET, or the
dashboard.
"""

from collections.abc import Sequence
from re import Pattern
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import Request

from web.http.cookies import read
from web.rendering.responses import address_of_page, path_of

HOME = "/dashboard"


def wanted_page(request: Request) -> str:
    """The page that somebody who is turned away was on: the request's own, or the one that asked
    for a fragment.
    """
    address = address_of_page(request)
    if address is None:
        return _requested_page(request)
    return safe_page(request, _local(request, address))


def safe_page(request: Request, target: str | None) -> str:
    """`target`, if it is the path and query of a member's page; the dashboard for anything else."""
    if not target or not target.isascii() or not target.isprintable() or not target.startswith("/"):
        return HOME
    path, _, query = target.partition("?")
    pages: Sequence[Pattern[str]] = request.app.state.member_pages
    if not any(page.match(path) for page in pages):
        return HOME
    return f"{path}?{quote(query, safe='=&+%,:;@/-._~!$()*')}" if query else path


def same_page(request: Request) -> str:
    """The page that a GET asks for, whole; for any other method the page that sent the form."""
    if request.method in ("GET", "HEAD"):
        return _requested_page(request)
    return wanted_page(request)


def carried_page(request: Request, target: str | None) -> str:
    """`target` as `safe_page` returns it; empty where there is none, so that it is carried no
    further.
    """
    return safe_page(request, target) if target else ""


def page_after_login(request: Request) -> str:
    """The `next` of the sign-up page that a live check comes from; empty where it has none."""
    query = urlsplit(_local(request, address_of_page(request) or "") or "").query
    return carried_page(request, dict(parse_qsl(query)).get("next"))


def login_page(request: Request, *, ended: bool, guessed: bool) -> str:
    """The log-in page that leads back to the wanted page.

    It says why a session ended, or that cookies are blocked.
    """
    reason = "&ended=1" if ended else "&cookies=1" if _keeps_no_cookie(request) else ""
    reason += "&guessed=1" if guessed else ""
    return f"{path_of(request, 'login')}?next={quote(wanted_page(request), safe='/')}{reason}"


def _keeps_no_cookie(request: Request) -> bool:
    """Whether the browser comes from the log-in or sign-up form and has neither of the cookies set
    there.

    A log-out leaves the cookie that the browser is known by, so a session that ended is not taken
    for this.
    """
    form = urlsplit(_local(request, request.headers.get("referer", "")) or "").path
    is_from_form = form in (path_of(request, "login"), path_of(request, "signup"))
    return (
        is_from_form
        and read(request.scope, "session") is None
        and read(request.scope, "device") is None
    )


def _requested_page(request: Request) -> str:
    query = request.scope["query_string"].decode("latin-1")
    return safe_page(request, quote(request.scope["path"]) + (f"?{query}" if query else ""))


def _local(request: Request, url: str) -> str | None:
    """The path and query of an address on our own origin; None for any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    # browsers write both canonically
    if f"{parts.scheme}://{parts.netloc}" != request.app.state.settings.base_url:
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
