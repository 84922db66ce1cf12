"""Server-sent events: from where they begin, how they end, and what an open stream costs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application
from django.db import connections
from django.test import AsyncClient

from llmapp import submit
from llmapp.api import sse
from llmapp.api.bridge import briefly, in_thread
from llmapp.core.events import TERMINAL
from llmapp.models import Run, RunEvent
from llmapp.runs import actions
from llmapp.runs.hub import get_hub
from tests.runs.support import ANY_EVENT

from .support import code, parse_stream, post, read_stream, seqs, start

pytestmark = pytest.mark.usefixtures("hub")

LONG = [{"text": "word " * 100}]


@pytest.fixture
async def run(person: Any, agent: Any, execute: Any) -> Run:
    """A run that is over."""
    ended: Run = await execute((await in_thread(submit, person, "Hi", run_id="r", thread_id="t")).run)
    return ended


@pytest.fixture
async def queued(person: Any, agent: Any) -> Run:
    started: Run = (await in_thread(submit, person, "Hi", run_id="r", thread_id="t")).run
    return started


async def events(client: AsyncClient, query: str = "", **headers: str) -> list[dict[str, Any]]:
    return await read_stream(await client.get(f"/api/runs/r/events{query}", headers=headers))


async def test_a_whole_run_is_a_stream_that_ag_ui_accepts(client: AsyncClient, run: Run) -> None:
    """Every event validates, `id:` counts from 1, and nothing follows the end."""
    found = await events(client)
    assert seqs(found) == list(range(1, len(found) + 1))
    for event in found:
        ANY_EVENT.validate_python({key: value for key, value in event.items() if key != "seq"})
    assert (found[0]["type"], found[0]["threadId"], found[0]["runId"]) == ("RUN_STARTED", "t", "r")
    assert [event["seq"] for event in found if event["type"] in TERMINAL] == [len(found)]


async def test_where_a_stream_begins(client: AsyncClient, run: Run) -> None:
    """At `Last-Event-ID`, else at `?after=`, else at the start."""
    whole = await events(client)
    assert await events(client, "?after=0") == whole
    assert await events(client, "?after=2") == whole[2:]
    assert await events(client, "?after=2", **{"Last-Event-ID": "3"}) == whole[3:]
    assert await events(client, "?after=2", **{"Last-Event-ID": ""}) == whole[2:]
    assert await events(client, "?after=") == whole


async def test_behind_the_end_there_is_nothing(client: AsyncClient, run: Run) -> None:
    """The stream closes all the same. A reader that has more than there is gets the thread anew."""
    last = seqs(await events(client))[-1]
    async with asyncio.timeout(5):
        assert await events(client, f"?after={last}") == []
        snapshot, end = await events(client, f"?after={last + 5}")
    assert (snapshot["type"], end["type"]) == ("MESSAGES_SNAPSHOT", "RUN_FINISHED")


async def test_a_log_with_a_hole_ends_with_the_final_message(client: AsyncClient, run: Run) -> None:
    """Numbers go up all the same, so that nobody takes it for a loss on the way."""
    whole = await events(client)
    await in_thread(RunEvent.objects.filter(run=run, seq__in=[3, 4]).delete)
    async with asyncio.timeout(5):
        found = await events(client)
    assert found[:2] == whole[:2]
    assert seqs(found) == [1, 2, len(whole) - 1, len(whole)]
    assert (found[2]["type"], found[3]) == ("MESSAGES_SNAPSHOT", whole[-1])
    assert found[2]["messages"][-1]["content"]


async def test_who_has_more_than_there_is_of_a_run_that_goes_on_begins_anew(client: AsyncClient, queued: Run) -> None:
    """The number of the message that says so is 0: who comes back with it gets all."""
    await in_thread(actions.request_stop, queued)
    whole = await events(client)
    await in_thread(Run.objects.filter(pk=queued.pk).update, status="queued", ended_at=None)
    await in_thread(RunEvent.objects.filter(run=queued, seq=2).delete)
    reading = asyncio.create_task(events(client, "?after=9"))
    await asyncio.sleep(0.5)
    await in_thread(actions.request_stop, await in_thread(Run.objects.get, pk=queued.pk))
    async with asyncio.timeout(10):
        found = await reading
    assert (found[0]["name"], seqs(found)) == ("llmapp.reload", [0, 1, 2])
    assert [event["type"] for event in found[1:]] == [event["type"] for event in whole]


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "²", "99999999999", "3 4"])
async def test_a_place_that_cannot_be_one(client: AsyncClient, run: Run, value: str) -> None:
    for response in [
        await client.get("/api/runs/r/events", {"after": value}),
        await client.get("/api/runs/r/events", headers={"Last-Event-ID": value}),
    ]:
        assert (response.status_code, code(response)) == (422, "invalid_field")


async def test_a_reader_follows_a_run_while_it_is_written(client: AsyncClient, scripted: Any, background: Any) -> None:
    """The post's own answer and a second reader see the same."""
    await in_thread(scripted, LONG, speed=500)
    first = await start(client, runId="r")
    run = await Run.objects.aget()
    work = background(run.pk)
    found, second = await asyncio.gather(read_stream(first), events(client))
    await work
    assert found == second
    assert "".join(e.get("delta", "") for e in found if e["type"] == "TEXT_MESSAGE_CONTENT") == "word " * 100


async def test_closing_a_stream_does_not_stop_the_run(client: AsyncClient, scripted: Any, background: Any) -> None:
    await in_thread(scripted, LONG, speed=500)
    response = await start(client, runId="r")
    run = await Run.objects.aget()
    work = background(run.pk)
    stream = aiter(response)
    await anext(stream)
    await stream.aclose()
    await work
    assert (await Run.objects.aget()).status == "completed"


