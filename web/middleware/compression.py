"""Contains the middleware that compresses responses with gzip."""

from collections.abc import Awaitable
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

MIN_COMPRESSED_BYTES: Final = 1024


class Compression:
    """Compresses larger responses for clients that accept gzip.

    For other clients, requests bypass GZipMiddleware.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.gzip = GZipMiddleware(app, minimum_size=MIN_COMPRESSED_BYTES, compresslevel=5)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for name, value in scope.get("headers", ()):
            if name == b"accept-encoding" and b"gzip" in value:
                return self.gzip(scope, receive, send)
        return self.app(scope, receive, send)
