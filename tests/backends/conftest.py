"""A provider on loopback, and both HTTP backends in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from llmapp.backends import Clients
from llmapp.backends.base import Endpoint, ModelRequest, Secret
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Accumulator, Delta
from tests.support.provider import Provider

KEY = "sk-canary-0123456789"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    pool = Clients()
    yield pool
    await pool.aclose()


@pytest.fixture(params=["openai_compatible", "litellm"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Asker:
    """Asks the provider through one backend."""

    def __init__(self, clients: Clients, provider: Provider, backend: str) -> None:
        self.clients = clients
        self.endpoint = Endpoint(id=1, version=1, name="loopback", backend=backend, base_url=provider.url)
        self.prefix = "openai/" if backend == "litellm" else ""

    def request(self, model: str = "m", text: str = "hi", key: str = KEY, **more: Any) -> ModelRequest:
        messages = more.pop("messages", (ChatMessage(Role.USER, text),))
        return ModelRequest(model=self.prefix + model, messages=messages, secret=Secret(id=1, api_key=key), **more)

    async def deltas(self, request: ModelRequest, into: list[Delta] | None = None) -> list[Delta]:
        """Return all deltas; those before an error are in `into`."""
        deltas = [] if into is None else into
        async with aclosing(self.clients.get(self.endpoint).stream(request)) as stream:
            async for delta in stream:
                deltas.append(delta)
        return deltas

    async def ask(self, model: str = "m", text: str = "hi", **more: Any) -> Accumulator:
        received = Accumulator()
        for delta in await self.deltas(self.request(model, text, **more)):
            received.feed(delta)
        return received


@pytest.fixture
def asker(clients: Clients, provider: Provider, backend: str) -> Asker:
    return Asker(clients, provider, backend)


@pytest.fixture
def ours(clients: Clients, provider: Provider) -> Asker:
    return Asker(clients, provider, "openai_compatible")
