"""One question to one model with one key, outside of any run: through the executor, with one attempt.

So that a test meets the same timeouts, the same reading and the same classification as a run does. Nothing is
written to the ledger, and the client is its own: a test wants a new connection, and its own event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from llmapp.backends import backend_class
from llmapp.backends.base import Backend, Endpoint, ModelRequest, Secret
from llmapp.calls.base import AttemptResult, Call, ModelSpec, Notice, Ports
from llmapp.calls.executor import run_call
from llmapp.conf import app_settings
from llmapp.core.errors import BackendError, CallFailed, ErrorFacts, Failure
from llmapp.core.messages import ChatMessage
from llmapp.core.stream import Delta, Reply, UsageDelta


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole reply, or how it failed and what the provider said. `first_token` is seconds, None if none came."""

    reply: Reply | None = None
    failure: Failure | None = None
    facts: ErrorFacts | None = None
    first_token: float | None = None


class Asker:
    """Asks with one key. Use it as an async context manager: it closes what it opened."""

    def __init__(self, secret: Secret, deadline: float) -> None:
        self._secret = secret
        self._deadline = deadline
        self._backends: list[Listening] = []

    async def __aenter__(self) -> Asker:
        return self

    async def __aexit__(self, *_: object) -> None:
        for backend in self._backends:
            with contextlib.suppress(Exception):
                await backend.aclose()

    async def ask(
        self,
        model: ModelSpec,
        messages: tuple[ChatMessage, ...],
        *,
        settings: Mapping[str, Any] | None = None,
        tools: tuple[Mapping[str, Any], ...] = (),
        on_first_token: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Ask once. What goes wrong is in the outcome; only cancellation passes through."""
        watch = _Watch(self._secret, self._deadline, self._backend_for, on_first_token)
        call = Call(models=(model,), messages=messages, settings=settings or {}, tools=tools)
        ports = Ports(budget=watch, sink=watch, ledger=watch, keys=watch, backends=watch)
        try:
            return Outcome(reply=await run_call(call, ports), first_token=watch.first_token)
        except CallFailed as error:
            return Outcome(failure=error.failure, facts=watch.facts, first_token=watch.first_token)

    def _backend_for(self, endpoint: Endpoint) -> Listening:
        known = next((backend for backend in self._backends if backend.endpoint == endpoint), None)
        if known is None:
            known = Listening(backend_class(endpoint.backend, app_settings.BACKENDS)(endpoint))
            self._backends.append(known)
        return known


class Listening(Backend):
    """A backend that remembers what it was told when it failed: the executor keeps only the judgement."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner.endpoint)
        self._inner = inner
        self.facts: ErrorFacts | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        try:
            async with aclosing(self._inner.stream(request)) as deltas:
                async for delta in deltas:
                    yield delta
        except BackendError as error:
            self.facts = error.facts
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Watch:
    """All that a call needs from outside: one attempt, one key, nobody who reads, nothing that is kept."""

    def __init__(
        self,
        secret: Secret,
        deadline: float,
        backend_for: Callable[[Endpoint], Listening],
        on_first_token: Callable[[], None],
    ) -> None:
        self.first_token: float | None = None
        self._secret = secret
        self._deadline = deadline
        self._backend_for = backend_for
        self._on_first_token = on_first_token
        self._used = False
        self._asked: Listening | None = None
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    @property
    def facts(self) -> ErrorFacts | None:
        return self._asked.facts if self._asked is not None else None

    # -- the budget

    def remaining(self) -> float:
        return self._deadline - self._clock()

    def take_attempt(self) -> int | None:
        if self._used:
            return None
        self._used = True
        return 1

    # -- the sink

    def delta(self, delta: Delta) -> None:
        if self.first_token is None and not isinstance(delta, UsageDelta):
            self.first_token = self._clock() - self._began
            self._on_first_token()

    def notice(self, notice: Notice) -> None: ...

    def withdraw(self) -> None: ...

    # -- the ledger

    async def call_started(self, call: Call) -> int:
        return 0

    async def call_ended(self, call_id: int, failure: Failure | None) -> None: ...

    async def attempt_started(self, call_id: int, number: int, model: ModelSpec, secret: Secret) -> int:
        return 0

    async def attempt_ended(self, attempt_id: int, result: AttemptResult) -> None: ...

    # -- keys and backends

    async def pick(self, model: ModelSpec, avoid: frozenset[int]) -> Secret | None:
        return None if self._secret.id is not None and self._secret.id in avoid else self._secret

    async def report(self, secret: Secret, failure: Failure | None) -> None: ...

    def get(self, endpoint: Endpoint) -> Backend:
        self._asked = self._backend_for(endpoint)
        self._asked.facts = None
        return self._asked
