"""The identity providers of the settings, and the clients of these and of organizations."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from db.providers.provider import Provider

if TYPE_CHECKING:
    from db.providers.client import ProviderClient, ProviderDocuments


class Providers:
    """The providers in the order of their buttons. Without any, no client is imported."""

    def __init__(self, providers: Sequence[Provider], now: Callable[[], datetime]) -> None:
        self.all = tuple(providers)
        self._by_name = {provider.name: provider for provider in providers}
        self._now = now
        # Called with the name of the provider, the outcome and the seconds of each callback.
        self.observe: Callable[[str, str, float], None] = lambda name, outcome, seconds: None
        self._clients: dict[str, ProviderClient] = {}
        self._kept: dict[str, tuple[object, Provider]] = {}

    def find(self, name: str) -> Provider | None:
        """Returns the provider of the settings with this name."""
        return self._by_name.get(name)

    def find_by_issuer(self, issuer: str) -> Provider | None:
        """Returns the provider of the settings that has this issuer alone."""
        return next((provider for provider in self.all if provider.issuer == issuer), None)

    def keep(self, source: object, provider: Provider) -> Provider:
        """Returns the provider of an organization that was kept before if it had the same source,
        otherwise keeps this one.

        `source` has everything that the provider was made from. The client, whose cache is worth
        keeping, belongs to one object.
        """
        kept = self._kept.get(provider.name)
        if kept is not None and kept[0] == source:
            return kept[1]
        self._kept[provider.name] = source, provider
        return provider

    async def get_client(self, provider: Provider) -> "ProviderClient":
        """Returns the client of a provider, which keeps its cache.

        The first call imports it in a thread, since that takes 92 ms.
        """
        module = await asyncio.to_thread(import_module, "db.providers.client")
        client = self._clients.get(provider.name)
        if client is None or client.provider is not provider:
            client = module.ProviderClient(provider, self._now)
            self._clients[provider.name] = client
        return client

    async def check(self, provider: Provider) -> "ProviderDocuments":
        """Returns what a provider publishes, without the cache of its client.

        Raises ProviderUnavailable.
        """
        module = await asyncio.to_thread(import_module, "db.providers.client")
        client: ProviderClient = module.ProviderClient(provider, self._now)
        return await client.read_documents()
