"""Where a request comes from: the browser and system in words, and the address."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from starlette.requests import HTTPConnection
from ua_parser import parse

from db.device_names import UNKNOWN, known_name, known_system
from db.secret import Secret
from db.sessions import Device
from web import jar
from web.logs import warn_of_untrusted_proxy
from web.settings import Settings

LONGEST_USER_AGENT: Final = 512  # characters
SHOWN_NAMES: Final = {  # ua-parser's families whose names in `db.device_names` are different
    "Android": "Android browser",
    "Brave Mobile": "Brave",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile WebView": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "DuckDuckGo Mobile": "DuckDuckGo",
    "Edge Mobile": "Edge",
    "Epiphany": "GNOME Web",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "HeadlessChrome": "Chrome",
    "HuaweiBrowser": "Huawei Browser",
    "IE": "Internet Explorer",
    "IE Mobile": "Internet Explorer",
    "Java-http-client": "Java",
    "MiuiBrowser": "Mi Browser",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "Safari",
    "Opera Mobile": "Opera",
    "Python Requests": "python-requests",
    "Python aiohttp": "aiohttp",
    "QQ Browser Mobile": "QQ Browser",
    "WindowsPowerShell": "PowerShell",
    "insomnia": "Insomnia",
}
SYSTEMS: Final = {"Mac OS X": "macOS", "Chrome OS": "ChromeOS"}


def describe_device(request: HTTPConnection) -> Device:
    """The device behind a log-in, as its owner will recognise it in the list."""
    user_agent = request.headers.get("user-agent", "")[:LONGEST_USER_AGENT]
    browser, system, kind = parse_user_agent(user_agent)
    cookie = jar.read(request.scope, "device")
    known = Secret(cookie) if cookie else None
    return Device(browser, system, kind, _printable(user_agent), client_address(request), known)


@lru_cache(1024)
def parse_user_agent(user_agent: str) -> tuple[str, str, str]:
    """Returns browser, system and kind, such as `("Firefox", "Linux", "computer")`, all from fixed tables."""
    found = parse(user_agent)
    browser = _known_browser(user_agent, found.user_agent.family if found.user_agent else "")
    family = found.device.family if found.device else ""
    system = found.os.family if found.os else ""
    if family in ("iPhone", "iPad"):
        return browser, family, "phone" if family == "iPhone" else "tablet"
    return browser, known_system(SYSTEMS.get(system, system)), _kind(user_agent, system, browser)


def _known_browser(user_agent: str, family: str) -> str:
    """Returns the shown name of ua-parser's family; where it has none, that of the first product."""
    if family == "Android" and re.search(r" (Focus|Klar)/", user_agent):
        return "Firefox Focus"
    product = re.match(r"[A-Za-z][A-Za-z-]{0,39}(?=/)", user_agent)
    if not family and product:
        family = product[0]
    return known_name(SHOWN_NAMES.get(family, family))


def client_address(request: HTTPConnection) -> str:
    """The peer's address; behind trusted proxies the last address that is none of them (RFC 7239, section 7.1)."""
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
    """One form for each address, a port left out: IPv4 in IPv6 becomes IPv4; what is no address becomes nothing."""
    with_port = re.fullmatch(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+", address)
    try:
        ip = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else address)
    except ValueError:
        return ""
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def _kind(user_agent: str, system: str, browser: str) -> str:
    if not system:
        return "unknown" if browser == UNKNOWN else "terminal"
    if system == "Android":
        return "phone" if "Mobile" in user_agent else "tablet"
    return "computer"


def _printable(text: str) -> str:
    """Headers are Latin-1 bytes from anybody: no control characters into the database (PostgreSQL has no NUL)."""
    return "".join(character for character in text if character.isprintable())
