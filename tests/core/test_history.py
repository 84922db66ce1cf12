"""What a history looks like before it is sent, whatever was stored."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings

from llmapp.core.history import (
    GO_ON,
    NO_ANSWER,
    NO_BEGINNING,
    NO_OUTPUT,
    NO_RESULT,
    canonical,
    problems,
    repaired,
    without_thinking,
)
from llmapp.core.messages import ChatMessage, Role, ToolCall

from .conversations import ANY_MESSAGES, conversations, result, said, system, user

BLOCK = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
FINE = [system("Be kind."), user("Hi"), said("", "a", "b"), result("a"), result("b"), said("So."), user("And?")]

#: What is wrong, what was stored, and what is sent.
TABLE = [
    ("nothing", FINE, FINE),
    ("no conversation", [], []),
    ("only instructions", [system("Be kind.")], [system("Be kind.")]),
    ("a call without a result", [user("Hi"), said("", "a")], [user("Hi"), said("", "a"), result("a", NO_RESULT)]),
    (
        "a call without a result, and on it went",
        [user("Hi"), said("", "a"), user("Well?")],
        [user("Hi"), said("", "a"), result("a", NO_RESULT), user("Well?")],
    ),
    ("a result without a call", [user("Hi"), result("a"), said("So.")], [user("Hi"), said("So.")]),
    ("a result before its call", [result("a"), said("", "a")], [said("", "a"), result("a", NO_RESULT)]),
    (
        "results in another order, and late",
        [said("", "a", "b"), result("b", "B"), user("Well?"), result("a", "A")],
        [said("", "a", "b"), result("a", "A"), result("b", "B"), user("Well?")],
    ),
    (
        "two results of a call",
        [said("", "a"), result("a", "first"), result("a", "second")],
        [said("", "a"), result("a", "first")],
    ),
    ("two calls with an id", [said("", "a", "a"), result("a")], [said("", "a"), result("a")]),
    (
        "an id that is used again",
        [said("", "a"), result("a", "A"), said("", "a"), result("a", "B")],
        [said("", "a"), result("a", "A"), said("", "a_2"), result("a_2", "B")],
    ),
    (
        "an id that is used again, and so is what it would become",
        [said("", "a"), result("a"), said("", "a", "a_2"), result("a_2", "C"), result("a", "B")],
        [said("", "a"), result("a"), said("", "a_2", "a_2_2"), result("a_2", "B"), result("a_2_2", "C")],
    ),
    ("an empty question", [user(" \n"), user("Hi")], [user("Hi")]),
    ("an empty answer", [user("Hi"), said(""), user("Hello?")], [user("Hi"), user("Hello?")]),
    ("an empty result", [said("", "a"), result("a", " ")], [said("", "a"), result("a", NO_OUTPUT)]),
    ("white space beside a call", [said(" \n", "a"), result("a")], [said("", "a"), result("a")]),
    ("arguments that were cut off", [said("", 'a {"x": '), result("a")], [said("", "a {}"), result("a")]),
    ("arguments that are no object", [said("", "a [1]"), result("a")], [said("", "a {}"), result("a")]),
    ("arguments that no JSON has", [said("", 'a {"x": NaN}'), result("a")], [said("", "a {}"), result("a")]),
    ("late instructions", [user("Hi"), system("Be kind.")], [system("Be kind."), user("Hi")]),
    (
        "several instructions",
        [system("Be kind."), system("Notes."), user("Hi")],
        [system("Be kind.\n\nNotes."), user("Hi")],
    ),
    ("empty instructions", [system(" "), user("Hi")], [user("Hi")]),
    ("half an emoji and a NUL", [user("a\ud83d\0")], [user("a\ufffd\ufffd")]),
    ("a question that names a call", [replace(user("Hi"), tool_call_id="a")], [user("Hi")]),
    ("a question with a call", [replace(said("Hi", "a"), role=Role.USER)], [user("Hi")]),
]


@pytest.mark.parametrize("stored, sent", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_is_sent(stored: list[ChatMessage], sent: list[ChatMessage]) -> None:
    assert canonical(stored) == tuple(sent)
    assert bool(problems(stored)) == (stored != sent)


def test_a_call_without_a_name_goes_with_its_result() -> None:
    stored = (user("Hi"), replace(said(""), tool_calls=(ToolCall("a", " ", "{}"),)), result("a"), user("Well?"))
    assert canonical(stored) == (user("Hi"), user("Well?"))


def test_a_call_without_an_id_gets_one() -> None:
    stored = (replace(said(""), tool_calls=(ToolCall("", "look", "{}"), ToolCall("", "find", "{}"))),)
    first, second = canonical(stored)[0].tool_calls
    assert (first.name, second.name) == ("look", "find")
    assert len({first.id, second.id, ""}) == 3


def test_what_is_in_order_is_not_copied() -> None:
    """Nothing is made anew for a history without a problem."""
    assert all(sent is stored for sent, stored in zip(canonical(FINE), FINE, strict=True))


def test_where_a_message_is_stored_is_not_forgotten() -> None:
    stored = [user("a\0", ref="1"), replace(said("", "a {"), ref="2"), result("a")]
    assert [message.ref for message in canonical(stored)] == ["1", "2", ""]


@given(ANY_MESSAGES)
@settings(max_examples=300)
def test_whatever_was_stored_can_be_sent(stored: list[ChatMessage]) -> None:
    """The validator finds nothing, and a second time changes nothing."""
    sent = canonical(stored)
    assert problems(sent) == []
    assert canonical(sent) == sent


@given(conversations())
def test_a_conversation_in_order_stays_as_it_is(messages: list[ChatMessage]) -> None:
    assert canonical(messages) == tuple(messages)


@given(ANY_MESSAGES)
@settings(max_examples=300)
def test_the_strictest_provider_takes_what_is_repaired(stored: list[ChatMessage]) -> None:
    """The roles take turns, nothing is thought, and a second time changes nothing."""
    sent = repaired(stored)
    assert problems(sent) == []
    assert repaired(sent) == sent
    assert not any(message.thinking for message in sent)
    conversation = [message.role for message in sent if message.role is not Role.SYSTEM]
    if conversation:
        assert (conversation[0], conversation[-1] is Role.ASSISTANT) == (Role.USER, False)
    for one, next in pairwise(conversation):
        assert one is not next or one is Role.TOOL
        assert (one, next) != (Role.TOOL, Role.USER)


@pytest.mark.parametrize(
    "stored, sent",
    [
        ([user("Hi"), user("Hello?")], [user("Hi\n\nHello?")]),
        ([user("Hi"), said("So."), said("And.")], [user("Hi"), said("So.\n\nAnd."), user(GO_ON)]),
        ([said("Hello!"), user("Hi")], [user(NO_BEGINNING), said("Hello!"), user("Hi")]),
        (
            [user("Hi"), said("So."), said("", "a"), result("a"), user("And?")],
            [user("Hi"), said("So.", "a"), result("a"), said(NO_ANSWER), user("And?")],
        ),
        ([user("Hi"), said("", "a"), result("a")], [user("Hi"), said("", "a"), result("a")]),
        ([system("Be kind.")], [system("Be kind.")]),
        ([], []),
    ],
)
def test_what_is_repaired(stored: list[ChatMessage], sent: list[ChatMessage]) -> None:
    assert repaired(stored) == tuple(sent)


def test_thinking_is_taken_from_the_copy() -> None:
    thought = replace(said("So."), thinking=(BLOCK,))
    stored = (user("Hi"), thought)
    assert without_thinking(stored) == (user("Hi"), said("So."))
    assert thought.thinking == (BLOCK,)
    assert canonical(stored) == stored


@pytest.mark.parametrize(
    "message, problem",
    [
        (user(" "), "is empty"),
        (user("\0"), "no valid Unicode"),
        (result("a"), "not wanted"),
        (said("", "a"), "have no results"),
        (said("", "a {"), "no JSON object"),
        (said("", ""), "without an id"),
        (replace(user("Hi"), thinking=(BLOCK,)), "only answers"),
        (replace(user("Hi"), tool_call_id="a"), "is no result"),
    ],
)
def test_the_validator_says_what_is_wrong(message: ChatMessage, problem: str) -> None:
    assert any(problem in text for text in problems([user("Hi"), message]))
