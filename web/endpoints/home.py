"""Contains the front page, the handbook and the well-known URLs. None of them has user data."""

from datetime import UTC, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from db.messages import Message
from web.rendering.responses import cached_page, now, url_path, visible_path
from web.state import app_state

# RFC 9116, section 2.5.5, recommends less than a year.
VALIDITY: Final = timedelta(days=330)
HANDBOOK_TITLE: Final = Message("Handbook")
SECURITY_TXT: Final = "/.well-known/security.txt"


async def show(request: Request) -> Response:
    title = app_state(request.scope).product.brand.landing.title
    return cached_page(request, "home/page.html", title, layout="front")


async def handbook(request: Request) -> Response:
    """Returns a page that is the same for every logged-in user.

    Access depends on the cookie alone, without a query, like the guide's static page behind a
    paywall.
    """
    lifetimes = app_state(request.scope).settings.session_lifetimes
    return cached_page(
        request, "home/handbook.html", HANDBOOK_TITLE, layout="app", lifetimes=lifetimes
    )


async def redirect_to_account(request: Request) -> Response:
    """Redirects from the URL that password managers open to change a password.

    The URL is defined in W3C, A Well-Known URL for Changing Passwords.
    """
    return RedirectResponse(url_path(request, "account"), 303)


async def robots(request: Request) -> Response:
    return PlainTextResponse(f"User-agent: *\nDisallow: {visible_path(request, '/api/')}\n")


async def security_txt(request: Request) -> Response:
    """Returns the contact for reports of vulnerabilities (RFC 9116).

    The expiry is at midnight, so that the response is the same for a whole day.
    """
    settings = app_state(request.scope).settings
    # With BASE_PATH, the proxy may pass the URL at the root of the host too.
    paths = dict.fromkeys((url_path(request, "security-txt"), SECURITY_TXT))
    expires = (now(request).astimezone(UTC) + VALIDITY).date()
    return PlainTextResponse(
        f"Contact: {settings.security_contact}\n"
        f"Expires: {expires}T00:00:00Z\n"
        "Preferred-Languages: en\n"
        + "".join(f"Canonical: {settings.base_url}{path}\n" for path in paths)
    )
