"""Contains the entry of the application, which removes BASE_PATH from the path of a request."""

from typing import Final

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from web.middleware.security_headers import HEADERS
from web.observability.logs import warn_of_wrong_mount

# The keys that a server sets (ASGI specification, HTTP connection scope). `root_path` and
# `raw_path` are left out, because they could name another path than `path`.
SCOPE_KEYS: Final = (
    "type",
    "asgi",
    "http_version",
    "method",
    "scheme",
    "path",
    "query_string",
    "headers",
    "client",
    "server",
    "extensions",
)
# Probes and scrapers connect without the proxy. The other URLs are defined for the root of a host
# only (RFC 9309, section 2.3, and RFC 8615, section 3).
ROOT_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/robots.txt"})
WELL_KNOWN: Final = "/.well-known/"


def own_scope(scope: Scope, path: str) -> Scope:
    """Returns a scope with this path and without any value of a parent application.

    A parent's `request.state.viewer` would otherwise be the viewer here.
    """
    own = {key: scope[key] for key in SCOPE_KEYS if key in scope}
    return own | {"path": path, "state": {}}


class BasePath:
    """Passes each request on with a scope of its own, whose path is the part after BASE_PATH.

    A request outside of BASE_PATH gets a plain 404.
    """

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        self._app = app
        self._base_path = base_path
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return await WebSocketClose()(scope, receive, send)
        path = self._inner_path(scope)
        if path is None:
            return await PlainTextResponse("Not found\n", 404, HEADERS)(scope, receive, send)
        if self._base_path and not path:
            response = RedirectResponse(f"{self._base_path}/", 308, HEADERS)
            return await response(scope, receive, send)
        return await self._app(own_scope(scope, path), receive, send)

    def _inner_path(self, scope: Scope) -> str | None:
        """Returns the path after BASE_PATH, and None for a request outside of it.

        A server or an application that mounts this one puts the path of the mount in `root_path`
        and leaves it in `path`. Every URL would be wrong if it were not BASE_PATH.
        """
        path: str = scope["path"]
        root_path: str = scope.get("root_path", "")
        if root_path not in ("", self._base_path):
            if not self._has_warned:
                self._has_warned = True
                warn_of_wrong_mount(root_path, self._base_path)
            return None
        if path == self._base_path or path.startswith(f"{self._base_path}/"):
            return path[len(self._base_path) :]
        if not self._base_path:
            return path  # `OPTIONS *` has no slash (RFC 9112, section 3.2.4).
        return path if path in ROOT_PATHS or path.startswith(WELL_KNOWN) else None
