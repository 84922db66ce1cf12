"""The way from a message up to the start of its conversation: whole, or its end."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from llmapp.models import AgentSettings, Conversation, Message
from llmapp.runs.thread import history, in_order, messages_to, snapshot
from tests.support.conversations import grown


@pytest.fixture
def long(person: Any, scripted: Callable[..., AgentSettings]) -> Conversation:
    """Ten questions and their answers, beside a branch that was left after the second."""
    made = grown(person, scripted(), 4)
    fork = made.leaf
    grown(person, made.agent, 6, "Left {n}.", made)
    made.leaf = fork
    return grown(person, made.agent, 16, "Then {n}.", made)


def path(conversation: Conversation, **limits: int) -> list[str]:
    leaf = conversation.leaf_id
    return [f"{m.role[0]} {m.text}" for m in in_order(messages_to(leaf, **limits), leaf)]


WHOLE = [f"{role} Number {n}." for n in range(2) for role in "ua"] + [f"{r} Then {n}." for n in range(8) for r in "ua"]


@pytest.mark.parametrize(
    "limits, shown",
    [
        ({}, WHOLE),
        ({"messages": 1}, WHOLE[-1:]),
        ({"messages": 7}, WHOLE[-7:]),
        ({"messages": 20}, WHOLE),
        ({"messages": 500}, WHOLE),
        ({"questions": 1}, WHOLE[-2:]),
        ({"questions": 9}, WHOLE[2:]),
        ({"questions": 10}, WHOLE),
        ({"questions": 11}, WHOLE),
    ],
)
def test_as_much_of_the_path_as_is_wanted(
    long: Conversation, django_assert_num_queries: Any, limits: dict[str, int], shown: list[str]
) -> None:
    """One query brings it, and nothing of the branch that was left."""
    with django_assert_num_queries(1):
        assert path(long, **limits) == shown


def test_an_end_that_is_a_question_counts_as_one(long: Conversation) -> None:
    long.leaf = Message.objects.create(conversation=long, parent=long.leaf, role="user", text="And?")
    assert path(long, questions=2) == [*WHOLE[-2:], "u And?"]


def test_a_model_is_told_the_whole_path(long: Conversation, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        told = history(long.leaf_id)
    assert [f"{m.role[0]} {m.content}" for m in told] == WHOLE


def test_a_model_is_not_told_of_empty_answers(long: Conversation) -> None:
    Message.objects.filter(text="Then 3.", role="assistant").update(text="")
    told = history(long.leaf_id)
    assert [f"{m.role[0]} {m.content}" for m in told] == [m for m in WHOLE if m != "a Then 3."]


def test_a_snapshot_names_messages_as_clients_do(long: Conversation) -> None:
    Message.objects.filter(text="Then 7.", role="user").update(client_id="mine")
    *_, question, answer = snapshot(long.leaf_id)
    assert question == {"id": "mine", "role": "user", "content": "Then 7."}
    assert answer == {"id": str(long.leaf_id), "role": "assistant", "content": "Then 7."}
    assert len(snapshot(long.leaf_id)) == len(WHOLE)


@pytest.mark.parametrize("leaf", [None, uuid.uuid4()])
def test_without_an_end_there_is_no_path(transactional_db: None, leaf: uuid.UUID | None) -> None:
    assert in_order(messages_to(leaf), leaf) == []
    assert (history(leaf), snapshot(leaf)) == ((), [])
