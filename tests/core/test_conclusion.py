"""How a run ends whose last answer is over, as a table."""

from __future__ import annotations

import pytest

from llmapp.core.conclusion import conclude
from llmapp.core.stream import FinishReason

LENGTH, FILTER, STOP, TOOLS = (
    FinishReason.LENGTH,
    FinishReason.CONTENT_FILTER,
    FinishReason.STOP,
    FinishReason.TOOL_CALLS,
)


@pytest.mark.parametrize(
    "reason, text, shown, trigger, kind",
    [
        (STOP, "Yes.", True, "complete", None),
        (TOOLS, "Yes.", True, "complete", None),
        (LENGTH, "Yes, bec", True, "break_off", "output_truncated"),
        (FILTER, "I will", True, "break_off", "content_policy"),
        (STOP, "", False, "fail", "invalid_response"),
        (STOP, " \n", True, "break_off", "invalid_response"),
        (TOOLS, "", False, "fail", "invalid_response"),
        (LENGTH, "", False, "fail", "output_truncated"),
        (FILTER, "", False, "fail", "content_policy"),
        # An earlier turn said something.
        (STOP, "", True, "break_off", "invalid_response"),
    ],
)
def test_how_it_ends(reason: FinishReason, text: str, shown: bool, trigger: str, kind: str | None) -> None:
    ending = conclude(reason, text, shown=shown, thought=False)
    assert (ending.trigger, ending.kind) == (trigger, kind)


@pytest.mark.parametrize("text, facts", [("", {"reasoning": True}), ("Yes.", {})])
def test_thinking_is_a_fact_only_where_there_is_nothing_else(text: str, facts: dict[str, bool]) -> None:
    assert conclude(STOP, text, shown=bool(text), thought=True).facts == facts
