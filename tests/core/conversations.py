"""Conversations for tests: short ways to write them, and any that Hypothesis can think of."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from llmapp.core.messages import ChatMessage, Role, ToolCall


def system(text: str) -> ChatMessage:
    return ChatMessage(Role.SYSTEM, text)


def user(text: str, ref: str = "") -> ChatMessage:
    return ChatMessage(Role.USER, text, ref=ref)


def said(text: str, *calls: str, ref: str = "") -> ChatMessage:
    """Make an answer. A call is written as its id, or as "id arguments"."""
    return ChatMessage(Role.ASSISTANT, text, tool_calls=tuple(call(*c.split(" ", 1)) for c in calls), ref=ref)


def call(id: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id, "look", arguments)


def result(id: str, text: str = "found") -> ChatMessage:
    return ChatMessage(Role.TOOL, text, tool_call_id=id)


IDS = st.sampled_from(["", "a", "b", "c", "a_2"])
WORDS = st.text(alphabet=string.ascii_letters + " \n\0\ud83d你", max_size=12)
CALLS = st.builds(
    ToolCall, IDS, st.sampled_from(["look", "", "find\0"]), st.sampled_from(["{}", '{"a": 1}', "{", "", "[]", "NaN"])
)
#: Messages in which anything may be wrong.
ANY_MESSAGE = st.builds(
    ChatMessage,
    st.sampled_from(Role),
    WORDS,
    tool_calls=st.lists(CALLS, max_size=3).map(tuple),
    tool_call_id=st.none() | IDS,
    thinking=st.sampled_from([(), ({"type": "thinking", "thinking": "Hm.", "signature": "s"},)]),
    ref=st.sampled_from(["", "r"]),
)
ANY_MESSAGES = st.lists(ANY_MESSAGE, max_size=12)


@st.composite
def conversations(draw: st.DrawFn) -> list[ChatMessage]:
    """Make a conversation as it may be sent: instructions, and rounds of a question, tools and an answer."""
    messages = [system("Be kind. " * draw(st.integers(1, 20)))] if draw(st.booleans()) else []
    texts = st.integers(1, 400).map(lambda size: "word " * size)
    for n in range(draw(st.integers(1, 8))):
        messages.append(user(f"Question {n}? " + draw(texts), ref=f"q{n}"))
        for m in range(draw(st.integers(0, 2))):
            ids = [f"{n}.{m}.{k}" for k in range(draw(st.integers(1, 2)))]
            messages += [said("", *ids), *(result(id, draw(texts)) for id in ids)]
        if draw(st.booleans()):
            messages.append(said(draw(texts), ref=f"a{n}"))
    return messages
