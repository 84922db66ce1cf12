"""Whether a reply is a whole answer, and what is asked for when it is not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from llmapp.core.messages import Role, ToolCall
from llmapp.core.output import Flaw, Seam, continuation, judge, larger_limit, lower_effort, open_fence
from llmapp.core.stream import FinishReason as F
from llmapp.core.stream import Reply
from llmapp.core.usage import Usage


def calls(*arguments: str, name: str = "look") -> tuple[ToolCall, ...]:
    return tuple(ToolCall(f"c{n}", name, text) for n, text in enumerate(arguments))


def used(output: int, reasoning: int | None = None) -> Usage:
    return Usage(output_tokens=output, reasoning_tokens=reasoning)


REPLIES: list[tuple[dict[str, Any], int | None, Flaw | None]] = [
    # whole
    ({"text": "Yes.", "finish_reason": F.STOP}, None, None),
    ({"text": "Yes.", "reasoning": "Hm.", "finish_reason": F.STOP}, 100, None),
    ({"text": "<think>Hm.</think>\nYes.", "finish_reason": F.STOP}, 100, None),
    ({"tool_calls": calls("{}", '{"a": 1}'), "finish_reason": F.TOOL_CALLS}, None, None),
    ({"tool_calls": calls('{"a": 1}'), "finish_reason": F.STOP}, None, None),
    ({"tool_calls": calls('{"a": 1}'), "text": "So", "finish_reason": F.LENGTH}, None, None),
    ({"tool_calls": calls(""), "finish_reason": F.TOOL_CALLS}, None, None),
    ({"text": "Yes.", "finish_reason": F.TOOL_CALLS}, None, None),
    ({"text": "Say <think> here.", "finish_reason": F.STOP}, None, None),
    # cut off
    ({"text": "Yes, and", "finish_reason": F.LENGTH}, 100, Flaw.LENGTH),
    ({"text": "Yes, and", "reasoning": "Hm.", "finish_reason": F.LENGTH}, None, Flaw.LENGTH),
    ({"text": "Yes, and", "usage": used(100, 95), "finish_reason": F.LENGTH}, 100, Flaw.LENGTH),
    # thought too long: by content, by usage, or because nothing else is left
    ({"reasoning": "Hm.", "finish_reason": F.LENGTH}, None, Flaw.THOUGHT_TOO_LONG),
    ({"reasoning": "Hm.", "text": " \n", "finish_reason": F.LENGTH}, None, Flaw.THOUGHT_TOO_LONG),
    ({"usage": used(100, 80), "finish_reason": F.LENGTH}, None, Flaw.THOUGHT_TOO_LONG),
    ({"finish_reason": F.LENGTH}, 100, Flaw.THOUGHT_TOO_LONG),
    ({"text": "<think>So, first", "finish_reason": F.LENGTH}, 100, Flaw.THOUGHT_TOO_LONG),
    ({"text": "<think>So.</think>\n", "finish_reason": F.STOP}, None, Flaw.EMPTY),
    ({"reasoning": "Hm.", "finish_reason": F.STOP}, None, Flaw.EMPTY),
    ({"reasoning": "Hm.", "usage": used(98, 98), "finish_reason": F.STOP}, 100, Flaw.THOUGHT_TOO_LONG),
    ({"usage": used(98, 98), "finish_reason": F.STOP}, 100, Flaw.THOUGHT_TOO_LONG),
    ({"usage": used(98, 98), "finish_reason": F.STOP}, None, Flaw.EMPTY),
    # a call that cannot be carried out, whatever the provider calls the end
    *(
        ({"tool_calls": calls(text), "text": "So", "finish_reason": reason}, None, Flaw.BROKEN_CALL)
        for text in ('{"a": ', '{"a": "b', "[1]", "null", "1", '"{}"', "{'a': 1}", '{"a": 1}{"a": 1}', "[" * 100_000)
        for reason in (F.TOOL_CALLS, F.STOP, F.LENGTH)
    ),
    ({"tool_calls": calls("{}", '{"a"'), "finish_reason": F.TOOL_CALLS}, None, Flaw.BROKEN_CALL),
    ({"tool_calls": calls("{}", name=" "), "finish_reason": F.TOOL_CALLS}, None, Flaw.BROKEN_CALL),
    ({"tool_calls": calls(""), "finish_reason": F.LENGTH}, None, Flaw.BROKEN_CALL),
    # nothing
    ({"finish_reason": F.STOP}, None, Flaw.EMPTY),
    ({"text": " \n\t", "finish_reason": F.STOP}, None, Flaw.EMPTY),
    ({"text": "", "finish_reason": F.TOOL_CALLS}, None, Flaw.EMPTY),
    ({"usage": used(5, 0), "finish_reason": F.STOP}, 100, Flaw.EMPTY),
    ({"usage": used(100, 0), "finish_reason": F.LENGTH}, 100, Flaw.EMPTY),
    ({"reasoning": "Hm.", "usage": used(20, 18), "finish_reason": F.STOP}, 100, Flaw.EMPTY),
]


@pytest.mark.parametrize("fields, limit, flaw", REPLIES)
def test_what_is_wrong_with_a_reply(fields: dict[str, Any], limit: int | None, flaw: Flaw | None) -> None:
    assert judge(Reply(**fields), limit) is flaw


@pytest.mark.parametrize(
    "current, ceiling, larger",
    [
        (100, None, 2048),
        (2048, None, 4096),
        (4096, 6000, 6000),
        (4096, 4096, None),
        (8000, 4096, None),
        (100, 1000, 1000),
        (None, 8192, 8192),
        (None, None, None),
        (0, None, 2048),
        (-5, None, 2048),
        (100, -1, 2048),
        (100_000, None, 131_072),
        (131_072, None, None),
    ],
)
def test_a_larger_limit(current: int | None, ceiling: int | None, larger: int | None) -> None:
    """It doubles, up to what the model can write, and ends."""
    assert larger_limit(current, ceiling) == larger


@pytest.mark.parametrize(
    "settings, lower",
    [
        ({"reasoning_effort": "high", "temperature": 1}, {"reasoning_effort": "medium", "temperature": 1}),
        ({"reasoning_effort": "medium"}, {"reasoning_effort": "low"}),
        ({"reasoning_effort": "xhigh"}, {"reasoning_effort": "high"}),
        ({"reasoning_effort": "max"}, {"reasoning_effort": "high"}),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, {"reasoning": {"effort": "medium", "summary": "auto"}}),
        ({"reasoning": {"max_tokens": 4096}}, {"reasoning": {"max_tokens": 2048}}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9000}},
            {"thinking": {"type": "enabled", "budget_tokens": 4500}},
        ),
        ({"thinking": {"budget_tokens": 1500}}, {"thinking": {"budget_tokens": 1024}}),
        ({"thinking": {"budget_tokens": 1024}}, None),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": True, "reasoning": None, "reasoning_effort": 3}, None),
        ({"thinking": {"budget_tokens": True}}, None),
        ({"reasoning_effort": "low"}, None),
        ({"reasoning_effort": "minimal"}, None),
        ({"reasoning_effort": "enormous"}, None),
        ({"temperature": 1}, None),
        ({}, None),
    ],
)
def test_less_effort(settings: dict[str, Any], lower: dict[str, Any] | None) -> None:
    """In whichever way the settings ask for thinking, and only down to what providers take."""
    assert lower_effort(settings) == lower


@pytest.mark.parametrize(
    "text, fence",
    [
        ("plain", ""),
        ("```python\nx", "```python"),
        ("a\n```python\nx\n```\nb", ""),
        ("a\n```python\nx\n```\n```js", "```js"),
        ("~~~\n```\nx", "~~~"),
        ("````md\n```python\nx\n```\n", "````md"),
        ("````md\n```\n````\n", ""),
        ("```python\n```js\n", "```python"),
        ("- item\n  ```sh\n  ls", "```sh"),
        ("1. ```sh\n   ls", "```sh"),
        ("1. ```sh\n   ls\n   ```\n", ""),
        ("> ```\n> x", "```"),
        ("a ``` b", ""),
        ("``` a ``` b", ""),
        ("``", ""),
        ("```", "```"),
        ("```\r\nx\r\n```\r\n", ""),
    ],
)
def test_the_fence_that_is_open(text: str, fence: str) -> None:
    assert open_fence(text) == fence


def test_the_wish_to_go_on() -> None:
    """It follows what was said, quotes its end, and names the fence that is open."""
    said, wish = continuation("Look:\n\n```python\nprint(1")
    assert (said.role, said.content) == (Role.ASSISTANT, "Look:\n\n```python\nprint(1")
    assert wish.role is Role.USER
    assert wish.content.endswith("```python\nprint(1)")
    assert "still open (```python)" in wish.content
    assert "open" not in continuation("Look: {at} this")[1].content


def test_long_texts_are_judged_at_once() -> None:
    """No rule looks again and again at what it has seen."""
    start = time.monotonic()
    for text in (" " * 200_000, "<think>" * 50_000, "- " * 100_000, "`" * 200_000, "a" * 200_000 + "."):
        judge(Reply(text=text, finish_reason=F.STOP), None)
        open_fence(text)
        seam = Seam(text)
        seam.feed(text[:100_000])
        seam.feed("!" * 1000)
        seam.flush()
    assert time.monotonic() - start < 3
