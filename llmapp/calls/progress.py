"""Where a call stands: which model and key are next, what its request looks like, what it has been through."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmapp.backends.base import OUTPUT_LIMITS, ModelRequest, Secret
from llmapp.core import foresight, history, output
from llmapp.core.errors import ErrorKind, Failure
from llmapp.core.estimate import estimate
from llmapp.core.health import Breaker, ModelHealth
from llmapp.core.learned import Learned
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.recovery import MAX_COMPRESSIONS, PASSING, SMALLEST_OUTPUT, RecoveryState

from .attempt import Attempt
from .base import Benched, Call, KeyPool, ModelSpec

logger = logging.getLogger("llmapp.calls")

#: How often a limit that thinking used up is raised: each time doubles what an answer may cost.
MAX_RAISES = 2


@dataclass(slots=True)
class OneModel:
    """What is known of the model that is asked now. It starts anew with the next model."""

    model: ModelSpec
    messages: tuple[ChatMessage, ...]
    settings: Mapping[str, Any]
    streaming: bool
    system_role: str
    window: int | None
    output_limit: int | None
    #: The longest answer that the model gives, as far as anybody said so.
    ceiling: int | None
    raises: int = 0
    dropped: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    repaired: bool = False
    compressible: bool = True
    compressions: int = 0
    waits: int = 0
    in_a_row: int = 0
    cuts: int = 0
    repeats: int = 0
    admitted: bool | None = None
    #: What is kept for later calls once an answer shows that it was right.
    lesson: Learned = field(default_factory=Learned)


def _without_limits(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in OUTPUT_LIMITS}


class Progress:
    """The state of one call."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._position = 0
        self.secret: Secret | None = None
        self._spare: Secret | None = None
        self.avoid: frozenset[int] = frozenset()
        self.health: Mapping[int, ModelHealth] = {}
        self.now = self._at(0)
        self.timeouts = self.violations = self.stuck = self.length_continuations = 0
        #: Whether the agent's owner says how long an answer may be.
        self._owners_limit = self.set_limit is not None
        #: The messages that were measured last, with which ratio, and how many tokens they have.
        self._measured: tuple[tuple[ChatMessage, ...], float | None, int] | None = None
        #: The failure before the next attempt, and what was done about it; for the health book.
        self.before = ("", "")

    def _at(self, position: int) -> OneModel:
        model, learned = self.call.models[position], self.call.models[position].learned
        limits = [limit for limit in (model.max_output_tokens, learned.output_limit) if limit]
        return OneModel(
            model=model,
            messages=self.call.messages,
            settings=self.call.settings,
            streaming=model.streaming != "never",
            system_role=model.system_role,
            window=model.window,
            output_limit=min(limits, default=None),
            ceiling=min(limits, default=None),
            dropped=learned.refused,
            renamed=learned.renamed,
        )

    # -- models and keys

    @property
    def model(self) -> ModelSpec:
        return self.now.model

    @property
    def health_now(self) -> ModelHealth:
        return self.health.get(self.model.id, ModelHealth())

    @property
    def next_position(self) -> int | None:
        """The next model of the chain that may be asked; one that is known to be down only when all are."""
        following = range(self._position + 1, len(self.call.models))
        up = [at for at in following if self._breaker(at) is not Breaker.OPEN]
        return next(iter(up or following), None)

    def _breaker(self, position: int) -> Breaker:
        return self.health.get(self.call.models[position].id, ModelHealth()).breaker

    @property
    def next_model(self) -> ModelSpec | None:
        position = self.next_position
        return None if position is None else self.call.models[position]

    def switch(self) -> None:
        position = self.next_position
        assert position is not None
        self._position = position
        self.secret, self.before, self.stuck = None, ("", ""), 0
        self.now = self._at(position)

    async def look_for_spare(self, keys: KeyPool) -> None:
        """Find out whether there is another key than the one that just failed."""
        self._spare = None
        if self.secret is not None and self.secret.id is not None:
            found = await keys.pick(self.model, self.avoid | {self.secret.id})
            self._spare = None if isinstance(found, Benched) else found

    def rotate(self) -> None:
        if self.secret is not None and self.secret.id is not None:
            self.avoid |= {self.secret.id}
        self.secret = self._spare

    # -- the request

    def messages(self, partial: str) -> tuple[ChatMessage, ...]:
        """Return what is sent: the conversation, and the wish to go on where text was shown already."""
        wish = output.continuation(partial) if partial else ()
        messages = history.canonical((*self.now.messages, *wish))
        if problems := history.problems(messages):
            logger.error("a history is not canonical: %s", "; ".join(problems)[:500], extra={"action": "not_canonical"})
        return history.repaired(messages) if self.now.repaired or problems else messages

    def request(self, secret: Secret, partial: str) -> ModelRequest:
        now, limit = self.now, self.fitting_output_limit(partial)
        settings = now.settings if limit == self.set_limit else _without_limits(now.settings)
        return ModelRequest(
            model=now.model.model,
            messages=self.messages(partial),
            secret=secret,
            settings=settings,
            max_output_tokens=limit,
            system_role=now.system_role,
            streaming=now.streaming,
            tools=self.call.tools,
            dropped=now.dropped,
            renamed=now.renamed,
        )

    def measure(self, messages: Sequence[ChatMessage]) -> int:
        """Return the tokens that messages take, by our estimate."""
        return estimate(messages, self.health_now.chars_per_token)

    def estimate(self, partial: str = "") -> int:
        """Return the tokens of the conversation, and of what was shown of its answer."""
        messages, ratio = self.now.messages, self.health_now.chars_per_token
        if self._measured is None or self._measured[0] is not messages or self._measured[1] != ratio:
            self._measured = messages, ratio, self.measure(messages)
        shown = self.measure((ChatMessage(Role.ASSISTANT, partial),)) if partial else 0
        return self._measured[2] + shown

    def fitting_output_limit(self, partial: str) -> int | None:
        """Return the limit that is sent: some providers refuse what would not fit into the window with the input."""
        limit, window = self.output_limit, self.now.window
        if limit is None or window is None:
            return limit
        return min(limit, max(window - self.estimate(partial) * 11 // 10, SMALLEST_OUTPUT))

    @property
    def output_limit(self) -> int | None:
        """How long the answer may be: what the agent's owner set always wins."""
        return self.now.output_limit if self.set_limit is None else self.set_limit

    def fits_with_less_output(self, window: int) -> bool:
        """Say whether it is the room for the answer that was too large for a window, and not the conversation."""
        needed, limit = self.estimate() * 5 // 4, self.output_limit
        return limit is not None and needed + limit > window >= needed + SMALLEST_OUTPUT

    @property
    def set_limit(self) -> int | None:
        """The limit that the agent's owner set."""
        values = (value for name, value in self.now.settings.items() if name in OUTPUT_LIMITS)
        return next((value for value in values if isinstance(value, int)), None)

    def raise_output(self, tokens: int) -> None:
        self.now.raises += 1
        self._limit_output(tokens)

    def lower_output(self, tokens: int, stated: int | None) -> None:
        """Ask for no more than so many. What the provider stated is not gone beyond again."""
        if stated is not None:
            self.now.ceiling = min(stated, self.now.ceiling or stated)
        self._limit_output(tokens)

    def _limit_output(self, tokens: int) -> None:
        self.now.settings = _without_limits(self.now.settings)
        self.now.output_limit = tokens

    def rename(self, old: str, new: str) -> None:
        self.now.renamed = {**self.now.renamed, old: new}
        self.now.lesson = self.now.lesson.and_also(Learned(renamed={old: new}))

    def drop(self, name: str, for_good: bool) -> None:
        """Leave a parameter out; `for_good`: because of its name, and not of its value or its company."""
        # The name that the provider read may be one that we gave it.
        names = frozenset({name} | {old for old, new in self.now.renamed.items() if new == name})
        self.now.dropped |= names
        if for_good:
            self.now.lesson = self.now.lesson.and_also(Learned(refused=names))

    # -- what happened

    def count(self, failure: Failure, attempt: Attempt, has_grown: bool, shown: bool) -> None:
        """Write an attempt's failure down. What counts for the whole run is counted by its budget."""
        now, kind = self.now, failure.kind
        # One that brought text was on its way: what broke it is the first of its kind.
        now.in_a_row = (0 if has_grown else now.in_a_row) + 1 if kind in PASSING else 0
        now.cuts += kind is ErrorKind.STREAM_INTERRUPTED and not shown
        now.repeats = now.repeats + 1 if kind is ErrorKind.INVALID_RESPONSE else 0
        if attempt.any_token:
            self.stuck = 0 if has_grown else self.stuck + 1

    def state(
        self, *, attempts_left: int, time_left: float, chance: float, partial: str, attempt: Attempt | None
    ) -> RecoveryState:
        now = self.now
        return RecoveryState(
            attempts_left=attempts_left,
            time_left=time_left,
            chance=chance,
            partial=partial,
            calling=attempt is not None and attempt.calling,
            stuck=self.stuck if partial else 0,
            length_continuations=self.length_continuations,
            limit_is_set=self._owners_limit,
            other_keys=self._spare is not None,
            other_models=self.next_position is not None,
            streaming=now.streaming,
            may_disable_streaming=now.model.streaming == "auto",
            dropped=now.dropped,
            renamed=frozenset((*now.renamed, *now.renamed.values())),
            has_thinking=any(message.thinking for message in now.messages),
            repaired=now.repaired,
            window=now.window,
            estimate=self.estimate(partial),
            compressible=now.compressible and now.compressions < MAX_COMPRESSIONS,
            compressions=now.compressions,
            output_limit=self.output_limit,
            larger_limit=self._larger_limit(),
            effort_can_be_lowered=output.lower_effort(now.settings) is not None,
            in_a_row=max(now.in_a_row, 1),
            cuts=now.cuts,
            repeats=max(now.repeats, 1),
            timeouts=self.timeouts,
            violations=self.violations,
            switch_after=self.call.switch_after,
            timeout_limit=self.call.timeout_limit,
            violation_limit=self.call.violation_limit,
            health=self.health_now,
        )

    def _larger_limit(self) -> int | None:
        now, limit = self.now, self.output_limit
        if limit is None or now.raises >= MAX_RAISES:
            return None  # without one it is the provider's own
        return output.larger_limit(limit, now.ceiling)

    def prospect(self, partial: str) -> foresight.Prospect:
        now = self.now
        return foresight.Prospect(
            health=self.health_now,
            admitted=now.admitted is not False,
            estimate=self.estimate(partial),
            window=now.window,
            output_limit=self.output_limit,
            compressible=now.compressible and now.compressions < MAX_COMPRESSIONS,
            first_token=now.model.endpoint.timeouts.first_token,
            streaming=now.streaming,
            tokens_per_minute=now.model.tokens_per_minute,
            waits=now.waits,
            other_models=self.next_position is not None,
        )

    def lower_window(self, tokens: int) -> None:
        self.now.window = tokens if self.now.window is None else min(self.now.window, tokens)

    def lower_effort(self) -> None:
        self.now.settings = output.lower_effort(self.now.settings) or self.now.settings

    def strip_thinking(self) -> None:
        self.now.messages = history.without_thinking(self.now.messages)

    def repair(self) -> None:
        self.now.repaired = True
        # Some models know no system role, and say so in as many words.
        self.now.system_role = "user"

    def explained(self, failure: Failure, partial: str) -> Failure:
        """Return what a call ends with: a failure that says which limit it met, and how much was asked for."""
        if failure.kind is ErrorKind.CONTEXT_OVERFLOW:
            # Where even the last message is too long by itself, nothing but a shorter one helps.
            limit, alone = failure.limit or self.now.window, self.measure(self.call.messages[-1:])
            return replace(failure, limit=limit, needed=alone if limit is None or alone > limit else None)
        return failure
