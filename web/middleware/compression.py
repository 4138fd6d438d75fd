"""Contains the middleware that compresses responses with gzip."""

from collections.abc import Awaitable
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

SMALLEST_WORTH_PACKING: Final = 1024


class Packed:
    """Compresses larger responses for clients that accept gzip.

    For other clients, requests bypass GZipMiddleware.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.packing = GZipMiddleware(app, minimum_size=SMALLEST_WORTH_PACKING, compresslevel=5)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for name, value in scope.get("headers", ()):
            if name == b"accept-encoding" and b"gzip" in value:
                return self.packing(scope, receive, send)
        return self.app(scope, receive, send)
