"""The JSON interface: who may come in, how errors look, and conversations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.test import AsyncClient, RequestFactory

from llmapp import submit, tokens
from llmapp.api import conversations, http
from llmapp.api.auth import Identity
from llmapp.api.bridge import in_thread
from llmapp.models import Conversation
from llmapp.runs import actions, lease
from tests.support.conversations import grown

from .support import code, post

LIST = "/api/conversations/"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def body_of(response: Any) -> Any:
    assert response.status_code < 300, response.content
    return json.loads(response.content)


# --- who ------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, bearer("llmapp_wrong"), bearer(""), {"Authorization": "Basic YTpi"}])
async def test_nobody_is_told_to_sign_in(transactional_db: None, headers: dict[str, str]) -> None:
    response = await AsyncClient().get(LIST, headers=headers)
    assert (response.status_code, code(response)) == (401, "unauthenticated")


async def test_a_session_or_a_token_lets_in(client: AsyncClient, token: str) -> None:
    assert (await client.get(LIST)).status_code == 200
    assert (await AsyncClient().get(LIST, headers=bearer(token))).status_code == 200


async def test_a_bad_token_does_not_fall_back_to_the_session(client: AsyncClient) -> None:
    assert (await client.get(LIST, headers=bearer("llmapp_wrong"))).status_code == 401


async def test_inactive_users_are_nobody(client: AsyncClient, person: Any, token: str) -> None:
    await type(person).objects.filter(pk=person.pk).aupdate(is_active=False)
    assert (await client.get(LIST)).status_code == 401
    assert (await AsyncClient().get(LIST, headers=bearer(token))).status_code == 401


async def test_a_session_needs_its_csrf_token_to_change_anything(person: Any) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(person)
    refused = await post(client, LIST, {})
    assert (refused.status_code, code(refused)) == (403, "csrf_failed")
    client.cookies["csrftoken"] = "a" * 32
    assert (await post(client, LIST, {}, headers={"X-CSRFToken": "a" * 32})).status_code == 201
    assert (await post(client, LIST, {}, headers={"X-CSRFToken": "b" * 32})).status_code == 403
    assert (await client.get(LIST)).status_code == 200


async def test_a_token_needs_no_csrf_token(token: str) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    assert (await post(client, LIST, {}, headers=bearer(token))).status_code == 201


async def test_a_session_with_a_foreign_origin_changes_nothing(person: Any) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(person)
    client.cookies["csrftoken"] = "a" * 32
    headers = {"X-CSRFToken": "a" * 32, "Origin": "https://evil.example"}
    assert code(await post(client, LIST, {}, headers=headers)) == "csrf_failed"


# --- how ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LIST, "/api/conversations/x", "/api/runs/x", "/api/runs/x/events", "/api/status"])
async def test_a_wrong_method_names_the_right_ones(client: AsyncClient, path: str) -> None:
    response = await client.put(path)
    assert (response.status_code, code(response)) == (405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]


async def test_head_is_get_without_a_body(client: AsyncClient, person: Any, agent: Any) -> None:
    """Also of a stream, which ends at once; an address that takes POST only has none."""
    run = (await in_thread(submit, person, "hello")).run
    for path, kind in [
        (LIST, "application/json"),
        (f"/api/runs/{run.public_id}", "application/json"),
        (f"/api/runs/{run.public_id}/events", "text/event-stream"),
    ]:
        response = await client.head(path)
        assert (response.status_code, response.headers["Content-Type"], response.streaming) == (200, kind, False)
        assert response.content == b""
    assert (await client.head(f"/api/runs/{run.public_id}/stop")).status_code == 405
    assert (await client.head("/api/runs/nowhere")).status_code == 404


@pytest.mark.parametrize("path", ["/api/conversations", LIST, "/api/status", "/api/status/"])
async def test_a_slash_at_the_end_is_free(client: AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff",
        b'{"title": "\\ud83d"}',  # half an emoji
        b"[" * 60_000,
    ],
)
async def test_a_body_that_is_no_json_object(client: AsyncClient, raw: bytes) -> None:
    response = await client.post(LIST, data=raw, content_type="application/json")
    assert (response.status_code, code(response)) == (422, "invalid_json")


async def test_a_body_that_is_too_large(client: AsyncClient) -> None:
    response = await post(client, LIST, {"title": "x" * http.BODY_LIMIT})
    assert (response.status_code, code(response)) == (413, "body_too_large")


async def test_answers_are_not_stored_by_browsers_and_proxies(client: AsyncClient) -> None:
    for path in [LIST, "/api/runs/x"]:
        assert (await client.get(path)).headers["Cache-Control"] == "no-store"


async def test_sentences_are_in_the_reader_s_language(client: AsyncClient) -> None:
    """The codes are not."""
    response = await client.get("/api/runs/x", headers={"Accept-Language": "zh-hans"})
    assert code(response) == "not_found"
    assert response.headers["Content-Language"] == "zh-hans"


async def test_status_says_whether_a_worker_is_there(client: AsyncClient, person: Any) -> None:
    """Only staff learn how to start one."""
    answer = await body_of(await client.get("/api/status"))
    assert answer["worker"] is False
    assert answer["command"] == "celery -A project worker -Q llmapp -P threads"
    await in_thread(lease.register, 1, {})
    await type(person).objects.filter(pk=person.pk).aupdate(is_staff=False)
    assert await body_of(await client.get("/api/status")) == {"worker": True}


# --- conversations --------------------------------------------------------------------------


async def test_make_read_rename_and_delete(client: AsyncClient, agent: Any) -> None:
    made = await body_of(await post(client, LIST, {"agent": "scripted", "title": "  My   chat "}))
    assert made == {
        "id": made["id"],
        "thread_id": made["id"],
        "title": "My chat",
        "agent": "scripted",
        "created_at": made["created_at"],
        "updated_at": made["updated_at"],
        "active_run": None,
    }
    path = f"{LIST}{made['id']}"
    renamed = await client.patch(path, data={"title": "Other"}, content_type="application/json")
    assert (await body_of(renamed))["title"] == "Other"
    assert (await body_of(await client.get(path)))["title"] == "Other"
    deleted = await client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert code(await client.get(path)) == "not_found"


@pytest.mark.parametrize(
    "body, expected",
    [
        ({"agent": "nobody"}, (404, "not_found")),
        ({"agent": 1}, (422, "invalid_field")),
        ({"title": ["x"]}, (422, "invalid_field")),
        ({"title": "x" * 201}, (422, "invalid_field")),
        ({"title": "\0"}, (422, "invalid_field")),
    ],
)
async def test_what_cannot_be_made(client: AsyncClient, body: Any, expected: Any) -> None:
    response = await post(client, LIST, body)
    assert (response.status_code, code(response)) == expected
    assert not await Conversation.objects.aexists()


@pytest.mark.parametrize("body, expected", [({}, "invalid_field"), ({"title": " "}, "title_empty")])
async def test_a_title_is_needed(client: AsyncClient, person: Any, body: Any, expected: str) -> None:
    made = await Conversation.objects.acreate(user=person, title="Before")
    response = await client.patch(f"{LIST}{made.pk}", data=body, content_type="application/json")
    assert (response.status_code, code(response)) == (422, expected)


async def test_new_conversations_are_held_to_a_rate(client: AsyncClient, settings: Any) -> None:
    settings.LLMAPP = {**settings.LLMAPP, "SENDS_PER_MINUTE": 2}
    assert [(await post(client, LIST, {})).status_code for _ in range(2)] == [201, 201]
    response = await post(client, LIST, {})
    assert (response.status_code, code(response)) == (429, "too_many_conversations")
    assert response.headers["Retry-After"] == "60"


async def test_the_list_is_newest_first_and_comes_in_pages(client: AsyncClient, person: Any, other: Any) -> None:
    """Also where several were changed at the same moment, nothing comes twice and nothing is left out."""
    rows = [await Conversation.objects.acreate(user=person, title=str(n)) for n in range(7)]
    await Conversation.objects.acreate(user=other, title="not yours")
    await Conversation.objects.filter(pk__in=[r.pk for r in rows[2:5]]).aupdate(updated_at=rows[2].updated_at)
    pages, cursor = [], ""
    while cursor is not None:
        answer = await body_of(await client.get(LIST, {"limit": 2, **({"cursor": cursor} if cursor else {})}))
        pages.append([row["title"] for row in answer["conversations"]])
        cursor = answer["next"]
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    titles = [title for page in pages for title in page]
    assert titles[:2] == ["6", "5"]
    assert titles[-2:] == ["1", "0"]
    assert sorted(titles) == [str(n) for n in range(7)]


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"limit": "101"}, {"cursor": "x"}, {"cursor": "💥"}])
async def test_a_page_that_cannot_be_found(client: AsyncClient, query: dict[str, str]) -> None:
    response = await client.get(LIST, query)
    assert (response.status_code, code(response)) == (422, "invalid_field")


async def test_the_list_names_the_active_run(client: AsyncClient, person: Any, agent: Any) -> None:
    run = (await in_thread(submit, person, "Hi", run_id="mine")).run
    (row,) = (await body_of(await client.get(LIST)))["conversations"]
    assert (row["active_run"], row["agent"]) == ("mine", "scripted")
    await in_thread(actions.request_stop, run)
    (row,) = (await body_of(await client.get(LIST)))["conversations"]
    assert row["active_run"] is None


async def test_messages_are_the_path_that_is_shown(client: AsyncClient, person: Any, agent: Any, execute: Any) -> None:
    """Raw text, from the first message to the last; an answer that was tried again is not on it."""
    text = "**Hi** <b>&amp;</b>\r\n\u2028 x"
    run = await execute((await in_thread(submit, person, text, thread_id="t/1", message_id="m1", run_id="r1")).run)
    again = await execute(await in_thread(actions.retry, person, run))
    asked, answered = (await body_of(await client.get(f"{LIST}t/1/messages")))["messages"]
    assert asked == {
        "id": "m1",
        "role": "user",
        "content": text,
        "created_at": asked["created_at"],
        "complete": True,
        "run": None,
        "status": None,
    }
    assert (answered["role"], answered["content"]) == ("assistant", "Hello, **world**!")
    assert (answered["run"], answered["status"], answered["complete"]) == (str(again.pk), "completed", True)
    by_our_id = await client.get(f"{LIST}{run.conversation_id}/messages")
    assert (await body_of(by_our_id))["messages"] == [asked, answered]


@pytest.mark.parametrize(
    "query, shown",
    [
        ({}, range(10)),
        ({"limit": "3"}, range(7, 10)),
        ({"limit": "500"}, range(10)),
        ({"before": 6}, range(6)),
        ({"before": 6, "limit": "2"}, range(4, 6)),
        ({"before": 0, "limit": "2"}, []),
    ],
)
async def test_a_part_of_the_messages(
    client: AsyncClient, person: Any, agent: Any, query: dict[str, Any], shown: Sequence[int]
) -> None:
    """From the first to the last, as always; `before` is an id that the answer had."""
    conversation = await in_thread(grown, person, agent, 10)
    path = f"{LIST}{conversation.pk}/messages"
    whole = (await body_of(await client.get(path)))["messages"]
    if "before" in query:
        query = {**query, "before": whole[query["before"]]["id"]}
    part = (await body_of(await client.get(path, query)))["messages"]
    assert part == [whole[n] for n in shown]


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "501"}, {"before": "nobody"}, {"before": "\0"}])
async def test_a_part_that_cannot_be_found(client: AsyncClient, person: Any, agent: Any, query: dict[str, str]) -> None:
    conversation = await in_thread(grown, person, agent, 2)
    response = await client.get(f"{LIST}{conversation.pk}/messages", query)
    assert (response.status_code, code(response)) == (422, "invalid_field")


# --- cost -----------------------------------------------------------------------------------


def test_a_page_of_conversations_costs_two_queries(person: Any, agent: Any, django_assert_num_queries: Any) -> None:
    """The conversations with their agents, and their active runs."""
    for n in range(3):
        submit(person, f"Hi {n}")
    request = RequestFactory().get(LIST)
    with django_assert_num_queries(2):
        answer = conversations.list_conversations(request, Identity(person))
    assert all(row["active_run"] for row in answer["conversations"])


def test_messages_cost_three_queries(person: Any, agent: Any, django_assert_num_queries: Any) -> None:
    """However many they are: two to find the conversation by either id, one for all messages."""
    run = submit(person, "Hi").run
    with django_assert_num_queries(3):
        conversations.list_messages(RequestFactory().get("/"), Identity(person), str(run.conversation_id))


def test_a_token_costs_one_query(person: Any, token: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert tokens.find(token) == person
