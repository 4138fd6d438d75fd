"""What every answer carries, and how it travels."""

import secrets
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.logs import request_id
from web.respond import VARY

SMALLEST_WORTH_PACKING: Final = 1024  # bytes
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), "
    "publickey-credentials-get=(self), publickey-credentials-create=(self)",
}
NOT_KEPT: Final = [(b"cache-control", b"no-store"), (b"vary", VARY.encode())]
HSTS: Final = "max-age=31536000; includeSubDomains"


class Packed:
    """Answers of some size travel in gzip to those who take it; others go past the packing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.packing = GZipMiddleware(app, minimum_size=SMALLEST_WORTH_PACKING, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        takes_it = any(name == b"accept-encoding" and b"gzip" in value for name, value in scope.get("headers", ()))
        await (self.packing if takes_it else self.app)(scope, receive, send)


class Headers:
    """The headers that every answer carries, errors and fragments too, and the cookie that the work has decided on."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self.app = app
        fixed = HEADERS | ({"Strict-Transport-Security": HSTS} if https else {})
        self.fixed = [(name.lower().encode(), value.encode()) for name, value in fixed.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        state = scope.setdefault("state", {})
        state["request_id"] = secrets.token_hex(8)
        request_id.set(state["request_id"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]  # for whom it matters that an answer has begun, and which
                message["headers"] = [*message["headers"], *self._added(scope, message["headers"])]
            await send(message)

        return await self.app(scope, receive, send_with_headers)

    def _added(self, scope: Scope, present: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        added = list(self.fixed)
        if not any(name == b"cache-control" for name, _ in present):
            added += NOT_KEPT
        if scope["app"].state.draining:
            added.append((b"connection", b"close"))  # so that nobody is cut off between two requests
        added.extend((b"set-cookie", cookie) for cookie in scope["state"].get("set_cookies", {}).values())
        return added
