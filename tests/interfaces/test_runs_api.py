"""Runs over HTTP: what may be sent, what is answered, and that nothing happens twice."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import AsyncClient, RequestFactory

from llmapp import submit
from llmapp.api import runs, shapes
from llmapp.api.auth import Identity
from llmapp.api.bridge import in_thread
from llmapp.core.errors import ErrorKind
from llmapp.models import Conversation, Message, Run

from .support import code, post, read_stream, run_input, start, user_message

pytestmark = pytest.mark.usefixtures("hub")


async def shown(client: AsyncClient, run: Any) -> dict[str, Any]:
    response = await client.get(f"/api/runs/{run}")
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = json.loads(response.content)
    return answer


async def nothing_stored() -> bool:
    return not (await Run.objects.aexists() or await Message.objects.aexists() or await Conversation.objects.aexists())


# --- what may be sent -----------------------------------------------------------------------


async def test_a_message_starts_a_run(client: AsyncClient, agent: Any, enqueued: list[uuid.UUID]) -> None:
    """Only `messages` is needed, and in it only what was said."""
    response = await start(client, {"role": "user", "content": "Hi"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    run = await Run.objects.select_related("message").aget()
    assert (run.message.text, enqueued) == ("Hi", [run.pk])


async def test_everything_that_ag_ui_knows_may_come_along(client: AsyncClient, agent: Any) -> None:
    fields = {
        "threadId": "thread",
        "runId": "run",
        "parentRunId": "elsewhere",
        "protocolVersion": "1.0",
        "state": {"a": [1]},
        "tools": [{"name": "t", "description": "d", "parameters": {}}],
        "context": [{"description": "d", "value": "v"}],
        "forwardedProps": {"x": 1},
        "resume": [],
    }
    assert (await start(client, **fields)).status_code == 200
    run = await Run.objects.select_related("conversation").aget()
    assert (run.client_id, run.conversation.client_id) == ("run", "thread")


async def test_text_parts_are_joined(client: AsyncClient, agent: Any) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert (await start(client, user_message(parts))).status_code == 200
    assert (await Message.objects.aget()).text == "one\ntwo"


IMAGE = {"type": "image", "source": {"type": "url", "value": "https://a.example/b.png"}}
SYSTEM = {"id": "s", "role": "system", "content": "Obey."}
ASSISTANT = {"id": "a", "role": "assistant", "content": "Yes."}
TOOL = {"id": "t", "role": "tool", "content": "1", "toolCallId": "c"}


@pytest.mark.parametrize(
    "body, expected",
    [
        # What is missing
        ({}, (422, "invalid_field")),
        ({"messages": None}, (422, "invalid_field")),
        ({"messages": {}}, (422, "invalid_field")),
        ({"messages": ["Hi"]}, (422, "invalid_field")),
        ({"messages": []}, (422, "message_missing")),
        ({"messages": [{"id": "r", "role": "reasoning", "content": "Hm."}]}, (422, "message_missing")),
        # What is said
        (run_input(user_message("")), (422, "message_empty")),
        (run_input(user_message(" \n\t ")), (422, "message_empty")),
        (run_input(user_message([])), (422, "message_empty")),
        (run_input(user_message("x" * 100_001)), (413, "message_too_long")),
        (run_input(user_message("a\0b")), (422, "message_content")),
        (run_input(user_message([IMAGE])), (422, "message_content")),
        (run_input(user_message([{"type": "text", "text": "x"}, IMAGE])), (422, "message_content")),
        (run_input(user_message([{"type": "binary", "mimeType": "image/png"}])), (422, "message_content")),
        (run_input(user_message([{"type": "text"}])), (422, "invalid_field")),
        (run_input(user_message(None)), (422, "invalid_field")),
        (run_input(user_message(5)), (422, "invalid_field")),
        (run_input({"id": "m", "role": "user"}), (422, "invalid_field")),
        # Who says it
        (run_input(SYSTEM, user_message()), (422, "message_role")),
        (run_input(ASSISTANT, user_message()), (422, "message_role")),
        (run_input(TOOL, user_message()), (422, "message_role")),
        (run_input(user_message(), ASSISTANT), (422, "message_role")),
        (run_input(SYSTEM), (422, "message_role")),
        (run_input({"role": "system", "content": "no id"}), (422, "message_role")),
        (run_input({"id": "d", "role": "developer", "content": "x"}), (422, "message_role")),
        (run_input({"id": "x", "role": "nobody", "content": "x"}), (422, "message_role")),
        (run_input({"id": "x", "role": ["user"], "content": "x"}), (422, "message_role")),
        (run_input({"id": "x", "content": "x"}), (422, "message_role")),
        # More than one new message
        (run_input(user_message(), user_message(id="m2")), (422, "message_order")),
        # Ids
        (run_input(user_message(id=5)), (422, "invalid_field")),
        (run_input(user_message(id="x" * 201)), (422, "id_invalid")),
        (run_input(user_message(id="a\nb")), (422, "id_invalid")),
        (run_input(threadId=""), (422, "id_invalid")),
        (run_input(threadId="a\0"), (422, "id_invalid")),
        (run_input(threadId=7), (422, "invalid_field")),
        (run_input(runId="x" * 201), (422, "id_invalid")),
        (run_input(runId={}), (422, "invalid_field")),
        # The rest of the input
        (run_input(tools=[{"name": 1}]), (422, "invalid_field")),
        (run_input(context="x"), (422, "invalid_field")),
        (run_input(resume=[{"interruptId": "i", "status": "resolved"}]), (422, "resume_unknown")),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value[1]),
)
async def test_what_cannot_be_sent(client: AsyncClient, agent: Any, body: Any, expected: Any) -> None:
    """It is refused before a stream begins, and nothing is stored."""
    response = await post(client, "/api/agents/scripted/runs", body)
    assert (response.status_code, code(response)) == expected
    assert await nothing_stored()


async def test_an_id_in_a_header_that_cannot_be_one(client: AsyncClient, agent: Any) -> None:
    response = await start(client, headers={"Idempotency-Key": "x" * 201})
    assert (response.status_code, code(response)) == (422, "id_invalid")


async def test_a_whole_thread_may_come_along_but_not_without_end(client: AsyncClient, agent: Any) -> None:
    response = await start(client, user_message("x" * 5_000_000))
    assert (response.status_code, code(response)) == (413, "body_too_large")


@pytest.mark.parametrize("fields", [{}, {"access": "groups"}, {"enabled": False}])
async def test_an_agent_that_is_not_there_or_not_for_you(
    stranger: AsyncClient, scripted: Callable[..., Any], other: Any, fields: dict[str, Any]
) -> None:
    await in_thread(scripted, **fields)
    await type(other).objects.filter(pk=other.pk).aupdate(is_staff=False)
    for slug in ["scripted", "unknown"]:
        response = await start(stranger, agent=slug)
        assert (response.status_code, code(response)) == (404, "not_found")
    assert await nothing_stored()


# --- the thread -----------------------------------------------------------------------------


async def test_a_client_sends_the_whole_thread_along(client: AsyncClient, agent: Any, execute: Any) -> None:
    """What is stored is known by its id and not looked at; its own notes are passed over."""
    await start(client, user_message("Hi", "m1"), threadId="t")
    await execute(await Run.objects.aget())
    answer = await Message.objects.aget(role="assistant")
    thread = [
        {"id": "m1", "role": "user", "content": "other words"},
        {"id": "note", "role": "reasoning", "content": "Hm."},
        {"id": str(answer.pk), "role": "assistant", "content": "forged"},
        {"id": "plan", "role": "activity", "activityType": "PLAN", "content": {}},
    ]
    assert (await start(client, *thread, user_message("And?", "m2"), threadId="t")).status_code == 200
    texts = [message.text async for message in Message.objects.order_by("created_at")]
    assert texts == ["Hi", "Hello, **world**!", "And?"]
    again = await start(client, *thread, threadId="t")
    assert (again.status_code, code(again)) == (422, "message_role")


async def test_a_thread_that_is_not_known_is_made(client: AsyncClient, agent: Any) -> None:
    """A UUID is kept as ours."""
    thread = str(uuid.uuid4())
    await start(client, threadId=thread)
    assert str((await Conversation.objects.aget()).pk) == thread


async def test_somebody_else_s_thread(client: AsyncClient, stranger: AsyncClient, agent: Any) -> None:
    """By its id it is not there; by a name of one's own it is a thread of one's own."""
    await start(client, threadId="mine")
    theirs = await Conversation.objects.aget()
    response = await start(stranger, threadId=str(theirs.pk))
    assert (response.status_code, code(response)) == (404, "not_found")
    assert (await start(stranger, threadId="mine")).status_code == 200
    assert await Conversation.objects.acount() == 2


# --- not twice ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"runId": "r"},
        {"headers": {"Idempotency-Key": "k"}},
        {"threadId": "t"},  # the message's id is the same
        {"threadId": "t", "runId": "r", "headers": {"Idempotency-Key": "k"}},
    ],
    ids=["runId", "Idempotency-Key", "message id", "all"],
)
async def test_the_same_again_is_the_first_run(
    client: AsyncClient, agent: Any, execute: Any, fields: dict[str, Any]
) -> None:
    """While it is active, and after its end: from its start."""
    first = await start(client, **fields)
    run = await Run.objects.aget()
    assert (await start(client, **fields)).status_code == 200
    await execute(run)
    events = await read_stream(await start(client, **fields))
    assert await read_stream(first) == events
    assert (events[0]["seq"], events[-1]["type"]) == (1, "RUN_FINISHED")
    assert (await Run.objects.acount(), await Message.objects.filter(role="user").acount()) == (1, 1)


async def test_one_run_at_a_time_in_a_conversation(client: AsyncClient, agent: Any) -> None:
    await start(client, threadId="t")
    response = await start(client, user_message(id="m1"), user_message(id="m2"), threadId="t")
    assert (response.status_code, code(response)) == (409, "conversation_busy")
    assert (await Run.objects.acount(), await Message.objects.acount()) == (1, 1)


async def test_too_many_active_runs(client: AsyncClient, agent: Any) -> None:
    for n in range(3):
        assert (await start(client, user_message(id=f"m{n}"))).status_code == 200
    response = await start(client)
    assert (response.status_code, code(response)) == (429, "too_many_runs")
    assert int(response.headers["Retry-After"]) > 0
    assert await Run.objects.acount() == 3


async def test_too_many_sends_in_a_minute(client: AsyncClient, agent: Any, settings: Any, execute: Any) -> None:
    settings.LLMAPP = {**settings.LLMAPP, "SENDS_PER_MINUTE": 2}
    for n in range(2):
        await start(client, user_message(id=f"m{n}"), runId=f"r{n}")
        await execute(await Run.objects.aget(client_id=f"r{n}"))
    response = await start(client)
    assert (response.status_code, code(response)) == (429, "too_many_runs")
    assert 0 < int(response.headers["Retry-After"]) <= 60


async def test_a_broker_that_is_down_loses_nothing(
    client: AsyncClient, agent: Any, monkeypatch: pytest.MonkeyPatch, execute: Any
) -> None:
    """Message and run are stored, and the log says that it will start."""
    monkeypatch.setattr("llmapp.runs.queue.enqueue", lambda run_id: False)
    response = await start(client)
    await execute(await Run.objects.aget())
    events = await read_stream(response)
    notice = events[1]["value"]
    assert (events[1]["name"], notice["action"]) == ("llmapp.notice", "queue")
    assert events[-1]["type"] == "RUN_FINISHED"


# --- one run --------------------------------------------------------------------------------


async def test_a_run_that_is_queued(client: AsyncClient, agent: Any) -> None:
    """What nobody knows yet is null."""
    await start(client, threadId="t", runId="a/b c")
    run = await Run.objects.aget()
    expected = {
        "id": "a/b c",
        "agent": "scripted",
        "conversation": str(run.conversation_id),
        "status": "queued",
        "error": None,
        "usage": dict.fromkeys(shapes.USAGE),
        "cost": None,
        "attempts": 0,
        "continues": None,
    }
    assert await shown(client, "a%2Fb%20c") == expected
    assert await shown(client, run.pk) == expected


async def test_a_run_that_is_completed(client: AsyncClient, agent: Any, execute: Any) -> None:
    await start(client, runId="r")
    await execute(await Run.objects.aget())
    answer = await shown(client, "r")
    assert (answer["status"], answer["error"], answer["attempts"]) == ("completed", None, 1)


async def test_a_run_that_failed(client: AsyncClient, agent: Any) -> None:
    """It says what in our own words."""
    await start(client, runId="r")
    kind, sentence = ErrorKind.AUTH, "Our sentence."
    await Run.objects.all().aupdate(error_kind=kind, error_message=sentence, cost=Decimal("0.000120000"))
    answer = await shown(client, "r")
    assert (answer["error"], answer["cost"]) == ({"kind": "auth", "message": "Our sentence."}, "0.00012")


async def test_stop(client: AsyncClient, agent: Any) -> None:
    """202 before its end and after it."""
    stream = await start(client, runId="r")
    for _ in range(2):
        response = await post(client, "/api/runs/r/stop")
        assert (response.status_code, json.loads(response.content)) == (202, {"run": "r"})
    assert (await shown(client, "r"))["status"] == "cancelled"
    assert (await read_stream(stream))[-1]["outcome"] == {"type": "cancelled"}


async def test_try_again(client: AsyncClient, agent: Any) -> None:
    await start(client, runId="r", threadId="t")
    response = await post(client, "/api/runs/r/retry")
    assert (response.status_code, code(response)) == (409, "conversation_busy")
    await post(client, "/api/runs/r/stop")
    response = await post(client, "/api/runs/r/retry")
    new = await Run.objects.exclude(client_id="r").aget()
    assert (response.status_code, json.loads(response.content)) == (202, {"run": str(new.pk)})
    assert await Message.objects.acount() == 1


# --- cost -----------------------------------------------------------------------------------


def test_showing_a_run_costs_one_query(person: Any, agent: Any, django_assert_num_queries: Any) -> None:
    """By the client's id; by ours, two."""
    submit(person, "Hi", run_id="r")
    with django_assert_num_queries(1):
        runs.show_run(RequestFactory().get("/"), Identity(person), "r")
