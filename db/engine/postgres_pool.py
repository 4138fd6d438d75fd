"""Contains the asyncpg pool, which opens connections when they are needed and limits the time to
wait for one.
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

POOL_OPTIONS: Final = ("min_size", "max_size", "ssl")  # These are the URL options of `databases`.
CONNECT_TIMEOUT_SECONDS: Final = 10.0  # This includes name resolution and TLS.


class Pool:
    def __init__(self, url: DatabaseURL, wait: float, options: dict[str, Any]) -> None:
        self._wait = wait
        self._options = connect_options(url) | {"min_size": 0} | sizes(url) | options

    async def open(self) -> None:
        with translate_errors():
            self._pool = await asyncpg.create_pool(connection_class=Session, **self._options)

    async def close(self) -> None:
        """Closes the pool and terminates the connections still in use after `wait` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                await self._pool.close()

    async def acquire(self) -> Any:
        """Returns a Session. Raises Unavailable if none is free within `wait` seconds."""
        try:
            async with asyncio.timeout(self._wait):
                return await self._pool.acquire()
        except TimeoutError as error:
            raise Unavailable() from error

    async def release(self, session: Any) -> None:
        """Returns a session to the pool. Ignores errors, because the pool closes that session."""
        with suppress(Exception):
            await self._pool.release(session)

    async def retry_if_broken(self, attempt: Callable[[], Awaitable[R]]) -> R:
        """Runs the attempt, and once more if its connection was broken.

        Replaces every connection first, because a restart of the server breaks all of them.
        """
        try:
            return await attempt()
        except Exception as error:
            if not is_broken(error):
                raise
        await self._pool.expire_connections()
        return await attempt()


def connect_options(url: DatabaseURL | str) -> dict[str, Any]:
    """Returns the options with which asyncpg connects to a URL.

    asyncpg reads the options of PostgreSQL's own programs: `sslmode`, `sslrootcert`,
    `application_name` and others. `ssl` is an `sslmode`, `true` or `false`. `ssl=true` verifies the
    server by the system's certificates.
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
