"""What the executor knows: of one attempt, and of the call so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from llmapp.backends.base import ModelRequest, Secret
from llmapp.core.errors import ErrorKind, Failure
from llmapp.core.recovery import PASSING, RecoveryState
from llmapp.core.stream import Accumulator
from llmapp.core.usage import cost_of

from .base import AttemptResult, Call, KeyPool, ModelSpec


class Attempt:
    """One request to one model with one key. `clock` gives seconds."""

    def __init__(self, number: int, model: ModelSpec, secret: Secret, clock: Callable[[], float]) -> None:
        self.number = number
        self.model = model
        self.secret = secret
        self.received = Accumulator()
        self.failure: Failure | None = None
        self.status: int | None = None
        self.action = ""
        self._clock = clock
        self._started = clock()
        self._first_token: float | None = None

    @property
    def shown(self) -> bool:
        """Whether anything at all went to the sink, reasoning included."""
        return self._first_token is not None

    def note_token(self) -> None:
        if self._first_token is None:
            self._first_token = self._clock() - self._started

    def silence(self, end: float) -> str:
        """Return which timeout it was. `end` is when the attempt had to be over at the latest."""
        if self._clock() >= end:
            return "the answer took too long as a whole"
        return "the answer stalled" if self.shown else "no first token came in time"

    def result(self) -> AttemptResult:
        reply = self.received.reply
        return AttemptResult(
            failure=self.failure,
            status=self.status,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            cost=cost_of(reply.usage, self.model.prices),
            first_token=self._first_token,
            duration=self._clock() - self._started,
            action=self.action,
        )


class Progress:
    """Which model and key are next, and what the call has been through."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._position = 0
        self.secret: Secret | None = None
        self._spare: Secret | None = None
        self.avoid: frozenset[int] = frozenset()
        self._seen = RecoveryState(
            attempts_left=0,
            time_left=0,
            in_a_row=0,
            switch_after=call.switch_after,
            timeout_limit=call.timeout_limit,
            violation_limit=call.violation_limit,
        )
        self.streaming = self.model.streaming != "never"

    @property
    def model(self) -> ModelSpec:
        return self._call.models[self._position]

    @property
    def next_model(self) -> ModelSpec | None:
        following = self._call.models[self._position + 1 :]
        return following[0] if following else None

    def request(self, attempt: Attempt) -> ModelRequest:
        return ModelRequest(
            model=attempt.model.model,
            messages=self._call.messages,
            secret=attempt.secret,
            settings=self._call.settings,
            max_output_tokens=attempt.model.max_output_tokens,
            system_role=attempt.model.system_role,
            streaming=self.streaming,
            tools=self._call.tools,
        )

    async def look_for_spare(self, keys: KeyPool) -> None:
        """Find out whether there is another key than the one that just failed."""
        self._spare = None
        if self.secret is not None and self.secret.id is not None:
            self._spare = await keys.pick(self.model, self.avoid | {self.secret.id})

    def rotate(self) -> None:
        if self.secret is not None and self.secret.id is not None:
            self.avoid |= {self.secret.id}
        self.secret = self._spare

    def switch(self) -> None:
        self._position += 1
        self.secret = None
        self.streaming = self.model.streaming != "never"
        self._seen = replace(self._seen, in_a_row=0, cuts=0)

    def count(self, failure: Failure, attempt: Attempt | None) -> None:
        """Write a failure down. Time-outs and refusals are never forgotten, the rest with the model."""
        seen, kind = self._seen, failure.kind
        cut = kind is ErrorKind.STREAM_INTERRUPTED and attempt is not None
        self._seen = replace(
            seen,
            in_a_row=seen.in_a_row + 1 if kind in PASSING else 0,
            cuts=seen.cuts + cut,
            timeouts=seen.timeouts + (kind is ErrorKind.TIMEOUT),
            violations=seen.violations + (kind is ErrorKind.CONTENT_POLICY),
        )

    def state(self, *, attempts_left: int, time_left: float, chance: float, text_shown: bool) -> RecoveryState:
        return replace(
            self._seen,
            attempts_left=attempts_left,
            time_left=time_left,
            chance=chance,
            text_shown=text_shown,
            other_keys=self._spare is not None,
            other_models=self.next_model is not None,
            streaming=self.streaming,
            may_disable_streaming=self.model.streaming == "auto",
        )
