"""Contains the middleware that refuses unsafe requests from other sites (CSRF)."""

from collections.abc import Awaitable, Container

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from web.http.methods import SAFE_METHODS
from web.observability.logs import warn_of_foreign_origin


class ForeignOrigin(HTTPException):
    """Raised for an unsafe request from a page of another site."""

    def __init__(self) -> None:
        super().__init__(403, "The request came from another site.")


class CrossOriginCheck:
    """Refuses unsafe requests from pages of other sites (CSRF) by Sec-Fetch-Site and Origin.

    A path of `exempt_paths` is left to its endpoint, which must call `require_own_origin` itself:
    the callback of a provider that answers by a form, such as Apple.

    Each of the two headers, if present, must name this site. Browsers always send one of them, so a
    client that sends neither is not a browser.
    """

    def __init__(self, app: ASGIApp, *, base_url: str, exempt_paths: Container[str] = ()) -> None:
        self.app = app
        self.exempt_paths = exempt_paths
        self.base_url = base_url

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["path"] not in self.exempt_paths:
            require_own_origin(scope, self.base_url)
        return self.app(scope, receive, send)


def require_own_origin(scope: Scope, base_url: str) -> None:
    """Raises ForeignOrigin for an unsafe request from a page of another site."""
    if scope["method"] in SAFE_METHODS:
        return
    for name, value in scope["headers"]:
        if name == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
            raise ForeignOrigin
        if name == b"origin" and value != base_url.encode():
            warn_of_foreign_origin(scope, value.decode("latin-1"))
            raise ForeignOrigin
