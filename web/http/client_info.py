"""Contains functions that read the client's browser, system, IP address and device cookie."""

import re
from functools import lru_cache
from typing import Final

from starlette.requests import HTTPConnection

from db.crypto.secret import Secret
from db.ip_addresses import parse_ip
from db.viewer import ClientInfo
from web.http.cookies import read_cookie
from web.http.language import read_language
from web.http.user_agents import parse_user_agent
from web.observability.logs import warn_of_untrusted_proxy
from web.settings.settings import Settings
from web.state import app_state

MAX_USER_AGENT_CHARS: Final = 512


def get_client_info(request: HTTPConnection) -> ClientInfo:
    """Returns the client of a request, as its user recognizes it in the list of devices."""
    user_agent = request.headers.get("user-agent", "")[:MAX_USER_AGENT_CHARS]
    browser, system, device_type = parse_user_agent(user_agent)
    cookie = read_cookie(request.scope, "device")
    device_cookie = Secret(cookie) if cookie else None
    return ClientInfo(
        browser,
        system,
        device_type,
        _remove_control_characters(user_agent),
        client_ip_address(request),
        device_cookie,
        read_language(request.scope).code,
    )


def client_ip_address(request: HTTPConnection) -> str:
    """Returns the IP address of the peer, or behind trusted proxies the last untrusted one.

    `X-Forwarded-For` is read from right to left (RFC 7239, section 7.1).
    """
    settings = app_state(request.scope).settings
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    hops = [hop for part in forwarded if (hop := part.strip(" \t"))]
    ip_address = _normalize_ip(request.client.host if request.client else "")
    if hops and not _is_trusted(ip_address, settings):
        warn_of_untrusted_proxy(request.scope)
    while hops and _is_trusted(ip_address, settings):
        ip_address = _normalize_ip(hops.pop())
    return ip_address


def _is_trusted(ip_address: str, settings: Settings) -> bool:
    ip = parse_ip(ip_address)
    return ip is not None and any(ip in network for network in settings.trusted_proxies)


@lru_cache(1024)
def _normalize_ip(ip_address: str) -> str:
    """Returns the canonical form of an IP address without its port, or an empty string."""
    with_port = re.fullmatch(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+", ip_address)
    ip = parse_ip(with_port[1] or with_port[2] if with_port else ip_address)
    return "" if ip is None else str(ip)


def _remove_control_characters(text: str) -> str:
    """Removes control characters. PostgreSQL cannot store NUL, and header values are untrusted."""
    return "".join(character for character in text if character.isprintable())
