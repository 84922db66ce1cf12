"""Someone else's is not there: every door, every kind of thing, three kinds of people.

A new address has to be added here, or `test_no_door_is_forgotten` fails.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import AsyncClient
from django.urls import URLPattern

from llmapp import submit, urls
from llmapp.api.bridge import in_thread
from llmapp.models import Conversation, Message, Run

from .support import Socket, code, run_input

pytestmark = pytest.mark.usefixtures("hub")

#: (name of the address, method, path, body); {c} and {r} are somebody else's conversation and run.
DOORS = [
    ("api-conversation", "GET", "/api/conversations/{c}", None),
    ("api-conversation", "PATCH", "/api/conversations/{c}", {"title": "Taken"}),
    ("api-conversation", "DELETE", "/api/conversations/{c}", None),
    ("api-messages", "GET", "/api/conversations/{c}/messages", None),
    ("api-run", "GET", "/api/runs/{r}", None),
    ("api-events", "GET", "/api/runs/{r}/events", None),
    ("api-events", "GET", "/api/runs/{r}/events?after=1", None),
    ("api-stop", "POST", "/api/runs/{r}/stop", None),
    ("api-retry", "POST", "/api/runs/{r}/retry", None),
    ("api-runs", "POST", "/api/agents/scripted/runs", {"threadId": "{c}"}),
    ("api-runs", "POST", "/api/agents/unknown/runs", {}),
    ("conversation", "GET", "/chat/{c}/", None),
    ("embedded-conversation", "GET", "/chat/embed/scripted/{c}/", None),
]
#: Pages, and how they ask for a sign-in. The embedded one shows a link: the sign-in cannot be shown in a frame.
PAGES = {"conversation": 302, "embedded-conversation": 200}
#: Doors that lead to nothing of anybody's in particular.
OPEN = {"chat", "embedded", "demo-sign-in", "api-conversations", "api-status", "health-live", "health-ready", "metrics"}

#: Ids that are nobody's. The last one is what a database might stumble over.
NOBODY_S = ["00000000-0000-4000-8000-000000000000", "unknown", "%00"]


@pytest.fixture
async def run(person: Any, agent: Any) -> Run:
    """A run of `person`, whom nobody else here is."""
    run: Run = (await in_thread(submit, person, "Secret", thread_id="thread", run_id="run")).run
    return run


async def knock(client: AsyncClient, method: str, path: str, body: Any, c: Any, r: Any, **headers: str) -> Any:
    data = json.dumps(run_input(**body) if "/agents/" in path else body or {}).replace("{c}", str(c))
    path = path.replace("{c}", str(c)).replace("{r}", str(r))
    query = {} if method == "GET" else {"data": data, "content_type": "application/json"}
    return await getattr(client, method.lower())(path, headers=headers, **query)


async def untouched(run: Run) -> bool:
    conversation = await Conversation.objects.aget(pk=run.conversation_id)
    fresh = await Run.objects.aget()
    counts = (await Conversation.objects.filter(user=run.user_id).acount(), await Message.objects.acount())
    return (conversation.title, fresh.status, counts) == ("Secret", "queued", (1, 1))


@pytest.mark.parametrize("name, method, path, body", DOORS)
async def test_somebody_else_s_is_not_there(
    stranger: AsyncClient, run: Run, name: str, method: str, path: str, body: Any
) -> None:
    """By our id and by the owner's own; and the answer is that for things which never were."""
    response = await knock(stranger, method, path, body, run.conversation_id, run.pk)
    assert response.status_code == 404
    if path.startswith("/api/"):
        assert code(response) == "not_found"
    assert b"Secret" not in response.content
    if name not in ("api-runs", *PAGES):
        by_name = await knock(stranger, method, path, body, "thread", "run")
        assert (by_name.status_code, by_name.content) == (404, response.content)
        for id in NOBODY_S:
            unknown = await knock(stranger, method, path, body, id, id)
            assert (unknown.status_code, unknown.content) == (404, response.content)
    assert await untouched(run)


@pytest.mark.parametrize("name, method, path, body", DOORS)
async def test_nobody_is_asked_to_sign_in(
    transactional_db: None, run: Run, name: str, method: str, path: str, body: Any
) -> None:
    """Pages by a way to the sign-in, programs by 401; a bad token is 401 everywhere."""
    response = await knock(AsyncClient(), method, path, body, run.conversation_id, run.pk)
    assert response.status_code == PAGES.get(name, 401)
    assert b"Secret" not in response.content
    bad = await knock(AsyncClient(), method, path, body, run.conversation_id, run.pk, Authorization="Bearer llmapp_bad")
    assert (bad.status_code, code(bad)) == (401, "unauthenticated")
    assert await untouched(run)


@pytest.mark.parametrize("name, method, path, body", [door for door in DOORS if door[1] == "GET"])
async def test_its_owner_is_let_in(client: AsyncClient, run: Run, name: str, method: str, path: str, body: Any) -> None:
    """So that the tests above refuse for the right reason; by a token too, pages included."""
    assert (await knock(client, method, path, body, run.conversation_id, run.pk)).status_code == 200


async def test_a_token_opens_pages(token: str, run: Run) -> None:
    for path in ["/chat/", f"/chat/{run.conversation_id}/"]:
        response = await AsyncClient().get(path, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 200


@pytest.mark.parametrize("kind", ["subscribe", "stop", "retry"])
async def test_frames_about_somebody_else_s_run(stranger: AsyncClient, other: Any, run: Run, kind: str) -> None:
    own = await Conversation.objects.acreate(user=other)
    socket = Socket(own.pk, stranger)
    assert await socket.open()
    for id in [str(run.pk), "run", "unknown"]:
        await socket.say(type=kind, run=id)
        assert (await socket.hear("error"))["code"] == "not_found"
    await socket.disconnect()
    assert await untouched(run)


@pytest.mark.parametrize("kind", ["subscribe", "stop", "retry"])
async def test_frames_about_a_run_of_another_conversation(
    client: AsyncClient, person: Any, run: Run, kind: str
) -> None:
    """One's own, even: a socket is for one conversation."""
    own = await Conversation.objects.acreate(user=person)
    socket = Socket(own.pk, client)
    assert await socket.open()
    await socket.say(type=kind, run=str(run.pk))
    assert (await socket.hear("error"))["code"] == "not_found"
    await socket.disconnect()
    assert (await Run.objects.aget()).status == "queued"


async def test_sockets_on_somebody_else_s_conversation(stranger: AsyncClient, run: Run) -> None:
    for id in [run.conversation_id, "thread", *NOBODY_S]:
        assert not await Socket(id, stranger).open()
    assert not await Socket(run.conversation_id).open()


def test_no_door_is_forgotten() -> None:
    names = {pattern.name for pattern in urls.urlpatterns if isinstance(pattern, URLPattern) and pattern.name}
    assert names == {door[0] for door in DOORS} | OPEN
