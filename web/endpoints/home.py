"""Contains the front page, the handbook and the well-known URLs. None of them has user data."""

from datetime import UTC, timedelta
from math import ceil
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from db.messages import Message
from web.forms.form import Form
from web.forms.schemas import LogIn, SignUp
from web.http.remember import read_choice, read_sign_up_choice
from web.rendering.responses import cached_page, now, url_path, visible_path
from web.state import app_state

# RFC 9116, section 2.5.5, recommends less than a year.
VALIDITY: Final = timedelta(days=330)
HANDBOOK_TITLE: Final = Message("Handbook")
SECURITY_TXT: Final = "/.well-known/security.txt"
# The compressed size of the landing page itself. A browser test compares it with the response.
MAX_PAGE_BYTES: Final = 6_000


async def show(request: Request) -> Response:
    """Returns the landing page with the form to sign up, or to log in if sign-up is not open."""
    state = app_state(request.scope)
    is_open = state.settings.sign_up.mode == "open"
    return cached_page(
        request,
        "home/page.html",
        state.product.brand.landing.title,
        layout="front",
        form=Form.blank(SignUp, state.password_policy) if is_open else Form.blank(LogIn),
        next="",
        taken=False,
        uses_other=False,
        organization=None,
        remember=read_sign_up_choice(request) if is_open else read_choice(request),
        kilobytes=ceil((state.assets.weight + MAX_PAGE_BYTES) / 1000),
    )


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


async def show_passkey_endpoints(request: Request) -> Response:
    """Returns the page that adds and manages passkeys, for password managers.

    The URL is defined in W3C, A Well-Known URL for Relying Party Passkey Endpoints.
    """
    page = f"{app_state(request.scope).settings.base_url}{url_path(request, 'account-passkeys')}"
    return JSONResponse({"enroll": page, "manage": page})


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
