"""Contains the checks of the running service, through its proxy: TLS, headers and cookies.

The service says what arrived, in the answer to a signed question: see db/access/diagnosis.py.
"""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from db.access import diagnosis
from db.ip_addresses import is_loopback, parse_ip
from db.viewer import Operator
from web.cli.doctor.findings import Finding, error, ok, warning
from web.endpoints.health import ANSWER_HEADER, QUESTION_HEADER
from web.http.cookies import cookie_name
from web.routes import routes_for
from web.settings.settings import Settings

TIMEOUT_SECONDS: Final = 5.0
CERTIFICATE_DAYS: Final = 14  # Certificates of 90 days are usually renewed 30 days before the end.
MAX_CLOCK_DIFFERENCE_SECONDS: Final = 2.0
# An IP address of a documentation network (RFC 5737), which no real client has.
FORGED_IP: Final = "203.0.113.77"
# The responses to these malformed links delete a cookie and change nothing else.
MALFORMED_LINKS: Final = {"verify-link": "/verify/doctor", "join-link": "/join/doctor"}


async def check_service(
    caller: Operator,
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None = None,
    ca: str | None = None,
) -> AsyncIterator[Finding]:
    """Yields the findings about the answers at the public URL. Works without a network.

    `ca` is a PEM file of certificates that are trusted besides those of the system.
    """
    client = httpx.AsyncClient(
        base_url=settings.public_url,  # A proxy may pass on the paths below BASE_PATH only.
        timeout=TIMEOUT_SECONDS,
        transport=transport,
        verify=ssl.create_default_context(cafile=ca),
        trust_env=False,
    )
    async with client:
        headers = {QUESTION_HEADER: diagnosis.sign_question(caller)}
        if settings.https:  # Without a proxy, the service would log that it ignores the header.
            headers["X-Forwarded-For"] = FORGED_IP
        started = time.monotonic()
        try:
            response = await client.get("/healthz", headers=headers)
        except httpx.HTTPError as problem:
            yield _describe_no_answer(problem, settings)
            return
        seconds = time.monotonic() - started
        if response.status_code != 200:
            yield error(
                "service",
                f"{settings.public_url}/healthz answers {response.status_code}: start the service, "
                "and let the proxy pass requests to it",
            )
            return
        for finding in _check_answer(response, settings, caller, seconds):
            yield finding
        yield await _check_cookie(client, settings)
    if settings.https and transport is None:
        async for finding in _check_tls(settings, ca):
            yield finding


def _describe_no_answer(problem: httpx.HTTPError, settings: Settings) -> Finding:
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return error(
                "TLS",
                f"the certificate of {settings.base_url} is not valid: {cause.verify_message}; "
                "renew it, and serve the whole chain",
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(problem, httpx.TimeoutException):
        text = f"no answer within {TIMEOUT_SECONDS:g} seconds"
    else:
        text = str(problem) or type(problem).__name__
    return warning(
        "service",
        f"nothing answers at {settings.public_url} ({text}): start it, or run this command where "
        "its name resolves",
    )


def _check_answer(
    response: httpx.Response, settings: Settings, caller: Operator, seconds: float
) -> Iterator[Finding]:
    """Yields the findings about the headers that arrived at the service and those it sent."""
    arrived = _read_answer(response)
    if arrived is None:
        yield warning(
            "service",
            f"{settings.public_url} answers, but not to this command: it has another "
            "SESSION_SECRET, is an older release, or its proxy removes X-Latchkey-Doctor",
        )
    else:
        yield ok("service", f"{settings.public_url} answers")
        yield _check_clock(arrived, caller, seconds)
        yield _check_host(arrived, settings)
        yield _check_client(arrived, settings)
    if settings.https and not is_loopback(urlsplit(settings.base_url).hostname or ""):
        policies = response.headers.get_list("strict-transport-security")
        if not policies:
            yield warning(
                "HSTS",
                "Strict-Transport-Security does not arrive: set HSTS=host, or let the proxy add it",
            )
        elif len(policies) > 1:
            yield warning(
                "HSTS",
                "Strict-Transport-Security arrives twice: set HSTS=off, or remove it in the proxy",
            )


def _read_answer(response: httpx.Response) -> Mapping[str, Any] | None:
    try:
        arrived = json.loads(response.headers.get(ANSWER_HEADER, ""))
    except ValueError:
        return None
    return arrived if isinstance(arrived, dict) else None


def _check_clock(arrived: Mapping[str, Any], caller: Operator, seconds: float) -> Finding:
    difference = abs(arrived["time"] - diagnosis.current_time(caller).timestamp())
    if difference > MAX_CLOCK_DIFFERENCE_SECONDS + seconds:
        return warning(
            "clock",
            f"the clocks of this machine and of the service differ by {difference:.0f} seconds: "
            "synchronize both (NTP)",
        )
    return ok("clock", "the same as that of the service, to within two seconds")


def _check_host(arrived: Mapping[str, Any], settings: Settings) -> Finding:
    host, wanted = str(arrived["host"]), urlsplit(settings.base_url).netloc
    if _host_name(host) != _host_name(wanted):
        return error(
            "proxy",
            f"the header Host arrives as {host} instead of {wanted}, so every page is refused: "
            "pass it on (nginx: proxy_set_header Host $host)",
        )
    return ok("proxy", f"the header Host arrives as {host}")


def _host_name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "").lower()


