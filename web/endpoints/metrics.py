"""Contains the Prometheus metrics, for clients on this machine or with a token."""

import hmac
from typing import Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from db.crypto.secret import Secret
from db.ip_addresses import parse_ip
from web.middleware.allowed_hosts import require_allowed_host
from web.state import app_state

FORWARDED: Final = {
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
}


async def show(request: Request) -> Response:
    metrics = app_state(request.scope).metrics
    if not _has_token(request.scope, metrics.token):
        require_allowed_host(request.scope, app_state(request.scope).settings.base_url)
        if not _is_on_this_machine(request):
            raise HTTPException(404)
    return Response(await metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _has_token(scope: Scope, token: Secret[str] | None) -> bool:
    """Returns whether the only Authorization header is the Bearer token (RFC 6750, section 2.1)."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    return (
        token is not None
        and len(given) == 1
        and hmac.compare_digest(given[0], b"Bearer " + token.reveal().encode())
    )


def _is_on_this_machine(request: Request) -> bool:
    """Returns whether the client connects from loopback and not through a proxy.

    Every client of a proxy on this machine appears to connect from loopback.
    """
    if request.client is None or any(name in FORWARDED for name, _ in request.scope["headers"]):
        return False
    peer = parse_ip(request.client.host)
    if peer is None or not peer.is_loopback:
        return False
    trusted_proxies = app_state(request.scope).settings.trusted_proxies
    return not any(peer in network for network in trusted_proxies)
