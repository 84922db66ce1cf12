"""Visitors without an account, at every door: what opens to them, what does not, and how floods end."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.signals import user_logged_in
from django.core.asgi import get_asgi_application
from django.test import AsyncClient, Client

from llmapp import consumers, submit
from llmapp.api import seats, sse
from llmapp.api.bridge import in_thread
from llmapp.api.visitors import take_along
from llmapp.models import AgentSettings, Run, Visitor
from llmapp.runs import actions, limits

from .support import Socket, code, post, read_stream, start
from .test_access import DOORS, knock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub")]

PAGE = "/chat/embed/scripted/"


@pytest.fixture(autouse=True)
def _nobody_was_told() -> None:
    limits._told.clear()


@pytest.fixture
def agent(scripted: Any, enqueued: Any) -> AgentSettings:
    made: AgentSettings = scripted(access="public")
    return made


class Browser(AsyncClient):
    """A browser at an address of the network."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def _base_scope(self, **request: Any) -> Any:
        return {**super()._base_scope(**request), "client": [self.address, 5000]}


async def come(address: str = "203.0.113.9") -> AsyncClient:
    """Open a page with the chat in it, in a browser of one's own."""
    client = Browser(address)
    response = await client.get(PAGE)
    assert response.status_code == 200
    return client


@pytest.fixture
async def visitor(agent: AgentSettings) -> AsyncClient:
    return await come()


@pytest.fixture
def limit(settings: Any) -> Callable[..., None]:
    def limit(**given: int) -> None:
        settings.LLMAPP = {**settings.LLMAPP, **given}

    return limit


async def said(client: AsyncClient, text: str = "Secret", **fields: Any) -> Run:
    response = await start(client, {"id": uuid.uuid4().hex, "role": "user", "content": text}, **fields)
    assert response.status_code == 200, response.content
    return await Run.objects.select_related("conversation").alatest("created_at")


# --- coming ---------------------------------------------------------------------------------


def test_a_page_begins_a_visit_and_a_row_comes_with_the_first_message(agent: AgentSettings) -> None:
    client = Client()
    content = client.get(PAGE).content.decode()
    assert '"agent": "scripted"' in content
    assert '"visitor": true' in content
    assert '"limit": 4000' in content
    assert not Visitor.objects.exists()
    known = client.session["llmapp_visitor"]
    client.get(PAGE)
    assert client.session["llmapp_visitor"] == known
    assert json.loads(client.get("/api/status").content) == {"worker": False}


@pytest.mark.parametrize("change", [{"access": "authenticated"}, {"access": "staff"}, {"enabled": False}])
def test_an_agent_that_is_not_public_begins_none(agent: AgentSettings, change: Any) -> None:
    AgentSettings.objects.update(**change)
    client = Client()
    assert "Sign in to chat" in client.get(PAGE).content.decode()
    assert "llmapp_visitor" not in client.session
    assert client.get("/api/status").status_code == 401


def test_nor_does_one_that_is_not_there(agent: AgentSettings) -> None:
    client = Client()
    assert "Sign in to chat" in client.get("/chat/embed/unknown/").content.decode()
    assert "llmapp_visitor" not in client.session


@pytest.mark.parametrize("value", ["", "nonsense", 7, None, ["x"]])
def test_a_session_with_nonsense_in_it_is_nobody_s(agent: AgentSettings, value: Any) -> None:
    client = Client()
    session = client.session
    session["llmapp_visitor"] = value
    session.save()
    client.cookies["sessionid"] = session.session_key
    assert client.get("/api/status").status_code == 401


async def test_without_a_visit_everything_is_as_for_nobody(agent: AgentSettings) -> None:
    for method, path in [("POST", "/api/agents/scripted/runs"), ("GET", "/api/status"), ("GET", "/api/runs/x")]:
        response = await getattr(AsyncClient(), method.lower())(path)
        assert (response.status_code, code(response)) == (401, "unauthenticated")


async def test_a_visitor_has_no_chat_page_no_list_and_no_health_details(visitor: AsyncClient) -> None:
    await said(visitor)
    for path in ["/chat/", f"/chat/{uuid.uuid4()}/"]:
        response = await visitor.get(path)
        assert (response.status_code, response["Location"]) == (302, f"/accounts/login/?next={path}")
    for method in ["get", "post"]:
        assert (await getattr(visitor, method)("/api/conversations/")).status_code == 401
    assert b"{" not in (await visitor.get("/health/ready")).content


async def test_a_bad_token_is_not_a_visitor(visitor: AsyncClient) -> None:
    for path in [PAGE, "/api/status"]:
        response = await visitor.get(path, headers={"Authorization": "Bearer llmapp_bad"})
        assert (response.status_code, code(response)) == (401, "unauthenticated")


