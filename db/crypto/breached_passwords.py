"""The client of Have I Been Pwned or a mirror of it.

It looks up whether a password is known from a data breach, without sending the password.
"""

import asyncio
import hashlib
import logging
import time
from functools import cache
from ssl import SSLContext
from typing import Any, Final

from db.crypto.secret import Secret, unlogged_urls
from db.errors import BreachedPassword

logger = logging.getLogger("latchkey")

# This is the limit for the whole request, since the user waits for it.
TIMEOUT_SECONDS: Final = 1.5
MAX_RESPONSE_BYTES: Final = 256 * 1024  # The longest response has about a fifth of this.
WARNING_INTERVAL_SECONDS: Final = 60.0  # seconds


class _ServiceError(Exception):
    """The service returned an invalid response.

    The message contains nothing from it, so it is safe to log.
    """


class BreachedPasswords:
    """The breached-password service at a URL. With an empty URL no password counts as breached."""

    def __init__(self, service: str = "") -> None:
        self._service = service
        self._warned_at = -WARNING_INTERVAL_SECONDS

    async def require_not_breached(self, password: Secret[str]) -> None:
        """Raises BreachedPassword if the password is in a known data breach.

        Does nothing if the service does not respond. Sends five of the forty hexadecimal digits of
        the password's SHA-1, which about a thousand known passwords share (k-anonymity:
        https://haveibeenpwned.com/API/v3#PwnedPasswords). Call it after the rate limits.
        """
        if not self._service:
            return
        digest = hashlib.sha1(password.reveal().encode(), usedforsecurity=False).hexdigest().upper()
        try:
            client = await asyncio.to_thread(_create_client)
            with unlogged_urls():
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    known = await _fetch_range(client, f"{self._service}/range/{digest[:5]}")
        # Sign-up must not depend on the availability of an external service, so the check fails
        # open.
        except Exception as error:
            self._warn(error)
            return
        if any(_matches(line, digest[5:]) for line in known.split("\n")):
            raise BreachedPassword

    def _warn(self, error: Exception) -> None:
        """Logs a warning, at most once a minute.

        Leaves out the URL, which contains a part of the hash.
        """
        if time.monotonic() - self._warned_at >= WARNING_INTERVAL_SECONDS:
            self._warned_at = time.monotonic()
            reason = error if isinstance(error, _ServiceError) else type(error).__name__
            logger.warning(
                "PWNED_PASSWORDS: no answer, so new passwords are not checked: %s", reason
            )


def _matches(line: str, suffix: str) -> bool:
    """Returns whether a line matches the suffix of the hash.

    A line is `SUFFIX:COUNT`; a count of 0 is padding, which hides the true length of the response
    on the network.
    """
    found, _, count = line.strip().partition(":")
    return found.upper() == suffix and count.strip("0").isdecimal()


async def _fetch_range(client: Any, url: str) -> str:
    """Returns the response of the service.

    Reads it without decompression, so that a small response cannot expand into a large one.
    """
    async with client, client.stream("GET", url, follow_redirects=False) as answer:
        if answer.status_code != 200:
            raise _ServiceError(f"status {answer.status_code}")
        content = bytearray()
        async for chunk in answer.aiter_raw():
            content += chunk
            if len(content) > MAX_RESPONSE_BYTES:
                raise _ServiceError("the answer is too long")
        return content.decode("ascii")


def _create_client() -> Any:
    """Creates an HTTP client for one request.

    The first import of httpx takes as long as a few hashes, so it happens only when the service is
    in use.
    """
    import httpx

    headers = {"Add-Padding": "true", "Accept-Encoding": "identity", "User-Agent": "Latchkey"}
    return httpx.AsyncClient(
        verify=_ssl_context(), trust_env=False, timeout=TIMEOUT_SECONDS, headers=headers
    )


@cache
def _ssl_context() -> SSLContext:
    """Returns an SSL context that trusts the default certificates and ignores environment
    variables.
    """
    import httpx

    return httpx.create_ssl_context(trust_env=False)
