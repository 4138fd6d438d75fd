"""The pages that hold nobody's data: the front page, the handbook, and what robots and browsers
look for.
"""

from datetime import UTC, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from web.rendering.responses import cached_page, now, url_path
from web.state import app_state

VALIDITY: Final = timedelta(days=330)  # less than a year (RFC 9116, section 2.5.5)


async def show(request: Request) -> Response:
    return cached_page(request, "home/page.html", "Your own key to your own door", layout="front")


async def handbook(request: Request) -> Response:
    """The same page for every member, by the cookie alone, no query: the guide's static page behind
    a paywall (D6).
    """
    return cached_page(request, "home/handbook.html", "Handbook", layout="app")


async def redirect_to_account(request: Request) -> Response:
    """Where password managers send people (W3C, A Well-Known URL for Changing Passwords)."""
    return RedirectResponse(url_path(request, "account"), 303)


async def robots(request: Request) -> Response:
    return PlainTextResponse("User-agent: *\nDisallow: /api/\n")


async def security_txt(request: Request) -> Response:
    """Whom to tell of a weakness (RFC 9116).

    It expires at a midnight, so that it is the same all day.
    """
    settings = app_state(request.scope).settings
    expires = (now(request).astimezone(UTC) + VALIDITY).date()
    return PlainTextResponse(
        f"Contact: {settings.security_contact}\n"
        f"Expires: {expires}T00:00:00Z\n"
        "Preferred-Languages: en\n"
        f"Canonical: {settings.base_url}{url_path(request, 'security-txt')}\n"
    )
