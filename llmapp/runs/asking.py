"""One question to one model with one key, outside of any run: through the executor, with one attempt.

So that a test meets the same timeouts, the same reading and the same classification as a run does. Nothing is
written to the ledger, and the client is its own: a test wants a new connection, and its own event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from llmapp.backends import backend_class
from llmapp.backends.base import Backend, Endpoint, ModelRequest, Secret
from llmapp.calls.base import AttemptResult, Benched, Call, ModelSpec, NoBook, Notice, Ports
from llmapp.calls.executor import run_call
from llmapp.conf import app_settings
from llmapp.core.errors import BackendError, CallFailed, ErrorFacts, ErrorKind, Failure
from llmapp.core.learned import Learned
from llmapp.core.messages import ChatMessage
from llmapp.core.stream import Delta, Head, Reply, UsageDelta


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole reply, or how it failed and what the provider said. `first_token` is seconds, None if none came.

    `result` is what the ledger would have been told; None where nothing was sent.
    """

    reply: Reply | None = None
    failure: Failure | None = None
    facts: ErrorFacts | None = None
    first_token: float | None = None
    result: AttemptResult | None = None


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
        call = Call(models=(model,), messages=messages, settings=settings or {}, tools=tools)
        return await self._ask(call, _Watch(self._secret, self._deadline, self._backend_for, on_first_token))

    async def repeat(
        self, model: ModelSpec, request: ModelRequest, *, on_first_token: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Send this very request, but for its key, once more: nothing that was learned since changes it."""
        as_then = replace(model, context_window=None, learned=Learned(), tokens_per_minute=None)
        as_then = replace(as_then, streaming="always" if request.streaming else "never")
        call = Call(models=(as_then,), messages=request.messages, settings=request.settings, tools=request.tools)
        watch = _Watch(self._secret, self._deadline, self._backend_for, on_first_token, request)
        return await self._ask(call, watch)

    async def _ask(self, call: Call, watch: _Watch) -> Outcome:
        ports = Ports(
            budget=watch, sink=watch, ledger=watch, keys=watch.keys, backends=watch, health=NoBook(), notebook=NoBook()
        )
        try:
            return Outcome(reply=await run_call(call, ports), first_token=watch.first_token, result=watch.result)
        except CallFailed as error:
            return Outcome(None, error.failure, watch.facts, watch.first_token, watch.result)

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
        #: What is sent in the place of what it is given, with the key of that.
        self.exact: ModelRequest | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        if self.exact is not None:
            request = replace(self.exact, secret=request.secret)
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
        exact: ModelRequest | None = None,
    ) -> None:
        self.first_token: float | None = None
        self.result: AttemptResult | None = None
        self.keys = OneKey(secret)
        self._exact = exact
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

    def count(self, kind: ErrorKind) -> int:
        return 1

    # -- the sink

    def delta(self, delta: Delta) -> None:
        if self.first_token is None and not isinstance(delta, Head | UsageDelta):
            self.first_token = self._clock() - self._began
            self._on_first_token()

    def notice(self, notice: Notice) -> None: ...

    async def withdraw(self) -> None: ...

    # -- the ledger

    async def call_started(self, call: Call) -> int:
        return 0

    async def call_ended(self, call_id: int, failure: Failure | None) -> None: ...

    async def attempt_started(
        self, call_id: int, number: int, model: ModelSpec, secret: Secret, request: ModelRequest
    ) -> int:
        return 0

    async def attempt_ended(self, attempt_id: int, result: AttemptResult) -> None:
        self.result = result

    # -- backends

    def get(self, endpoint: Endpoint) -> Backend:
        self._asked = self._backend_for(endpoint)
        self._asked.facts, self._asked.exact = None, self._exact
        return self._asked


class OneKey:
    """A pool of one key, which is never benched: whether it works is the question."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def pick(self, model: ModelSpec, avoid: frozenset[int]) -> Secret | Benched:
        is_left = self._secret.id is None or self._secret.id not in avoid
        return self._secret if is_left else Benched(ErrorKind.AUTH, None)

    async def report(
        self, model: ModelSpec, secret: Secret, failure: Failure | None, headers: Mapping[str, str]
    ) -> None: ...