async def test_silence_is_broken_by_comments(client: AsyncClient, queued: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no events."""
    monkeypatch.setattr(sse, "COMMENT_EVERY", 0.05)
    monkeypatch.setattr(sse, "TICK", 0.02)
    response = await client.get("/api/runs/r/events")
    stream = aiter(response)
    chunks = [await anext(stream) for _ in range(3)]
    assert parse_stream(chunks[0].decode())[0]["type"] == "RUN_STARTED"
    assert chunks[1:] == [b": still here\n\n"] * 2
    await in_thread(actions.request_stop, queued)
    rest = b"".join([chunk async for chunk in stream]).decode()
    assert parse_stream(rest)[-1]["type"] == "RUN_FINISHED"


async def log_out(client: AsyncClient, person: Any) -> None:
    await client.alogout()


async def deactivate(client: AsyncClient, person: Any) -> None:
    await type(person).objects.filter(pk=person.pk).aupdate(is_active=False)


async def change_password(client: AsyncClient, person: Any) -> None:
    person.set_password("another one")
    await person.asave()


@pytest.mark.parametrize("lose", [log_out, deactivate, change_password])
async def test_who_loses_the_right_loses_the_stream(
    client: AsyncClient, person: Any, queued: Run, lose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with an error without a number: a client would take a mere end for a success."""
    monkeypatch.setattr(sse, "CONFIRM_EVERY", 0.1)
    monkeypatch.setattr(sse, "TICK", 0.02)
    response = await client.get("/api/runs/r/events")
    await lose(client, person)
    async with asyncio.timeout(5):
        found = await read_stream(response)
    assert (found[-1]["type"], found[-1]["code"], found[-1]["seq"]) == ("RUN_ERROR", "unauthenticated", 0)
    ANY_EVENT.validate_python(found[-1])


async def test_a_token_that_is_revoked_ends_its_streams(
    token: str, queued: Run, person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "CONFIRM_EVERY", 0.1)
    monkeypatch.setattr(sse, "TICK", 0.02)
    response = await AsyncClient().get("/api/runs/r/events", headers={"Authorization": f"Bearer {token}"})
    await person.llmapp_tokens.aupdate(revoked_at=queued.created_at)
    async with asyncio.timeout(5):
        assert (await read_stream(response))[-1]["type"] == "RUN_ERROR"


def test_rights_end_within_ten_seconds() -> None:
    assert sse.CONFIRM_EVERY + sse.TICK < 10


def open_connections() -> int:
    """Count this thread's open connections."""
    return sum(connection.connection is not None for connection in connections.all(initialized_only=True))


async def test_an_open_stream_holds_no_connection(
    client: AsyncClient, person: Any, queued: Run, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where connections are kept for later requests, and not after its rights were looked at."""
    monkeypatch.setattr(sse, "CONFIRM_EVERY", 0.05)
    monkeypatch.setattr(sse, "COMMENT_EVERY", 0.1)
    monkeypatch.setattr(sse, "TICK", 0.02)
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", None)
    async with ThreadSensitiveContext():  # what Django's handler gives to each request
        response = await client.get("/api/runs/r/events")
        stream = aiter(response)
        for _ in range(3):
            await anext(stream)
            assert await sync_to_async(open_connections)() == 0
        await stream.aclose()


async def test_briefly_closes_what_it_opened(transactional_db: None) -> None:
    def look() -> tuple[int, int]:
        list(Run.objects.all())
        return threading.get_ident(), open_connections()

    async with ThreadSensitiveContext():
        thread, opened = await briefly(look)
        assert opened == 1
        assert await sync_to_async(lambda: (threading.get_ident(), open_connections()))() == (thread, 0)


async def test_a_reader_of_a_deleted_run_is_let_go(
    client: AsyncClient, queued: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an error: the run has no end of its own any more."""
    monkeypatch.setattr(sse, "CONFIRM_EVERY", 0.1)
    monkeypatch.setattr(sse, "TICK", 0.02)
    response = await client.get("/api/runs/r/events")
    assert (await client.delete("/api/conversations/t")).status_code == 204
    async with asyncio.timeout(5):
        assert (await read_stream(response))[-1]["type"] == "RUN_ERROR"


async def test_a_reader_that_hangs_up_leaves_nothing_behind(client: AsyncClient, queued: Run) -> None:
    """Seen as the server sees it: the hub has no reader left."""
    cookie = "; ".join(f"{c.key}={c.value}" for c in client.cookies.values()).encode()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/api/runs/r/events",
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"cookie", cookie)],
    }
    browser = ApplicationCommunicator(get_asgi_application(), scope)
    await browser.send_input({"type": "http.request", "body": b""})
    assert (await browser.receive_output(timeout=5))["status"] == 200
    assert b"RUN_STARTED" in (await browser.receive_output(timeout=5))["body"]
    assert queued.pk in get_hub()._runs
    await browser.send_input({"type": "http.disconnect"})
    await browser.wait(timeout=5)
    assert not get_hub()._runs


async def test_stop_reaches_an_open_stream_at_once(client: AsyncClient, queued: Run) -> None:
    response = await client.get("/api/runs/r/events")
    reading = asyncio.create_task(read_stream(response))
    await asyncio.sleep(0.1)
    await post(client, "/api/runs/r/stop")
    async with asyncio.timeout(2):
        assert (await reading)[-1]["type"] == "RUN_FINISHED"
