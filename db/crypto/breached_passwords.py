"""Have I Been Pwned, or a mirror of it: whether a password is known from a breach, asked without
telling it.
"""

import asyncio
import hashlib
import logging
import time
from functools import cache
from ssl import SSLContext
from typing import Any, Final

from db.crypto.secret import Secret
from db.errors import Breached

logger = logging.getLogger("latchkey")

PATIENCE: Final = 1.5  # seconds for all of it: nobody should wait longer to be let in
LONGEST: Final = 256 * 1024  # bytes of an answer: about five times the longest there is
COMPLAIN_EVERY: Final = 60.0  # seconds


class _NoAnswer(Exception):
    """What the service said is none; the message is ours."""


class Breaches:
    """The service at an address; with none, every password counts as unknown."""

    def __init__(self, service: str = "") -> None:
        self._service = service
        self._complained_at = -COMPLAIN_EVERY

    async def require_unknown(self, password: Secret[str]) -> None:
        """Raises Breached where the service knows the password; nothing where it gives no answer.

        Told are five of the forty hexadecimal digits of its SHA-1, which some thousand known
        passwords have in common (k-anonymity: https://haveibeenpwned.com/API/v3#PwnedPasswords). To
        be asked after the limits.
        """
        if not self._service:
            return
        digest = hashlib.sha1(password.reveal().encode(), usedforsecurity=False).hexdigest().upper()
        try:
            client = await asyncio.to_thread(_client)
            async with asyncio.timeout(PATIENCE):
                known = await _ask(client, f"{self._service}/range/{digest[:5]}")
        # a door that opens only while a stranger's service is up would be no door
        except Exception as trouble:
            self._complain(trouble)
            return
        if any(_fits(line, digest[5:]) for line in known.split("\n")):
            raise Breached

    def _complain(self, trouble: Exception) -> None:
        """Once a minute, and without the address that was asked, which holds a part of
        the digest.
        """
        if time.monotonic() - self._complained_at >= COMPLAIN_EVERY:
            self._complained_at = time.monotonic()
            why = trouble if isinstance(trouble, _NoAnswer) else type(trouble).__name__
            logger.warning("PWNED_PASSWORDS: no answer, so new passwords are not checked: %s", why)


def _fits(line: str, suffix: str) -> bool:
    """A line is `SUFFIX:COUNT`; with a count of 0 it is padding, which hides from the wire how many
    there are.
    """
    found, _, count = line.strip().partition(":")
    return found.upper() == suffix and count.strip("0").isdecimal()


async def _ask(client: Any, url: str) -> str:
    """What the service says. It is read as it comes, never unpacked: a small answer stays small."""
    async with client, client.stream("GET", url, follow_redirects=False) as answer:
        if answer.status_code != 200:
            raise _NoAnswer(f"status {answer.status_code}")
        content = bytearray()
        async for chunk in answer.aiter_raw():
            content += chunk
            if len(content) > LONGEST:
                raise _NoAnswer("the answer is too long")
        return content.decode("ascii")


def _client() -> Any:
    """A client for one question.

    The first time takes as long as a few hashes, and only those who ask pay for it.
    """
    import httpx

    headers = {"Add-Padding": "true", "Accept-Encoding": "identity", "User-Agent": "Latchkey"}
    return httpx.AsyncClient(verify=_trusted(), trust_env=False, timeout=PATIENCE, headers=headers)


@cache
def _trusted() -> SSLContext:
    """Whose certificates are believed."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)
