"""Ways to a model: one file each, chosen by an alias in a provider's settings.

Importing this package imports none of them: litellm alone takes two seconds and 160 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from importlib import import_module

from .base import Backend, Endpoint

#: Alias -> dotted path. A site adds its own, and may replace ours.
BACKENDS: dict[str, str] = {
    "openai_compatible": "llmapp.backends.openai_compatible.OpenAICompatible",
    "litellm": "llmapp.backends.litellm.LiteLLM",
    "scripted": "llmapp.backends.scripted.Scripted",
}


class UnknownBackend(LookupError):
    """No backend has this name."""


def backend_class(alias: str, more: Mapping[str, str] | None = None) -> type[Backend]:
    """Import and return the backend with this alias. Raises `UnknownBackend`, or what the import raises."""
    path = {**BACKENDS, **(more or {})}.get(alias)
    if path is None:
        raise UnknownBackend(alias)
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise UnknownBackend(f"{path} is no Backend")
    return found


class Clients:
    """The one client that this process has for each endpoint, made at its first use on the loop that runs.

    When a provider's settings are saved, its endpoint gets a new version and so a new client. The old one
    is closed as soon as no attempt can be using it: after its own timeout for a whole attempt.
    """

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self._more = dict(more or {})
        self._clients: dict[tuple[int, int], Backend] = {}
        self._closing: dict[tuple[int, int], asyncio.Task[None]] = {}

    def get(self, endpoint: Endpoint) -> Backend:
        """Return the client. Raises `UnknownBackend`. Call it on the loop that will use it."""
        key = (endpoint.id, endpoint.version)
        if (client := self._clients.get(key)) is not None:
            return client
        client = self._clients[key] = backend_class(endpoint.backend, self._more)(endpoint)
        self._retire_older(endpoint.id)
        return client

    def _retire_older(self, id: int) -> None:
        versions = sorted(version for known, version in self._clients if known == id)
        for version in versions[:-1]:
            key = (id, version)
            if key not in self._closing:
                self._closing[key] = asyncio.get_running_loop().create_task(self._retire(key))

    async def _retire(self, key: tuple[int, int]) -> None:
        client = self._clients[key]
        await asyncio.sleep(client.endpoint.timeouts.total)
        del self._clients[key]
        del self._closing[key]
        await client.aclose()

    async def aclose(self) -> None:
        """Close all of them."""
        for task in self._closing.values():
            task.cancel()
        clients = list(self._clients.values())
        self._clients.clear()
        self._closing.clear()
        for client in clients:
            with contextlib.suppress(Exception):
                await client.aclose()