def _check_client(arrived: Mapping[str, Any], settings: Settings) -> Finding:
    """Returns the finding about X-Forwarded-For, into which this command wrote FORGED_IP."""
    client, peer = str(arrived["client"]), str(arrived["peer"])
    if not settings.https:
        return ok("proxy", f"the client arrives as {client}")
    hops = [hop.strip() for hop in str(arrived["forwarded_for"]).split(",") if hop.strip()]
    if not hops:
        return error(
            "proxy",
            "X-Forwarded-For does not arrive, so all clients share the rate limits of the proxy: "
            "let the proxy set it",
        )
    ip = parse_ip(peer)
    if ip is None or not any(ip in network for network in settings.trusted_proxies):
        return error(
            "proxy",
            f"X-Forwarded-For is ignored, because TRUSTED_PROXIES does not name {peer}: add it if "
            "it is the proxy",
        )
    if hops[-1] == FORGED_IP:
        return error(
            "proxy",
            "a client can choose its IP address and evade rate limits: let the proxy replace "
            "X-Forwarded-For (nginx: proxy_set_header X-Forwarded-For $remote_addr)",
        )
    return ok("proxy", f"the client arrives as {hops[-1]}, and cannot choose its IP address")


async def _check_cookie(client: httpx.AsyncClient, settings: Settings) -> Finding:
    """Returns the finding about a cookie that is deleted, whose attributes are those of all."""
    served = {route.name for route in routes_for(settings)}
    links = [path for name, path in MALFORMED_LINKS.items() if name in served]
    if not links:
        return ok("cookies", "not checked, because no link works without mail and invitations")
    try:
        response = await client.get(links[0])
    except httpx.HTTPError as problem:
        return warning("cookies", f"not checked: {type(problem).__name__}")
    name = cookie_name(settings, "link")
    cookies = [
        cookie
        for cookie in response.headers.get_list("set-cookie")
        if cookie.startswith(f"{name}=")
    ]
    if not cookies:
        return error(
            "cookies",
            f"the cookie {name} does not arrive (status {response.status_code}): let the proxy "
            f"pass on the path {settings.base_path}{links[0]} and Set-Cookie",
        )
    attributes = {part.strip().lower() for part in cookies[0].split(";")[1:]}
    wanted = {"path=/", "httponly", "samesite=lax"} | ({"secure"} if settings.https else set())
    if missing := wanted - attributes:
        return error(
            "cookies",
            f"{', '.join(sorted(missing))} is missing in cookies: let the proxy pass on Set-Cookie",
        )
    if any(attribute.startswith("domain=") for attribute in attributes):
        return error("cookies", "the proxy adds Domain to cookies: browsers refuse __Host- with it")
    return ok("cookies", "they arrive with every attribute")


async def _check_tls(settings: Settings, ca: str | None) -> AsyncIterator[Finding]:
    """Yields the findings about the end of the certificate and about plain http."""
    url = urlsplit(settings.base_url)
    host, port = url.hostname or "", url.port or 443
    try:
        yield describe_certificate(await asyncio.to_thread(read_end, host, port, ca))
    except OSError as problem:
        yield warning("TLS", f"the certificate was not read: {problem}")
    if url.port is None:
        yield await check_redirect(settings.base_url)


def read_end(host: str, port: int, ca: str | None) -> float:
    """Returns when the certificate of a server ends, in seconds since 1970. Raises OSError."""
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as tls,
    ):
        certificate: Any = tls.getpeercert()
    return ssl.cert_time_to_seconds(certificate["notAfter"])


def describe_certificate(end: float, now: float | None = None) -> Finding:
    days = int((end - (time.time() if now is None else now)) / 86_400)
    text = f"the certificate is valid until {datetime.fromtimestamp(end, UTC):%Y-%m-%d}"
    if days < CERTIFICATE_DAYS:
        return warning("TLS", f"{text}, only {days} more days: check its renewal")
    return ok("TLS", text)


async def check_redirect(
    base_url: str, transport: httpx.AsyncBaseTransport | None = None
) -> Finding:
    """Returns the finding about plain http, which must redirect to https or not answer."""
    plain = base_url.replace("https:", "http:", 1)
    async with httpx.AsyncClient(
        timeout=TIMEOUT_SECONDS, transport=transport, trust_env=False
    ) as client:
        try:
            response = await client.get(f"{plain}/healthz")
        except httpx.HTTPError:
            return ok("TLS", f"nothing answers at {plain}")
    if response.headers.get("location", "").startswith(f"{base_url}/"):
        return ok("TLS", f"{plain} redirects to https")
    return error(
        "TLS",
        f"{plain} answers {response.status_code} without a redirect to https: let the proxy "
        "redirect",
    )
