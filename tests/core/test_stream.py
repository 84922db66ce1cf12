"""Deltas add up to a reply; the end of an answer is never invented."""

from __future__ import annotations

from llmapp.core.messages import ToolCall
from llmapp.core.stream import (
    Accumulator,
    Delta,
    Finish,
    FinishReason,
    ReasoningDelta,
    Reply,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from llmapp.core.usage import Usage


def accumulated(*deltas: Delta) -> Accumulator:
    accumulator = Accumulator()
    for delta in deltas:
        accumulator.feed(delta)
    return accumulator


def test_a_whole_reply() -> None:
    """Text, reasoning, tool calls, usage and the finish reason each end up in their place."""
    reply = accumulated(
        ReasoningDelta("hm"),
        TextDelta("a"),
        TextDelta("b"),
        ToolCallDelta(1, "c2", "second"),
        ToolCallDelta(0, "c1", "first", '{"x"'),
        ToolCallDelta(0, arguments=": 1}"),
        UsageDelta(Usage(input_tokens=1)),
        Finish(FinishReason.TOOL_CALLS, "tool_calls"),
        UsageDelta(Usage(input_tokens=1, output_tokens=5)),
    ).reply
    assert reply == Reply(
        text="ab",
        reasoning="hm",
        tool_calls=(ToolCall("c1", "first", '{"x": 1}'), ToolCall("c2", "second", "")),
        usage=Usage(input_tokens=1, output_tokens=5),
        finish_reason=FinishReason.TOOL_CALLS,
    )


def test_a_stream_that_stops_has_no_finish_reason() -> None:
    """Nobody said that it was over, so nobody reads that it was."""
    accumulator = accumulated(TextDelta("a"))
    assert accumulator.reply.finish_reason is None
    assert not accumulator.finished


def test_only_text_is_visible() -> None:
    """Reasoning and tool calls can be taken back, text cannot."""
    assert not accumulated(ReasoningDelta("hm"), ToolCallDelta(0, "c", "f")).visible
    assert accumulated(TextDelta("a")).visible
