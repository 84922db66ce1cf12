"""Ports in memory: everything that a call needs from outside, for tests that look at it afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmapp.backends.base import ModelRequest, Secret
from llmapp.calls.base import AttemptResult, BackendPool, Benched, Call, ModelSpec, NoBook, Notice, Ports, Summary
from llmapp.core.errors import ErrorKind, Failure
from llmapp.core.health import ModelHealth, Observation
from llmapp.core.learned import Learned
from llmapp.core.stream import Delta, ReasoningDelta, TextDelta


class MemoryBudget:
    """`clock` gives seconds: the event loop's own, where a test moves it."""

    def __init__(self, attempts: int = 12, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.attempts = attempts
        self.taken = 0
        self.failures: Counter[ErrorKind] = Counter()
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        return self._end - self._clock()

    def take_attempt(self) -> int | None:
        if self.taken >= self.attempts:
            return None
        self.taken += 1
        return self.taken

    def count(self, kind: ErrorKind) -> int:
        self.failures[kind] += 1
        return self.failures[kind]


@dataclass
class MemorySink:
    """What a person would have seen: what was withdrawn is in `deltas`, and not in `text`."""

    deltas: list[Delta] = field(default_factory=list)
    kept_from: int = 0
    notices: list[Notice] = field(default_factory=list)
    withdrawn: int = 0

    def delta(self, delta: Delta) -> None:
        self.deltas.append(delta)

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    async def withdraw(self) -> None:
        self.withdrawn += 1
        self.kept_from = len(self.deltas)

    @property
    def text(self) -> str:
        return "".join(d.text for d in self.deltas[self.kept_from :] if isinstance(d, TextDelta))

    @property
    def reasoning(self) -> str:
        return "".join(d.text for d in self.deltas if isinstance(d, ReasoningDelta))

    @property
    def actions(self) -> list[str]:
        return [notice.action for notice in self.notices]


@dataclass
class MemoryLedger:
    """What would have been written. `slow` is how long the answer to each writing takes, in seconds."""

    slow: float = 0.0
    calls: dict[int, Failure | None] = field(default_factory=dict)
    attempts: dict[int, tuple[ModelSpec, Secret]] = field(default_factory=dict)
    requests: dict[int, ModelRequest] = field(default_factory=dict)
    results: dict[int, AttemptResult] = field(default_factory=dict)
    open_calls: int = 0

    async def call_started(self, call: Call) -> int:
        self.open_calls += 1
        id = self.open_calls
        await asyncio.sleep(self.slow)
        return id

    async def call_ended(self, call_id: int, failure: Failure | None) -> None:
        await asyncio.sleep(self.slow)
        self.calls[call_id] = failure

    async def attempt_started(
        self, call_id: int, number: int, model: ModelSpec, secret: Secret, request: ModelRequest
    ) -> int:
        self.attempts[number] = (model, secret)
        self.requests[number] = request
        await asyncio.sleep(self.slow)
        return number

    async def attempt_ended(self, attempt_id: int, result: AttemptResult) -> None:
        await asyncio.sleep(self.slow)
        assert attempt_id not in self.results
        self.results[attempt_id] = result


class MemoryKeys:
    """A pool of keys, used in their order."""

    def __init__(self, *keys: str) -> None:
        self.secrets = [Secret(id=number, api_key=key) for number, key in enumerate(keys, start=1)]
        self.reports: list[tuple[int | None, Failure | None]] = []
        #: What is picked, one after the other; None for a key. Then keys.
        self.benched: list[Benched | None] = []

    async def pick(self, model: ModelSpec, avoid: frozenset[int]) -> Secret | Benched:
        if self.benched and (benched := self.benched.pop(0)) is not None:
            return benched
        if not self.secrets:
            return Secret(id=None)
        free = (secret for secret in self.secrets if secret.id not in avoid)
        return next(free, Benched(ErrorKind.AUTH, None))

    async def report(
        self, model: ModelSpec, secret: Secret, failure: Failure | None, headers: Mapping[str, str]
    ) -> None:
        self.reports.append((secret.id, failure))


class MemoryBook(NoBook):
    """A health book that says what it was told to say, and a notebook that keeps what it is told."""

    def __init__(self) -> None:
        self.health: dict[int, ModelHealth] = {}
        self.admits = True
        self.observations: list[tuple[int, Observation]] = []
        self.learned: dict[int, Learned] = {}
        self.summaries: list[Summary] = []

    async def read(self, models: Sequence[ModelSpec], input_tokens: int | None = None) -> Mapping[int, ModelHealth]:
        return self.health

    async def admit(self, model: ModelSpec) -> bool:
        return self.admits

    async def report(self, model: ModelSpec, observation: Observation) -> None:
        self.observations.append((model.id, observation))

    async def learn(self, model: ModelSpec, lesson: Learned) -> None:
        self.learned[model.id] = self.learned.get(model.id, Learned()).and_also(lesson)

    async def summary(self, refs: Sequence[str]) -> Summary | None:
        return self.summaries[-1] if self.summaries else None

    async def keep_summary(self, summary: Summary) -> None:
        self.summaries.append(summary)


class Harness:
    """Ports in memory around real backends."""

    def __init__(self, backends: BackendPool, *keys: str, slow: float = 0.0, **budget: Any) -> None:
        self.budget = MemoryBudget(**budget)
        self.sink = MemorySink()
        self.ledger = MemoryLedger(slow)
        self.keys = MemoryKeys(*keys)
        self.book = MemoryBook()
        self.ports = Ports(
            budget=self.budget,
            sink=self.sink,
            ledger=self.ledger,
            keys=self.keys,
            backends=backends,
            health=self.book,
            notebook=self.book,
        )