async def test_csrf_is_asked_of_visitors_too(agent: AgentSettings) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    page = (await client.get(PAGE)).content.decode()
    refused = await start(client)
    assert (refused.status_code, code(refused)) == (403, "csrf_failed")
    token = re.search(r'"csrf": "(\w+)"', page)
    assert token
    assert (await start(client, headers={"X-CSRFToken": token[1]})).status_code == 200


# --- chatting -------------------------------------------------------------------------------


async def test_a_visitor_asks_stops_and_tries_again_over_http(visitor: AsyncClient, execute: Any) -> None:
    run = await said(visitor)
    await execute(run)
    events = await read_stream(await visitor.get(f"/api/runs/{run.pk}/events"))
    assert events[-1]["type"] == "RUN_FINISHED"
    assert json.loads((await visitor.get(f"/api/runs/{run.pk}")).content)["status"] == "completed"
    again = await post(visitor, f"/api/runs/{run.pk}/retry")
    assert again.status_code == 202
    new = json.loads(again.content)["run"]
    assert (await post(visitor, f"/api/runs/{new}/stop")).status_code == 202
    assert (await Run.objects.aget(pk=new)).status == "cancelled"


async def test_a_visitor_asks_over_the_socket(visitor: AsyncClient, background: Any, quick: None) -> None:
    first = await said(visitor)
    await in_thread(actions.request_stop, first)
    socket = Socket(first.conversation_id, visitor)
    assert await socket.open()
    await socket.say(type="send", id="m2", text="Hi")
    await socket.hear("run", status="queued")
    work = background((await Run.objects.alatest("created_at")).pk)
    heard = await socket.hear_run()
    await work
    assert heard[-1]["event"]["outcome"] == {"type": "success"}
    await socket.disconnect()
    assert await Visitor.objects.acount() == 1


async def test_the_page_is_loaded_again_and_asks_for_news(visitor: AsyncClient, execute: Any) -> None:
    run = await said(visitor)
    path = f"{PAGE}{run.conversation_id}/"
    page = (await visitor.get(path)).content.decode()
    assert "Secret" in page
    version = re.search(r'data-thread="(\w+)"', page)
    assert version
    assert (await visitor.get(f"{path}?thread={version[1]}")).status_code == 204
    await execute(run)
    news = await visitor.get(f"{path}?thread={version[1]}")
    assert news.status_code == 200
    assert news.content.decode().lstrip().startswith('<div class="llmapp-thread"')


async def test_who_has_lost_the_session_is_told_so_and_begins_no_visit(visitor: AsyncClient) -> None:
    run = await said(visitor)
    client = AsyncClient()
    response = await client.get(f"{PAGE}{run.conversation_id}/?thread=x")
    assert response.status_code == 302
    assert "sessionid" not in client.cookies


# --- somebody else's ------------------------------------------------------------------------

#: Doors that are shut to visitors altogether.
SHUT = ("api-conversation", "api-messages", "conversation")


@pytest.mark.parametrize("name, method, path, body", DOORS)
@pytest.mark.parametrize("whose", ["another visitor's", "a user's"])
async def test_somebody_else_s_is_not_there(
    visitor: AsyncClient, person: Any, whose: str, name: str, method: str, path: str, body: Any
) -> None:
    """By our id and by the owner's own; what a visitor has no use for is not even asked about."""
    if whose == "a user's":
        run = (await in_thread(submit, person, "Secret", thread_id="thread", run_id="run")).run
    else:
        run = await said(await come(), threadId="thread", runId="run")
    shut = {"conversation": 302}.get(name, 401) if name in SHUT else 404
    for c, r in [(run.conversation_id, run.pk), ("thread", "run")]:
        if name in ("embedded-conversation", "conversation", "api-runs") and c == "thread":
            continue
        response = await knock(visitor, method, path, body, c, r)
        assert response.status_code == shut
        assert b"Secret" not in response.content
    assert not await Socket(run.conversation_id, visitor).open()
    assert (await Run.objects.aget()).status == "queued"


@pytest.mark.parametrize("name, method, path, body", DOORS)
async def test_a_visitor_s_is_not_there_for_users(
    visitor: AsyncClient, stranger: AsyncClient, name: str, method: str, path: str, body: Any
) -> None:
    run = await said(visitor)
    response = await knock(stranger, method, path, body, run.conversation_id, run.pk)
    assert response.status_code == 404
    assert b"Secret" not in response.content
    assert not await Socket(run.conversation_id, stranger).open()
    assert (await Run.objects.aget()).status == "queued"


