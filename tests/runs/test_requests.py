"""What was asked is kept with the attempt: small where it is stored anyway, and exactly as it was sent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llmapp.backends.base import ModelRequest, Secret
from llmapp.core.messages import ChatMessage, Role, ToolCall
from llmapp.models import Attempt, Conversation, Message
from llmapp.runs.actions import submit
from llmapp.runs.requests import Gone, rebuilt, recipe
from llmapp.runs.thread import history

CANARY = "sk-canary-5d2c-NEVER-STORED"

INSTRUCTIONS = ChatMessage(Role.SYSTEM, "Be kind.")
SUMMARY = ChatMessage(Role.USER, "What was said before: much.")


@pytest.fixture
def path(db: None, django_user_model: Any) -> tuple[ChatMessage, ...]:
    """A conversation of 40 messages, one of them empty, as a model is told it."""
    user = django_user_model.objects.create_user("ada")
    conversation = Conversation.objects.create(user=user)
    leaf = None
    for number in range(40):
        role = "user" if number % 2 == 0 else "assistant"
        text = "" if number == 7 else f"Message {number} 😀"
        leaf = Message.objects.create(conversation=conversation, parent=leaf, role=role, text=text)
    assert leaf is not None
    return history(leaf.pk)


def request(*messages: ChatMessage, **more: Any) -> ModelRequest:
    return ModelRequest(
        model="gpt", messages=messages, secret=Secret(id=3, api_key=CANARY, extra={"x": CANARY}), **more
    )


def sent_again(asked: ModelRequest, path: tuple[ChatMessage, ...]) -> ModelRequest:
    """Write it down as a database does, and read it back."""
    return rebuilt(json.loads(json.dumps(recipe(asked, (INSTRUCTIONS, *path)))))


def without_key(asked: ModelRequest) -> ModelRequest:
    return replace(asked, secret=Secret(id=None))


CASES = [
    # what becomes of the conversation, and into how many parts it is written
    ("all of it", lambda path: (INSTRUCTIONS, *path), 2),
    ("the end of it", lambda path: (INSTRUCTIONS, SUMMARY, *path[30:]), 3),
    ("with a gap", lambda path: (*path[:3], *path[20:]), 2),
    ("shortened", lambda path: (*path[:3], replace(path[3], content="M…"), *path[4:]), 3),
    ("in another order", lambda path: (path[1], path[0]), 2),
    ("nothing", lambda path: (), 0),
]


@pytest.mark.parametrize(("choose", "parts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_it_is_read_back_as_it_was_sent(path: tuple[ChatMessage, ...], choose: Any, parts: int) -> None:
    asked = request(*choose(path))
    assert len(recipe(asked, (INSTRUCTIONS, *path))["messages"]) == parts
    assert sent_again(asked, path) == without_key(asked)


def test_everything_but_the_key_is_kept(path: tuple[ChatMessage, ...]) -> None:
    call = ToolCall("c1", "look", '{"at": "the sea"}')
    asked = request(
        ChatMessage(Role.ASSISTANT, "", tool_calls=(call,), thinking=({"type": "thinking", "signature": "s"},)),
        ChatMessage(Role.TOOL, "blue", tool_call_id="c1"),
        *path,
        settings={"temperature": 0.5, "stop": ["a", "b"]},
        max_output_tokens=100,
        system_role="developer",
        streaming=False,
        tools=({"type": "function", "function": {"name": "look"}},),
    )
    assert sent_again(asked, path) == without_key(asked)
    assert CANARY not in json.dumps(recipe(asked, path))


def test_a_long_conversation_costs_a_few_bytes(path: tuple[ChatMessage, ...]) -> None:
    assert len(json.dumps(recipe(request(*path), path))) < 150


def test_text_that_no_database_takes_is_mended() -> None:
    asked = request(ChatMessage(Role.USER, "half \ud83d of\0it"), settings={"stop": "\ud83d"})
    written = json.dumps(recipe(asked, ()), ensure_ascii=False)
    assert written.encode().decode() == written
    assert "\\u0000" not in written


def test_messages_that_are_gone_are_said_to_be(path: tuple[ChatMessage, ...]) -> None:
    written = recipe(request(*path), path)
    Conversation.objects.all().delete()
    with pytest.raises(Gone):
        rebuilt(written)


@pytest.mark.django_db(transaction=True)
def test_a_run_keeps_what_it_asked(person: Any, scripted: Any, process: Any) -> None:
    """Through the worker: instructions are written out, the conversation is a span."""
    scripted(instructions="Be kind.")
    run = submit(person, "Hello").run
    process.execute(run.pk)
    written = Attempt.objects.get().request
    assert written is not None
    assert written["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"path": str(run.message_id), "count": 1},
    ]
    assert [message.content for message in rebuilt(written).messages] == ["Be kind.", "Hello"]
