"""The HTTP transport of requests to providers: without redirects, compression and private hosts,
and with a limit of the size.

Importing it loads httpx2 and Authlib's client, which take 92 ms and 3.6 MiB. Only
`db.providers.client` does, which is imported if a provider is used.
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from socket import SOCK_STREAM
from ssl import SSLContext
from typing import Any, Final

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client

from db.crypto.secret import Secret
from db.errors import ProviderUnavailable
from db.ip_addresses import IPAddress, parse_ip
from db.providers.provider import Provider

MAX_RESPONSE_BYTES: Final = 256 * 1024
# RFC 4291, section 2.4. The module `ipaddress` calls most of the other IPv6 addresses global.
GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# RFC 6052, section 2.1: such an IPv6 address leads to the IPv4 address in its last four bytes.
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "Latchkey"}

Resolver = Callable[[str], Awaitable[list[str]]]


class LimitedTransport(httpx2.AsyncBaseTransport):
    """A transport that reads at most 256 KiB of a response, counted as they arrive.

    A compressed response is refused, since 48 kB of gzip can expand to 50 MB. The hosts of the
    endpoints come from the provider's metadata. A host with an IP address of a private network is
    refused unless the issuer has one too: it could reach services that only this machine can reach.
    The connection goes to the IP address that was checked.

    The operator has chosen the issuer of the settings. An administrator chooses that of an
    organization, whose host must not have a private IP address either: `requires_public_hosts`.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        issuer_host: str,
        resolve: Resolver,
        *,
        requires_public_hosts: bool = False,
    ) -> None:
        self._inner = inner
        self._issuer_host = issuer_host
        self._resolve = resolve
        self._requires_public_hosts = requires_public_hosts

    async def handle_async_request(self, outgoing: httpx2.Request) -> httpx2.Response:
        response = await self._send(outgoing)
        headers = response.headers
        is_compressed = headers.get("content-encoding", "identity").lower() != "identity"
        length = headers.get("content-length", "0")
        if is_compressed or not length.isdecimal() or int(length) > MAX_RESPONSE_BYTES:
            await response.aclose()
            raise ProviderUnavailable("compressed" if is_compressed else "too_long")
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_LimitedStream(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _send(self, outgoing: httpx2.Request) -> httpx2.Response:
        host = outgoing.url.host
        if self._requires_public_hosts:
            addresses = await self._resolve(host)
            if is_private(host) or any(map(is_private, addresses)):
                raise ProviderUnavailable("private_issuer")
            return await self._send_to(addresses, outgoing)
        if host == self._issuer_host or is_private(self._issuer_host):
            return await self._inner.handle_async_request(outgoing)
        addresses = await self._resolve(host)
        if any(map(is_private, addresses)):
            if not any(map(is_private, await self._resolve(self._issuer_host))):
                raise ProviderUnavailable("private_host")
            return await self._inner.handle_async_request(outgoing)
        return await self._send_to(addresses, outgoing)

    async def _send_to(self, addresses: list[str], outgoing: httpx2.Request) -> httpx2.Response:
        """Sends the request to the first of the IP addresses that accepts a connection.

        The host would otherwise be resolved again, and could have another address by then. The
        certificate must still be that of the host.
        """
        host = outgoing.url.host
        for ip_address in addresses:
            pinned = httpx2.Request(
                outgoing.method,
                outgoing.url.copy_with(host=ip_address),
                headers=outgoing.headers,
                stream=outgoing.stream,
                extensions={**outgoing.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except httpx2.ConnectError:
                continue
        raise ProviderUnavailable("unreachable")


class _LimitedStream(httpx2.AsyncByteStream):
    """The body of a response. Raises ProviderUnavailable beyond the limit."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise ProviderUnavailable("too_long")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def open_client(
    provider: Provider,
    issuer_host: str,
    *,
    secret: Secret[str] | None,
    timeout_seconds: float,
    auth_method: str = "",
) -> AsyncOAuth2Client:
    """Returns Authlib's client for a few requests; the caller closes it.

    Each request has the timeout, and the caller the deadline of all of them: a provider that sends
    one byte a second never exceeds the timeout of a read.
    """
    return AsyncOAuth2Client(
        client_id=provider.client_id,
        client_secret=secret.reveal() if secret else None,
        token_endpoint_auth_method=auth_method or None,
        scope=" ".join(provider.scopes),
        redirect_uri=provider.redirect_uri,
        code_challenge_method="S256",
        transport=LimitedTransport(
            httpx2.AsyncHTTPTransport(verify=_ssl_context(), trust_env=False),
            issuer_host,
            resolve_host,
            requires_public_hosts=provider.requires_public_hosts,
        ),
        headers=HEADERS,
        timeout=timeout_seconds,
        follow_redirects=False,
        trust_env=False,
    )


def is_private(host: str) -> bool:
    """Returns whether a host is an IP address that is not global, or the name of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    ip = parse_ip(host.strip("[]"))
    return ip is not None and not _is_global(ip)


def _is_global(ip: IPAddress) -> bool:
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in NAT64:
            return _is_global(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
        if ip not in GLOBAL_UNICAST or ip.sixtofour is not None:
            return False
    # Multicast addresses count as global in the module `ipaddress`.
    return ip.is_global and not ip.is_multicast


async def resolve_host(host: str) -> list[str]:
    """Returns the IP addresses of a host, each once. Raises ProviderUnavailable."""
    if parse_ip(host.strip("[]")):
        return [host.strip("[]")]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ProviderUnavailable("unreachable") from None
    return list(dict.fromkeys(str(address[4][0]) for address in found))


@cache
def _ssl_context() -> SSLContext:
    """Returns the SSL context of all clients: without it, each takes 24 to 60 ms instead of 0.6."""
    return httpx2.create_ssl_context(trust_env=False)
