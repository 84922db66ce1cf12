"""What a call needs from outside. `runs` implements these, plain tests hand in their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from llmapp.backends.base import Backend, Endpoint, Secret
from llmapp.core.errors import Failure
from llmapp.core.messages import ChatMessage
from llmapp.core.stream import Delta, FinishReason
from llmapp.core.usage import Prices, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model of a provider, as a call sees it."""

    id: int
    name: str
    model: str
    endpoint: Endpoint
    context_window: int | None = None
    max_output_tokens: int | None = None
    prices: Prices = field(default_factory=Prices)
    streaming: str = "auto"
    system_role: str = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a turn asks of a model: `models` are the agent's own, then its fallbacks, in order."""

    models: tuple[ModelSpec, ...]
    messages: tuple[ChatMessage, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] = ()
    #: Seconds: who has to wait longer asks the next model, if there is one.
    switch_after: float = 20.0
    #: How many attempts may time out, and how many may be refused by policy, before the call ends.
    timeout_limit: int = 3
    violation_limit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How an attempt ended, for the ledger. Times are seconds since its start."""

    failure: Failure | None
    status: int | None = None
    finish_reason: FinishReason | None = None
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = None
    first_token: float | None = None
    duration: float = 0.0
    action: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The live status line: what is being done about a failure, and for how long (seconds)."""

    kind: str
    action: str
    model: str = ""
    seconds: float | None = None
    attempt: int = 0


class Budget(Protocol):
    """What is left of the run. One budget over every layer: nothing resets it."""

    def remaining(self) -> float:
        """Seconds until the run's timeout; zero or less when it is over."""

    def take_attempt(self) -> int | None:
        """Use up one attempt and return its number in the run, from 1; None when none is left."""


class Sink(Protocol):
    """Where a call's deltas go. Never blocks."""

    def delta(self, delta: Delta) -> None: ...

    def notice(self, notice: Notice) -> None: ...

    def withdraw(self) -> None:
        """Take back the text of this call that was already shown: it is abandoned, not continued."""


class Ledger(Protocol):
    """Writes down calls and attempts. Each that is opened is closed."""

    async def call_started(self, call: Call) -> int: ...

    async def call_ended(self, call_id: int, failure: Failure | None) -> None: ...

    async def attempt_started(self, call_id: int, number: int, model: ModelSpec, secret: Secret) -> int: ...

    async def attempt_ended(self, attempt_id: int, result: AttemptResult) -> None: ...


class KeyPool(Protocol):
    async def pick(self, model: ModelSpec, avoid: frozenset[int]) -> Secret | None:
        """Return a usable key of the model's provider, or None when all are to be avoided.

        A provider without any credential gets a `Secret` with an id of None and no key.
        """

    async def report(self, secret: Secret, failure: Failure | None) -> None: ...


class BackendPool(Protocol):
    def get(self, endpoint: Endpoint) -> Backend:
        """Return this process's one client for the endpoint, made at the first use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything that a call needs from outside."""

    budget: Budget
    sink: Sink
    ledger: Ledger
    keys: KeyPool
    backends: BackendPool
