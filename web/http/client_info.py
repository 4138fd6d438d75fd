"""Where a request comes from: the browser and system in words, and the address."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from starlette.requests import HTTPConnection

from db.crypto.secret import Secret
from db.viewer import Device
from web.http import cookies as jar
from web.http.user_agents import parse_user_agent
from web.observability.logs import warn_of_untrusted_proxy
from web.settings.settings import Settings

LONGEST_USER_AGENT: Final = 512  # characters


def describe_device(request: HTTPConnection) -> Device:
    """The device behind a log-in, as its user will recognize it in the list."""
    user_agent = request.headers.get("user-agent", "")[:LONGEST_USER_AGENT]
    browser, system, kind = parse_user_agent(user_agent)
    cookie = jar.read(request.scope, "device")
    known = Secret(cookie) if cookie else None
    return Device(browser, system, kind, _printable(user_agent), client_address(request), known)


def client_address(request: HTTPConnection) -> str:
    """The peer's address; behind trusted proxies the last address that is none of them (RFC 7239,
    section 7.1).
    """
    settings: Settings = request.app.state.settings
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    hops = [hop for part in forwarded if (hop := part.strip(" \t"))]
    address = _normal(request.client.host if request.client else "")
    if hops and not _is_trusted(address, settings):
        warn_of_untrusted_proxy(request.app.state)
    while hops and _is_trusted(address, settings):
        address = _normal(hops.pop())
    return address


def _is_trusted(address: str, settings: Settings) -> bool:
    try:
        return any(ipaddress.ip_address(address) in network for network in settings.trusted_proxies)
    except ValueError:
        return False


@lru_cache(1024)
def _normal(address: str) -> str:
    """One form for each address, a port left out: IPv4 in IPv6 becomes IPv4; what is no address
    becomes nothing.
    """
    with_port = re.fullmatch(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+", address)
    try:
        ip = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else address)
    except ValueError:
        return ""
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def _printable(text: str) -> str:
    """Headers are Latin-1 bytes from anybody: no control characters into the database (PostgreSQL
    has no NUL).
    """
    return "".join(character for character in text if character.isprintable())
