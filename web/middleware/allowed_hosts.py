"""Contains the middleware that refuses requests for other hosts.

Allowed are the host of the base URL and loopback hosts. Health checks and the requests of proxies
accept any host.
"""

import re
from collections.abc import Awaitable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from db.ip_addresses import is_loopback, parse_ip

HOST_PATTERN: Final = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._-]+)(:[0-9]{1,5})?")
# Load balancers send an IP address as Host, and old ones send no Host header. A metrics scraper
# with the token may use any host too, and `web.middleware.local_clients` checks all others. A proxy
# and applications reach the last two under the name of a container. A page that uses DNS rebinding
# learns nothing there, because its requests have no session cookie of this site.
ANY_HOST_PATHS: Final = frozenset(
    {"/healthz", "/readyz", "/metrics", "/api/forward", "/.well-known/jwks.json"}
)


class AllowedHosts:
    """Refuses requests for another host (400).

    With DNS rebinding, a page of another site could otherwise read this site's responses.
    """

    def __init__(self, app: ASGIApp, *, base_url: str) -> None:
        self.app = app
        self.base_url = base_url

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            require_allowed_host(scope, self.base_url, any_host=scope["path"] in ANY_HOST_PATHS)
        return self.app(scope, receive, send)


def require_allowed_host(scope: Scope, base_url: str, *, any_host: bool = False) -> None:
    """Raises WrongHost unless there is exactly one allowed Host header (RFC 9112, section 3.2).

    With `any_host`, every host is allowed, and HTTP/1.0 requests need no Host header.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if any_host and (len(hosts) == 1 or (not hosts and scope["http_version"] == "1.0")):
        return
    if len(hosts) != 1 or not _is_allowed(hosts[0], base_url):
        raise WrongHost


@lru_cache(256)
def _is_allowed(host: bytes, base_url: str) -> bool:
    """Returns whether the host is that of the base URL or a loopback host, on any port."""
    match = HOST_PATTERN.fullmatch(host)
    if match is None:
        return False
    name = match[1].decode().lower().removesuffix(".").strip("[]")
    own = urlsplit(base_url).hostname
    if name == own or is_loopback(name):
        return True
    ip = parse_ip(name)  # One IP address has several spellings, such as `::1` and `0:0::1`.
    return ip is not None and ip == parse_ip(own or "")


class WrongHost(HTTPException):
    """Raised for a request without exactly one Host header, or for a host that is not allowed."""

    def __init__(self) -> None:
        super().__init__(400, headers={"Connection": "close"})