@pytest.mark.parametrize("kind", ["subscribe", "stop", "retry"])
async def test_frames_about_somebody_else_s_run(visitor: AsyncClient, kind: str) -> None:
    own, other = await said(visitor), await said(await come())
    socket = Socket(own.conversation_id, visitor)
    assert await socket.open()
    await socket.say(type=kind, run=str(other.pk))
    assert (await socket.hear("error"))["code"] == "not_found"
    await socket.disconnect()


# --- the end of it --------------------------------------------------------------------------


async def log_in(client: AsyncClient, person: Any, run: Run) -> None:
    await client.aforce_login(person)


async def end_session(client: AsyncClient, person: Any, run: Run) -> None:
    await in_thread(client.session.flush)


async def make_private(client: AsyncClient, person: Any, run: Run) -> None:
    await AgentSettings.objects.aupdate(access="authenticated")


async def disable(client: AsyncClient, person: Any, run: Run) -> None:
    await AgentSettings.objects.aupdate(enabled=False)


async def delete(client: AsyncClient, person: Any, run: Run) -> None:
    await in_thread(actions.delete, run.conversation)


ENDS = [(log_in, 4401), (end_session, 4401), (make_private, 4403), (disable, 4403), (delete, 4404)]


@pytest.mark.parametrize("lose, close_code", ENDS)
async def test_who_loses_the_right_loses_the_socket(
    visitor: AsyncClient, person: Any, quick: None, monkeypatch: pytest.MonkeyPatch, lose: Any, close_code: int
) -> None:
    """Without a word from the client."""
    monkeypatch.setattr(consumers, "CONFIRM_EVERY", 0.0)
    run = await said(visitor)
    socket = Socket(run.conversation_id, visitor)
    assert await socket.open()
    await lose(visitor, person, run)
    assert await socket.hear_close() == close_code


@pytest.mark.parametrize("kind", ["send", "subscribe", "stop", "retry"])
@pytest.mark.parametrize("lose, close_code", ENDS)
async def test_rights_are_looked_at_with_every_frame(
    visitor: AsyncClient, person: Any, lose: Any, close_code: int, kind: str
) -> None:
    run = await said(visitor)
    socket = Socket(run.conversation_id, visitor)
    assert await socket.open()
    await lose(visitor, person, run)
    await socket.say(type=kind, text="Hi", run=str(run.pk))
    assert await socket.hear_close(timeout=2) == close_code


@pytest.mark.parametrize("lose", [end_session, make_private, log_in])
async def test_a_stream_ends_with_the_right(
    visitor: AsyncClient, person: Any, monkeypatch: pytest.MonkeyPatch, lose: Any
) -> None:
    monkeypatch.setattr(sse, "CONFIRM_EVERY", 0.1)
    monkeypatch.setattr(sse, "TICK", 0.1)
    run = await said(visitor)
    response = await visitor.get(f"/api/runs/{run.pk}/events")
    await lose(visitor, person, run)
    last = (await read_stream(response))[-1]
    assert (last["seq"], last["code"]) == (0, "unauthenticated")
    assert "no longer open to you" in last["message"]


async def test_who_signs_in_takes_the_conversation_along(visitor: AsyncClient, person: Any) -> None:
    run = await said(visitor)
    await visitor.aforce_login(person)
    assert (await visitor.get(f"/chat/{run.conversation_id}/")).status_code == 200
    assert "Secret" in (await visitor.get(f"{PAGE}{run.conversation_id}/")).content.decode()
    assert (await visitor.get(f"/api/runs/{run.pk}")).status_code == 200
    assert not await Visitor.objects.aexists()
    assert "llmapp_visitor" not in await in_thread(lambda: dict(visitor.session))


@pytest.mark.parametrize("request_of", [None, object()])
def test_a_sign_in_without_a_session_is_nobody_s_visit(person: Any, request_of: Any) -> None:
    user_logged_in.send(sender=type(person), request=request_of, user=person)


def test_signing_in_without_a_visit_asks_nothing_of_the_database(person: Any, django_assert_num_queries: Any) -> None:
    request = type("Request", (), {"session": {}})()
    with django_assert_num_queries(0):
        take_along(request, person)


async def test_who_is_signed_in_uses_a_public_agent_as_themselves(
    client: AsyncClient, person: Any, agent: AgentSettings
) -> None:
    page = (await client.get(PAGE)).content.decode()
    assert '"visitor": false' in page
    run = await said(client)
    assert (run.user_id, run.visitor_id, run.address) == (person.pk, None, "")


# --- floods ---------------------------------------------------------------------------------


async def flood(client: AsyncClient, number: int) -> list[Any]:
    """Send without waiting for answers, which end at once; return the responses."""
    answers = []
    for _number in range(number):
        answers.append(await start(client, {"id": uuid.uuid4().hex, "role": "user", "content": "Hi"}))
        await in_thread(lambda: [actions.request_stop(run) for run in Run.objects.exclude(visitor=None)])
    return answers


