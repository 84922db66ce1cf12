"""What a call needs from outside. `runs` implements these, plain tests hand in their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from llmapp.backends.base import Backend, Endpoint, ModelRequest, Secret
from llmapp.core.errors import ErrorKind, Failure
from llmapp.core.health import ModelHealth, Observation
from llmapp.core.learned import Learned
from llmapp.core.messages import ChatMessage
from llmapp.core.stream import Delta, FinishReason
from llmapp.core.usage import Prices, Usage

if TYPE_CHECKING:
    from .attempt import Attempt


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
    learned: Learned = field(default_factory=Learned)
    #: What the provider allows.
    tokens_per_minute: int | None = None
    #: Whether somebody set the timeout of the first token by hand: then it always wins.
    first_token_is_set: bool = False

    @property
    def window(self) -> int | None:
        """The context window in tokens: the smaller one of what is configured and what was learned."""
        known = [limit for limit in (self.context_window, self.learned.window) if limit]
        return min(known) if known else None


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands for the beginning of a conversation in a request. The messages themselves are kept.

    `covers` counts the messages that it stands for, from the conversation's first (instructions do not count).
    `upto` is the `ref` of the last one of them.
    """

    text: str
    covers: int
    upto: str


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
    #: Who summarises; the model itself where nobody is named.
    summary_model: ModelSpec | None = None


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
    #: What is done about the failure, and how many seconds are waited for it.
    action: str = ""
    waited: float | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """The live status line: what is being done about what, and for how long (seconds).

    `kind` is why: the kind of a failure, "" for what was foreseen or needs no reason. `count` says of how many:
    messages that were summarised.
    """

    kind: str
    action: str
    model: str = ""
    seconds: float | None = None
    attempt: int = 0
    count: int | None = None


class Budget(Protocol):
    """What is left of the run. One budget over every layer: nothing resets it."""

    def remaining(self) -> float:
        """Seconds until the run's timeout; zero or less when it is over."""

    def take_attempt(self) -> int | None:
        """Use up one attempt and return its number in the run, from 1; None when none is left."""

    def count(self, kind: ErrorKind) -> int:
        """Count one more attempt of this run that failed so, and return how many there were, over all calls."""


class Sink(Protocol):
    """Where a call's deltas go. Never blocks."""

    def delta(self, delta: Delta) -> None: ...

    def notice(self, notice: Notice) -> None: ...

    async def withdraw(self) -> None:
        """Take back the text of this call that was already shown: it is abandoned, not continued."""


class Ledger(Protocol):
    """Writes down calls and attempts. Each that is opened is closed."""

    async def call_started(self, call: Call) -> int: ...

    async def call_ended(self, call_id: int, failure: Failure | None) -> None: ...

    async def attempt_started(
        self, call_id: int, number: int, model: ModelSpec, secret: Secret, request: ModelRequest
    ) -> int: ...

    async def attempt_ended(self, attempt_id: int, result: AttemptResult) -> None: ...


@dataclass(frozen=True, slots=True)
class Benched:
    """No key can be used now: the first one comes back in so many seconds, None when none does. `kind` is why."""

    kind: ErrorKind
    seconds: float | None


class KeyPool(Protocol):
    """The keys of all providers, shared by all workers."""

    async def pick(self, model: ModelSpec, avoid: frozenset[int]) -> Secret | Benched:
        """Return a usable key of the model's provider, by the provider's strategy; none of those to `avoid`.

        A provider without any credential gets a `Secret` with an id of None and no key.
        """

    async def report(
        self, model: ModelSpec, secret: Secret, failure: Failure | None, headers: Mapping[str, str]
    ) -> None:
        """Say how an attempt with this key ended, and what the head of the answer said about its limits."""


class HealthBook(Protocol):
    """How models have done lately, over all workers."""

    async def read(self, models: Sequence[ModelSpec], input_tokens: int | None = None) -> Mapping[int, ModelHealth]:
        """Return what is known, by the id of the model. Cheap: it may be a second old.

        `input_tokens` are those of the prompt, if they are known: the time to a first token depends on them.
        """

    async def admit(self, model: ModelSpec) -> bool:
        """Say whether the model may be asked. While its breaker is half open, one call gets a yes."""

    async def report(self, model: ModelSpec, observation: Observation) -> None:
        """Write down how an attempt ended."""


class Notebook(Protocol):
    """What is kept for later calls."""

    async def learn(self, model: ModelSpec, lesson: Learned) -> None:
        """Keep what a provider said about its model, with what is known already."""

    async def summary(self, refs: Sequence[str]) -> Summary | None:
        """Return the newest summary of the beginning of a conversation, whose messages are `refs`, in order."""

    async def keep_summary(self, summary: Summary) -> None:
        """Keep the summary of the beginning of this conversation."""


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
    health: HealthBook
    notebook: Notebook
    #: The attempts whose answer is being read now, for whoever wants to look at them.
    streams: set[Attempt] = field(default_factory=set)


class NoBook:
    """A health book and a notebook that know nothing and keep nothing: for a question outside of any run."""

    async def read(self, models: Sequence[ModelSpec], input_tokens: int | None = None) -> Mapping[int, ModelHealth]:
        return {}

    async def admit(self, model: ModelSpec) -> bool:
        return True

    async def report(self, model: ModelSpec, observation: Observation) -> None: ...

    async def learn(self, model: ModelSpec, lesson: Learned) -> None: ...

    async def summary(self, refs: Sequence[str]) -> Summary | None:
        return None

    async def keep_summary(self, summary: Summary) -> None: ...
