"""The asyncpg pool: it opens connections when they are needed, and lends one for no longer than `wait` asks."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from databases import DatabaseURL

from db.engine.postgres_session import Session, is_broken, refusing
from db.refusals import Busy

R = TypeVar("R")


class Pool:
    def __init__(self, url: DatabaseURL, wait: float, options: dict[str, Any]) -> None:
        self._wait = wait
        self._options = address(url) | {"min_size": 0} | url_options(url) | options

    async def open(self) -> None:
        with refusing():
            self._pool = await asyncpg.create_pool(connection_class=Session, **self._options)

    async def close(self) -> None:
        """What is still under way after `wait` seconds is cut off."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                await self._pool.close()

    async def take(self) -> Any:
        """A Session, or Busy."""
        try:
            async with asyncio.timeout(self._wait):
                return await self._pool.acquire()
        except TimeoutError as error:
            raise Busy() from error

    async def give(self, session: Any) -> None:
        """A session that cannot be cleaned is closed by the pool, and nobody else's concern."""
        with suppress(Exception):
            await self._pool.release(session)

    async def twice(self, attempt: Callable[[], Awaitable[R]]) -> R:
        """Once more if the connection was broken: after a restart of the server all those of the pool are."""
        try:
            return await attempt()
        except Exception as error:
            if not is_broken(error):
                raise
        await self._pool.expire_connections()
        return await attempt()


def address(url: DatabaseURL) -> dict[str, Any]:
    return {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
    }


def url_options(url: DatabaseURL) -> dict[str, Any]:
    """`min_size`, `max_size` and `ssl` as `databases` reads them; the rest is not for asyncpg."""
    sizes = {name: int(url.options[name]) for name in ("min_size", "max_size") if name in url.options}
    ssl = url.options.get("ssl", "").lower()
    return sizes | ({"ssl": {"true": True, "false": False}.get(ssl, ssl)} if ssl else {})
