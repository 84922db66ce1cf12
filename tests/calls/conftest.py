"""A provider on loopback and calls against it, through each HTTP backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from llmapp.backends import Clients
from llmapp.backends.base import Endpoint
from llmapp.calls.base import Benched, Call, ModelSpec
from llmapp.calls.executor import run_call
from llmapp.core.errors import CallFailed, Failure
from llmapp.core.health import ModelHealth
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Reply
from llmapp.core.timeouts import Timeouts
from tests.support.memory import Harness
from tests.support.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    pool = Clients({"rude": "tests.calls.test_executor.Rude"})
    yield pool
    await pool.aclose()


@pytest.fixture(params=["openai_compatible", "litellm"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Caller:
    """Makes calls of models of one provider, and keeps what the last one left behind."""

    def __init__(self, clients: Clients, url: str, backend: str) -> None:
        self.clients = clients
        self.url = url
        self.backend = backend
        self.timeouts = Timeouts(first_token=20, idle=10, total=40)
        self.harness: Harness
        #: What the health book says, and the pool: one after the other, None for a key.
        self.health: dict[int, ModelHealth] = {}
        self.admits = True
        self.benched: list[Benched | None] = []

    def model(self, name: str, **more: Any) -> ModelSpec:
        endpoint = Endpoint(
            id=1,
            version=hash(self.timeouts) % 1000 + 1,
            name="loopback",
            backend=more.pop("backend", self.backend),
            base_url=self.url,
            timeouts=self.timeouts,
            options=more.pop("options", {}),
        )
        prefix = "openai/" if self.backend == "litellm" else ""
        return ModelSpec(id=1, name=name, model=prefix + name, endpoint=endpoint, **more)

    async def call(self, *models: str | ModelSpec, keys: tuple[str, ...] = ("sk-one-key",), **more: Any) -> Reply:
        """Call the models and return the reply. Keywords of a call go to it, the others to the budget."""
        of_call = {
            name: more.pop(name)
            for name in ("switch_after", "timeout_limit", "violation_limit", "settings", "tools", "messages")
            if name in more
        }
        of_call.setdefault("messages", (ChatMessage(Role.USER, "hi"),))
        specs = tuple(self.model(m) if isinstance(m, str) else m for m in models or ("m",))
        self.harness = Harness(self.clients, *keys, **more)
        self.harness.book.health, self.harness.book.admits = self.health, self.admits
        self.harness.keys.benched = list(self.benched)
        call = Call(models=specs, **of_call)
        return await run_call(call, self.harness.ports)

    async def failure(self, *models: str | ModelSpec, **more: Any) -> Failure:
        """Call the models and return the failure."""
        with pytest.raises(CallFailed) as caught:
            await self.call(*models, **more)
        return caught.value.failure

    async def warm(self) -> None:
        """Have everything imported, so that times mean something."""
        await self.call("m")


@pytest.fixture
def caller(clients: Clients, provider: Provider, backend: str) -> Caller:
    return Caller(clients, provider.url, backend)


@pytest.fixture
def ours(clients: Clients, provider: Provider) -> Caller:
    return Caller(clients, provider.url, "openai_compatible")


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off for no time at all."""
    monkeypatch.setattr("llmapp.calls.executor.random.random", lambda: 0.0)


async def until(happened: Callable[[], object]) -> None:
    """Wait until something has happened, for two seconds at most."""
    for _ in range(200):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never happened")


async def settled() -> None:
    """Let what goes on in the background come to its end."""
    for _ in range(20):
        await asyncio.sleep(0.005)
