"""The identity providers of the settings, and their clients."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from db.errors import NotFound
from db.providers.provider import Provider

if TYPE_CHECKING:
    from db.providers.client import ProviderClient


class Providers:
    """The providers in the order of their buttons. Without any, no client is imported."""

    def __init__(self, providers: Sequence[Provider], now: Callable[[], datetime]) -> None:
        self.all = tuple(providers)
        self._by_name = {provider.name: provider for provider in providers}
        self._now = now
        # Called with the name of the provider, the outcome and the seconds of each callback.
        self.observe: Callable[[str, str, float], None] = lambda name, outcome, seconds: None
        self._clients: dict[str, ProviderClient] = {}

    def get(self, name: str) -> Provider:
        """Raises NotFound."""
        if name not in self._by_name:
            raise NotFound
        return self._by_name[name]

    def find(self, name: str) -> Provider | None:
        return self._by_name.get(name)

    def accepts(self, name: str, issuer: str) -> bool:
        """Returns whether a stored identity can log in: its provider still has this issuer."""
        provider = self._by_name.get(name)
        return provider is not None and provider.has_issuer(issuer)

    async def get_client(self, name: str) -> "ProviderClient":
        """Returns the client of a provider, which keeps its cache. Raises NotFound.

        The first call imports it in a thread, since that takes 92 ms.
        """
        provider = self.get(name)
        module = await asyncio.to_thread(import_module, "db.providers.client")
        if name not in self._clients:
            self._clients[name] = module.ProviderClient(provider, self._now)
        return self._clients[name]
