"""Contains the check that a request comes from a client on this machine."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

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


def require_local_client(request: Request) -> None:
    """Raises an HTTPException with status 404 unless the client is on this machine.

    Raises WrongHost for another host, so that a page of another site cannot read the response with
    DNS rebinding.
    """
    require_allowed_host(request.scope, app_state(request.scope).settings.base_url)
    if not _is_on_this_machine(request):
        raise HTTPException(404)


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
