"""A model's reply as it streams in: small deltas, and what they add up to.

A reply is finished only if the provider said so: `Accumulator.reply` has a `finish_reason` of None
when the stream merely stopped, and whoever reads it must treat that as an interruption.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from .messages import ToolCall
from .usage import Usage


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call. `index` tells which one; the other parts come when they come."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer: its status and headers, before anything of it. Names are in lower case."""

    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UsageDelta:
    """Usage so far in this attempt, as the provider reports it: the last one counts, they are not summed.

    `cost` is what the provider itself says that the attempt costs, in USD.
    """

    usage: Usage
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The provider says that the answer is over. `raw` is its own word for why."""

    reason: FinishReason
    raw: str = ""


Delta = Head | TextDelta | ReasoningDelta | ToolCallDelta | UsageDelta | Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one attempt brought. `finish_reason` is None when the provider never said that it was over."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    #: In USD, where the provider states it.
    stated_cost: Decimal | None = None
    finish_reason: FinishReason | None = None


class Accumulator:
    """Adds deltas up to a `Reply`."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, ToolCallDelta] = {}
        self._usage = Usage()
        self._cost: Decimal | None = None
        self._finish: Finish | None = None

    def feed(self, delta: Delta) -> None:
        match delta:
            case TextDelta(text):
                self._text.append(text)
            case ReasoningDelta(text):
                self._reasoning.append(text)
            case ToolCallDelta():
                self._add_to_call(delta)
            case UsageDelta(usage, cost):
                self._usage = usage
                self._cost = self._cost if cost is None else cost
            case Finish():
                self._finish = delta

    def _add_to_call(self, delta: ToolCallDelta) -> None:
        known = self._calls.get(delta.index, ToolCallDelta(delta.index))
        self._calls[delta.index] = ToolCallDelta(
            index=delta.index,
            id=known.id or delta.id,
            name=known.name + delta.name,
            arguments=known.arguments + delta.arguments,
        )

    @property
    def visible(self) -> bool:
        """Whether a person has seen anything of this attempt."""
        return bool(self._text)

    @property
    def finished(self) -> bool:
        """Whether the provider said that the answer is over."""
        return self._finish is not None

    @property
    def usage(self) -> Usage:
        """What the provider has said so far of what it used."""
        return self._usage

    @property
    def reply(self) -> Reply:
        calls = (self._calls[index] for index in sorted(self._calls))
        return Reply(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(ToolCall(c.id, c.name, c.arguments) for c in calls),
            usage=self._usage,
            stated_cost=self._cost,
            finish_reason=self._finish.reason if self._finish else None,
        )
