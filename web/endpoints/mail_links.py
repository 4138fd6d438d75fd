"""Contains the endpoint behind the links in mails."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from web.http.link_cookie import set_link_cookie
from web.rendering.responses import visible_path


async def open_link(request: Request) -> Response:
    """Stores the token of the URL in the link cookie and redirects to the page without the token.

    The response is the same for every token and needs no query. It alone forbids the Referer: on a
    page, `no-referrer` would make browsers send forms with `Origin: null`.
    """
    set_link_cookie(request.scope, request.path_params["token"])
    path = request.scope["route"].path.removesuffix("/{token}")
    return RedirectResponse(visible_path(request, path), 303, {"Referrer-Policy": "no-referrer"})
