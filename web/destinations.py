"""Where to go after logging in: a page of ours that answers GET, or the dashboard."""

from collections.abc import Sequence
from re import Pattern
from urllib.parse import quote, urlsplit

from starlette.requests import Request

from web.respond import address_of_page

HOME = "/dashboard"


def wanted_page(request: Request) -> str:
    """The page that somebody who is turned away was on: the request's own, or the one that asked for a fragment."""
    address = address_of_page(request)
    if address is None:
        query = request.scope["query_string"].decode("latin-1")
        return safe_page(request, quote(request.scope["path"]) + (f"?{query}" if query else ""))
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


def _local(request: Request, url: str) -> str | None:
    """The path and query of an address on our own origin; None for any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if f"{parts.scheme}://{parts.netloc}" != request.app.state.settings.base_url:  # browsers write both canonically
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
