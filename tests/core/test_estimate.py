"""How many tokens messages take, told without a tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.core.estimate import PER_MESSAGE, characters, estimate
from llmapp.core.messages import ChatMessage, Role, ToolCall

from .conversations import user


@pytest.mark.parametrize(
    "text, ratio, tokens",
    [
        # without a ratio
        ("word " * 80, None, 104),
        ("你好世界" * 25, None, 104),
        ("Привет" * 20, None, 84),
        ("x", None, 5),
        ("", None, 4),
        # with one
        ("word " * 80, 2.0, 208),
        ("word " * 80, 3.2, 130),
        ("你好世界" * 25, 1.0, 116),
        # with one that was learned from English, and a page of Chinese
        ("你好世界" * 25, 4.5, 50),
        # with nonsense
        ("word " * 80, 0.0, 104),
        ("word " * 80, -3.0, 104),
        ("word " * 80, 0.29, 104),
        ("word " * 80, 12.1, 104),
        ("word " * 80, float("nan"), 104),
        ("word " * 80, float("inf"), 104),
    ],
)
def test_tokens_of_a_text(text: str, ratio: float | None, tokens: int) -> None:
    assert estimate([user(text)], ratio) == tokens


def test_calls_and_thinking_count() -> None:
    """What is sent beside the text takes tokens too."""
    message = ChatMessage(
        Role.ASSISTANT,
        "abcd",
        tool_calls=(ToolCall("1234", "look", '{"a": 12}'),),
        thinking=({"type": "thinking", "thinking": "Hm."},),
    )
    assert characters(message) == PER_MESSAGE + 4 + 4 + 4 + 9 + 8 + 3


def test_half_an_emoji_is_counted() -> None:
    assert estimate([user("\ud83d")]) == 5


@given(st.lists(st.text(max_size=40), max_size=6), st.none() | st.floats())
def test_more_is_never_less(texts: list[str], ratio: float | None) -> None:
    messages = [user(text) for text in texts]
    sizes = [estimate(messages[:n], ratio) for n in range(len(messages) + 1)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0
