"""The OpenAI chat format and its dialects, without a socket."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.backends.openai_answer import AnswerReader
from llmapp.backends.openai_format import ChunkReader
from llmapp.core.errors import BackendError
from llmapp.core.stream import Delta, Finish, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, UsageDelta
from llmapp.core.usage import Usage


def read(*deltas: dict[str, Any], finish: str | None = None) -> list[Delta]:
    reader = ChunkReader()
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in deltas]
    if finish:
        chunks.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    return [delta for chunk in chunks for delta in reader.read(chunk)]


@pytest.mark.parametrize(
    "delta, expected",
    [
        ({"content": "a"}, [TextDelta("a")]),
        ({"content": ""}, []),
        ({"content": None}, []),
        ({"content": 7}, []),
        ({"reasoning_content": "r"}, [ReasoningDelta("r")]),
        ({"reasoning": "r"}, [ReasoningDelta("r")]),
        # One that says it twice is heard once.
        ({"reasoning": "r", "reasoning_content": "r"}, [ReasoningDelta("r")]),
        ({"refusal": "I can't"}, [TextDelta("I can't")]),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                         {"type": "text", "text": "a"}]},
            [ReasoningDelta("r"), TextDelta("a")],
        ),
        ({"tool_calls": None}, []),
        ({"tool_calls": [None, 5]}, []),
        ({"tool_calls": [{"id": "x", "function": {"name": "f", "arguments": {"a": 1}}}]},
         [ToolCallDelta(0, "x", "f", '{"a": 1}')]),
    ],
)  # fmt: skip
def test_dialects(delta: dict[str, Any], expected: list[Delta]) -> None:
    """Each way to say it is understood, and nothing of a wrong type comes through."""
    assert read(delta) == expected


def test_two_tools_on_one_index() -> None:
    """A new id on a known index is a new call."""
    a = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}
    rest = {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}
    b = {"tool_calls": [{"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}]}
    assert read(a, rest, b) == [
        ToolCallDelta(0, "a", "f", "{"),
        ToolCallDelta(0, "", "", "}"),
        ToolCallDelta(1, "b", "g", "{}"),
    ]


def test_a_name_that_is_repeated_counts_once() -> None:
    """Some send id and name with every piece."""
    piece = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}}]}
    assert read(piece, piece) == [ToolCallDelta(0, "a", "f", "1"), ToolCallDelta(0, "a", "", "1")]


@pytest.mark.parametrize(
    "word, reason",
    [
        ("stop", FinishReason.STOP),
        ("STOP", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("something new", FinishReason.STOP),
    ],
)
def test_finish_reasons(word: str, reason: FinishReason) -> None:
    """The provider's own word is kept beside ours."""
    assert read(finish=word) == [Finish(reason, word)]


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.5}},
        {"choices": [{"delta": {}, "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.5}}]},
        {"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.5}}},
    ],
)
def test_usage_and_cost_are_found_where_providers_put_them(chunk: dict[str, Any]) -> None:
    usage = Usage(input_tokens=3, output_tokens=2)
    assert ChunkReader().read(chunk) == [UsageDelta(usage, Decimal("0.5"))]


BODY = (
    b'\xef\xbb\xbf: hello\r\n\r\ndata: {"choices":[{"delta":{"content":"\xc3\xa4\xf0\x9f\x98\x80"}}]}\r\n\r\n'
    b'data: {"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}\r\rdata: [DONE]\n\n'
)


def test_an_answer_may_be_cut_at_every_byte() -> None:
    """The text is the same wherever the two pieces meet."""
    for at in range(len(BODY) + 1):
        reader = AnswerReader("p", 200, {})
        deltas = [*reader.feed(BODY[:at]), *reader.feed(BODY[at:]), *reader.end()]
        assert deltas == [TextDelta("ä😀"), TextDelta("b"), Finish(FinishReason.STOP, "stop")]


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"data: ", b"{", b"\n\n", b"[DONE]", b'{"choices":[{}]}'])))
def test_any_bytes_are_an_answer_or_a_backend_error(chunks: list[bytes]) -> None:
    """Nothing else ever leaves, whatever a provider sends."""
    reader = AnswerReader("p", 200, {})
    try:
        for chunk in chunks:
            list(reader.feed(chunk))
        list(reader.end())
    except BackendError:
        return
    assert reader.finished or reader.ended or b"choices" in b"".join(chunks)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "delta", "message", "content", "tool_calls", "function", "name", "arguments",
                         "index", "id", "finish_reason", "usage", "prompt_tokens", "type", "text"]),
        inner,
        max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.lists(json_like, max_size=4))
def test_any_json_is_read_without_a_crash(chunks: list[Any]) -> None:
    """Wrong types are passed over."""
    reader = ChunkReader()
    for chunk in chunks:
        for wrapped in (chunk, {"choices": [chunk]}, {"choices": [{"delta": chunk}]}):
            if isinstance(wrapped, dict):
                for delta in reader.read(wrapped):
                    assert isinstance(delta, Delta)
