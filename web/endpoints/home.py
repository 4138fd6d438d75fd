"""The pages that hold nobody's data: the front page, the handbook, and what robots and browsers look for."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from web.respond import constant, path_of


async def show(request: Request) -> Response:
    return constant(request, "home/page.html", "Your own key to your own door", layout="front")


async def handbook(request: Request) -> Response:
    """The same page for every member, by the cookie alone, no query: the guide's static page behind a paywall (D6)."""
    return constant(request, "home/handbook.html", "Handbook", layout="house")


async def change_password(request: Request) -> Response:
    """Where password managers send people (W3C, A Well-Known URL for Changing Passwords)."""
    return RedirectResponse(path_of(request, "account"), 303)


async def robots(request: Request) -> Response:
    return PlainTextResponse("User-agent: *\nDisallow: /api/\n")
