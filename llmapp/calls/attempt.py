"""What the executor knows of one attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llmapp.backends.base import ModelRequest, Secret
from llmapp.core.errors import ErrorFacts, Failure
from llmapp.core.estimate import CHARS_PER_TOKEN
from llmapp.core.stream import Accumulator, Delta, Head, ReasoningDelta, TextDelta, ToolCallDelta, UsageDelta
from llmapp.core.usage import cost_of

from .base import AttemptResult, ModelSpec


class Attempt:
    """One request to one model with one key. `clock` gives seconds."""

    def __init__(
        self, number: int, model: ModelSpec, secret: Secret, request: ModelRequest, clock: Callable[[], float]
    ) -> None:
        self.number = number
        self.model = model
        self.secret = secret
        self.request = request
        self.received = Accumulator()
        #: Whether a tool call had begun.
        self.calling = False
        self.headers: Mapping[str, str] = {}
        self.failure: Failure | None = None
        self.status: int | None = None
        self.action = ""
        self.waited: float | None = None
        self.clock = clock
        self._started = clock()
        #: When anything of the answer came last. A provider's pings are none of it.
        self.heard_at = self._started
        self._characters = 0
        self._first_token: float | None = None

    def note(self, delta: Delta) -> bool:
        """Take what came, and say whether it is a sign of life: part of the answer, not what is said about it."""
        self.received.feed(delta)
        self.heard_at = self.clock()
        match delta:
            case Head(status, headers):
                self.status, self.headers = status, headers
                return False
            case UsageDelta():
                return False
            case ToolCallDelta(arguments=text):
                self.calling = True
                self._characters += len(text)
            case TextDelta(text) | ReasoningDelta(text):
                self._characters += len(text)
        if self._first_token is None:
            self._first_token = self.heard_at - self._started
        return True

    def fail(self, failure: Failure, facts: ErrorFacts) -> None:
        self.failure = failure
        self.status = facts.status or self.status
        self.headers = self.headers or facts.headers

    @property
    def any_token(self) -> bool:
        """Whether anything of the answer came, reasoning included."""
        return self._first_token is not None

    @property
    def age(self) -> float:
        """Seconds since it was sent."""
        return self.clock() - self._started

    @property
    def tokens(self) -> int:
        """How many tokens have come, as far as can be told before the provider says it."""
        return self.received.usage.output_tokens or round(self._characters / CHARS_PER_TOKEN)

    def silence(self, end: float) -> str:
        """Return which timeout it was. `end` is when the attempt had to be over at the latest."""
        if self.clock() >= end:
            return "the answer took too long as a whole"
        return "the answer stalled" if self.any_token else "no first token came in time"

    def result(self) -> AttemptResult:
        reply = self.received.reply
        # What the provider itself says that it takes is truer than our price list.
        cost = cost_of(reply.usage, self.model.prices) if reply.stated_cost is None else reply.stated_cost
        return AttemptResult(
            failure=self.failure,
            status=self.status,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            cost=cost,
            # An answer in one piece has none: it would pass for a very late one.
            first_token=self._first_token if self.request.streaming else None,
            duration=self.clock() - self._started,
            action=self.action,
            waited=self.waited,
        )
