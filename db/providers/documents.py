"""The cache of a provider's metadata and keys, in one process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from joserfc.jwk import KeySet

from db.errors import ProviderUnavailable
from db.providers.id_token import read_keys
from db.providers.metadata import Metadata, github_metadata, read_metadata
from db.providers.provider import Provider

T = TypeVar("T")

METADATA_IS_FRESH_FOR: Final = timedelta(hours=24)
METADATA_IS_KEPT_FOR: Final = timedelta(days=7)
KEYS_ARE_FRESH_FOR: Final = timedelta(hours=1)
KEYS_ARE_KEPT_FOR: Final = timedelta(hours=24)
MIN_KEYS_AGE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Cached(Generic[T]):
    value: T
    fetched_at: datetime


class Documents:
    """The metadata and the keys of one provider.

    `fetch` returns a JSON object of a URL or raises ProviderUnavailable; a document that was
    fetched before is then used for some time longer. Nothing is fetched before it is needed.
    """

    def __init__(
        self,
        provider: Provider,
        now: Callable[[], datetime],
        fetch: Callable[[str], Awaitable[Mapping[str, Any]]],
    ) -> None:
        self._provider = provider
        self._now = now
        self._fetch = fetch
        self._metadata: _Cached[Metadata] | None = None
        self._keys: _Cached[KeySet] | None = None
        self._metadata_lock = asyncio.Lock()
        self._keys_lock = asyncio.Lock()

    async def get_metadata(self) -> Metadata:
        """Returns the metadata. Raises ProviderUnavailable."""
        if self._provider.protocol == "github":
            return github_metadata(self._provider)
        async with self._metadata_lock:
            cached = self._metadata
            if cached is not None and self._is_younger(cached, METADATA_IS_FRESH_FOR):
                return cached.value
            try:
                document = await self._fetch(self._provider.discovery_url)
                metadata = read_metadata(self._provider, document)
            except ProviderUnavailable:
                if cached is not None and self._is_younger(cached, METADATA_IS_KEPT_FOR):
                    return cached.value
                raise
            if cached is not None and cached.value.jwks_uri != metadata.jwks_uri:
                self._keys = None
            self._metadata = _Cached(metadata, self._now())
            return metadata

    async def get_keys(self) -> KeySet:
        """Returns the keys. Raises ProviderUnavailable."""
        metadata = await self.get_metadata()
        async with self._keys_lock:
            cached = self._keys
            if cached is not None and self._is_younger(cached, KEYS_ARE_FRESH_FOR):
                return cached.value
            try:
                return await self._fetch_keys(metadata)
            except ProviderUnavailable:
                if cached is not None and self._is_younger(cached, KEYS_ARE_KEPT_FOR):
                    return cached.value
                raise

    async def find_newer_keys(self) -> KeySet | None:
        """Returns the keys, fetched again because a token fits none of the cached ones.

        Returns None if they were fetched within the last minute: tokens of an attacker must not
        cause a request each.
        """
        metadata = await self.get_metadata()
        async with self._keys_lock:
            if self._keys is not None and self._is_younger(self._keys, MIN_KEYS_AGE):
                return None
            return await self._fetch_keys(metadata)

    async def _fetch_keys(self, metadata: Metadata) -> KeySet:
        keys = read_keys(await self._fetch(metadata.jwks_uri))
        self._keys = _Cached(keys, self._now())
        return keys

    def _is_younger(self, cached: _Cached[Any], age: timedelta) -> bool:
        return self._now() - cached.fetched_at < age