@pytest.mark.parametrize("by", ["session", "address"])
async def test_a_flood_is_refused_and_other_people_s_chats_go_on(
    agent: AgentSettings, client: AsyncClient, limit: Any, by: str
) -> None:
    """By one session; or by a new session for every message, from one network, whatever the header says."""
    limit(VISITOR_SENDS_PER_MINUTE=3, ADDRESS_SENDS_PER_MINUTE=4)
    await said(elsewhere := await come("198.51.100.1"))
    first = await come()
    answers = await flood(first, 5) if by == "session" else []
    if by == "address":
        for number in range(6):
            one = await come()
            one.defaults["X-Forwarded-For"] = f"203.0.113.{number}"
            answers += await flood(one, 1)
    allowed = 3 if by == "session" else 4
    assert [answer.status_code for answer in answers] == [200] * allowed + [429] * (len(answers) - allowed)
    last = answers[-1]
    assert code(last) == "too_many_runs"
    assert 50 <= int(last["Retry-After"]) <= 60
    assert f"Try again in {last['Retry-After']} seconds." in json.loads(last.content)["error"]["message"]
    assert (await start(client)).status_code == 200
    assert [answer.status_code for answer in await flood(elsewhere, 1)] == [200]


async def test_behind_a_proxy_visitors_are_told_apart(agent: AgentSettings, limit: Any) -> None:
    """And a header that a client adds makes nobody else of it."""
    limit(ADDRESS_SENDS_PER_MINUTE=1, TRUSTED_PROXIES=1)
    statuses = []
    for forwarded in ["203.0.113.1", "9.9.9.9, 203.0.113.1", "203.0.113.2"]:
        one = await come("10.0.0.1")
        one.defaults["X-Forwarded-For"] = forwarded
        statuses += [answer.status_code for answer in await flood(one, 1)]
    assert statuses == [200, 429, 200]


async def test_a_flood_of_frames_is_refused_and_slowed_down(visitor: AsyncClient, limit: Any) -> None:
    limit(VISITOR_ACTIVE_RUNS=1)
    first = await said(visitor)
    socket = Socket(first.conversation_id, visitor)
    assert await socket.open()
    started = asyncio.get_running_loop().time()
    for number in range(3):
        await socket.say(type="send", id=f"m{number}", text="Hi")
    refused = [await socket.hear("error") for _ in range(3)]
    assert {(frame["code"], frame["retry_after"]) for frame in refused} == {("too_many_runs", 5)}
    assert [frame["id"] for frame in refused] == ["m0", "m1", "m2"]
    assert asyncio.get_running_loop().time() - started >= 2 * consumers.DEAF
    await socket.disconnect()


async def follow(client: AsyncClient, run: Run) -> ApplicationCommunicator:
    """Open a stream as a server does, which can hang up."""
    cookie = "; ".join(f"{c.key}={c.value}" for c in client.cookies.values()).encode()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"/api/runs/{run.pk}/events",
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"cookie", cookie)],
        "client": ["203.0.113.9", 4000],
    }
    stream = ApplicationCommunicator(get_asgi_application(), scope)
    await stream.send_input({"type": "http.request", "body": b""})
    assert (await stream.receive_output(timeout=5))["status"] == 200
    assert b"RUN_STARTED" in (await stream.receive_output(timeout=5))["body"]
    return stream


@pytest.mark.parametrize("by", ["VISITOR_SOCKETS", "ADDRESS_SOCKETS"])
async def test_sockets_and_streams_are_counted_together(visitor: AsyncClient, limit: Any, by: str) -> None:
    """A place is free again when one closes."""
    limit(**{by: 2})
    run = await said(visitor)
    socket, late = Socket(run.conversation_id, visitor), Socket(run.conversation_id, visitor)
    socket.scope["client"] = late.scope["client"] = ["203.0.113.9", 4000]
    assert await socket.open()
    streaming = await follow(visitor, run)
    refused = await visitor.get(f"/api/runs/{run.pk}/events")
    assert (refused.status_code, code(refused)) == (429, "too_many_streams")
    assert (await start(visitor)).status_code == 429
    assert not await late.open()
    await streaming.send_input({"type": "http.disconnect"})
    await streaming.wait(timeout=5)
    await socket.disconnect()
    assert not seats._open


async def test_a_long_message_is_refused_with_the_visitor_s_own_limit(visitor: AsyncClient, limit: Any) -> None:
    limit(VISITOR_MESSAGE_LENGTH=10)
    answer = await start(visitor, {"id": "m", "role": "user", "content": "x" * 11})
    assert (answer.status_code, code(answer)) == (413, "message_too_long")
