"""Ports in memory: everything that a call needs from outside, for tests that look at it afterwards."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from llmapp.backends.base import Secret
from llmapp.calls.base import AttemptResult, BackendPool, Call, ModelSpec, Notice, Ports
from llmapp.core.errors import Failure
from llmapp.core.stream import Delta, ReasoningDelta, TextDelta


class MemoryBudget:
    def __init__(self, attempts: int = 12, seconds: float = 60.0) -> None:
        self.attempts = attempts
        self.taken = 0
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        return self._end - time.monotonic()

    def take_attempt(self) -> int | None:
        if self.taken >= self.attempts:
            return None
        self.taken += 1
        return self.taken


@dataclass
class MemorySink:
    """What a person would have seen."""

    deltas: list[Delta] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    withdrawn: int = 0

    def delta(self, delta: Delta) -> None:
        self.deltas.append(delta)

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    def withdraw(self) -> None:
        self.withdrawn += 1

    @property
    def text(self) -> str:
        return "".join(d.text for d in self.deltas if isinstance(d, TextDelta))

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

    async def attempt_started(self, call_id: int, number: int, model: ModelSpec, secret: Secret) -> int:
        self.attempts[number] = (model, secret)
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

    async def pick(self, model: ModelSpec, avoid: frozenset[int]) -> Secret | None:
        if not self.secrets:
            return Secret(id=None)
        return next((secret for secret in self.secrets if secret.id not in avoid), None)

    async def report(self, secret: Secret, failure: Failure | None) -> None:
        self.reports.append((secret.id, failure))


class Harness:
    """Ports in memory around real backends."""

    def __init__(self, backends: BackendPool, *keys: str, slow: float = 0.0, **budget: Any) -> None:
        self.budget = MemoryBudget(**budget)
        self.sink = MemorySink()
        self.ledger = MemoryLedger(slow)
        self.keys = MemoryKeys(*keys)
        self.ports = Ports(budget=self.budget, sink=self.sink, ledger=self.ledger, keys=self.keys, backends=backends)
