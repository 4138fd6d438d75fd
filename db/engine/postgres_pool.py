"""The asyncpg pool: it opens connections when they are needed, and lends one for no longer than
`wait` asks.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg  # type: ignore[import-untyped]
from databases import DatabaseURL

from db.engine.postgres_session import Session, is_broken, translate_errors
from db.errors import Unavailable

R = TypeVar("R")

POOL_OPTIONS: Final = ("min_size", "max_size", "ssl")  # options of a URL as `databases` reads them
CONNECT_TIMEOUT_SECONDS: Final = 10.0  # seconds, name look-up and TLS included


class Pool:
    def __init__(self, url: DatabaseURL, wait: float, options: dict[str, Any]) -> None:
        self._wait = wait
        self._options = connect_options(url) | {"min_size": 0} | sizes(url) | options

    async def open(self) -> None:
        with translate_errors():
            self._pool = await asyncpg.create_pool(connection_class=Session, **self._options)

    async def close(self) -> None:
        """What is still under way after `wait` seconds is cut off."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                await self._pool.close()

    async def acquire(self) -> Any:
        """A Session, or Unavailable."""
        try:
            async with asyncio.timeout(self._wait):
                return await self._pool.acquire()
        except TimeoutError as error:
            raise Unavailable() from error

    async def release(self, session: Any) -> None:
        """A session that cannot be cleaned is closed by the pool, and nobody else's concern."""
        with suppress(Exception):
            await self._pool.release(session)

    async def retry_if_broken(self, attempt: Callable[[], Awaitable[R]]) -> R:
        """Once more if the connection was broken: after a restart of the server all those of the
        pool are.
        """
        try:
            return await attempt()
        except Exception as error:
            if not is_broken(error):
                raise
        await self._pool.expire_connections()
        return await attempt()


def connect_options(url: DatabaseURL | str) -> dict[str, Any]:
    """Where and how asyncpg connects.

    It reads the URL as PostgreSQL's own programs do: `sslmode`, `sslrootcert`, `application_name`
    and the like. `ssl` is theirs in one word; `ssl=true` verifies by the system's certificates.
    """
    parts = urlsplit(str(url))
    query = parse_qsl(parts.query)
    rest = [(name, value) for name, value in query if name not in POOL_OPTIONS]
    dsn = parts._replace(scheme="postgresql", query=urlencode(rest)).geturl()
    ssl = dict(query).get("ssl", "").lower()
    given = {"ssl": {"true": True, "false": False}.get(ssl, ssl)} if ssl else {}
    return {"dsn": dsn, "timeout": CONNECT_TIMEOUT_SECONDS} | given


def sizes(url: DatabaseURL) -> dict[str, int]:
    return {
        name: int(url.options[name]) for name in ("min_size", "max_size") if name in url.options
    }
