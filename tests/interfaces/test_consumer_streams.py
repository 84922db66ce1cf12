"""The websocket's streams: which runs it follows, from where, and for how long it stays open."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.test import AsyncClient

from llmapp import consumers, submit
from llmapp.api import admission, subscriptions, workers
from llmapp.api.bridge import in_thread
from llmapp.models import Conversation, Message, Run, RunEvent
from llmapp.runs import actions, lease, thread
from llmapp.runs.hub import get_hub

from .support import Socket, seqs

pytestmark = pytest.mark.usefixtures("hub", "quick")

LONG = [{"text": "word " * 100}]
FRESH = workers.FRESH


# --- following ------------------------------------------------------------------------------


@pytest.fixture
async def ended(person: Any, chat: Conversation, agent: Any, execute: Any) -> Run:
    run: Run = await execute((await in_thread(submit, person, "Hi", conversation=chat, run_id="r")).run)
    return run


async def test_several_turns_on_one_socket_are_one_path(
    chat: Conversation, socket: Socket, execute: Any, agent: Any
) -> None:
    """The row that the socket was opened on is old by the second turn; each message follows the last answer."""
    for number in range(3):
        await socket.say(type="send", text=f"turn {number}")
        await socket.hear("run", status="queued")
        await execute(await in_thread(Run.objects.order_by("-created_at").first))
        await socket.hear("run", status="completed")
    leaf = await in_thread(lambda: Conversation.objects.get(pk=chat.pk).leaf_id)
    told = await in_thread(thread.history, leaf)
    assert [message.role for message in told] == ["user", "assistant"] * 3


async def test_an_ended_run_is_followed_on_request(ended: Run, socket: Socket) -> None:
    """From the start, or from where the client is; and as often as it asks."""
    await socket.say(type="subscribe", run="r")
    whole = await socket.hear_run("r")
    assert seqs(whole) == list(range(1, len(whole) + 1))
    for after in [4, 4, 0]:
        await socket.say(type="subscribe", run="r", after=after)
        assert await socket.hear_run("r") == whole[after:]


async def test_a_log_with_a_hole_ends_with_the_final_message(ended: Run, socket: Socket) -> None:
    """As often as it is asked for: the page takes the message when it comes over the same hole again."""
    await socket.say(type="subscribe", run="r")
    last = seqs(await socket.hear_run("r"))[-1]
    await in_thread(RunEvent.objects.filter(run=ended, seq__in=[3, 4]).delete)
    for after, expected in [(0, [1, 2, last - 1, last]), (2, [last - 1, last])]:
        await socket.say(type="subscribe", run="r", after=after)
        heard = await socket.hear_run("r")
        assert seqs(heard) == expected
        assert heard[-2]["event"]["type"] == "MESSAGES_SNAPSHOT"


async def test_a_run_is_known_by_our_id_too(ended: Run, socket: Socket) -> None:
    """Events come under the name that the client gave it."""
    await socket.say(type="subscribe", run=str(ended.pk))
    assert {frame["run"] for frame in await socket.hear_run()} == {"r"}


async def test_a_run_that_is_active_already_is_only_announced(
    chat: Conversation, client: AsyncClient, person: Any, scripted: Any, background: Any
) -> None:
    """The page knows how far it is, and says so: after a reload nothing is missed and nothing comes twice."""
    await in_thread(scripted, LONG, speed=500)
    run = (await in_thread(submit, person, "Hi", conversation=chat, run_id="r")).run
    socket = Socket(chat.pk, client)
    await socket.open()
    await socket.hear("run", run="r", status="queued")
    work = background(run.pk)
    await socket.hear("run", run="r", status="in_progress")
    await socket.say(type="subscribe", run="r", after=2)
    heard = await socket.hear_run("r")
    assert seqs(heard) == list(range(3, 3 + len(heard)))
    await work
    await socket.disconnect()


async def test_a_run_that_begins_between_the_look_and_the_first_news_is_followed(
    chat: Conversation, client: AsyncClient, person: Any, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not active when the socket opened, whatever the hub finds when it comes to look."""
    admitted = admission.admit

    def then_a_run_begins(scope: Any) -> Any:
        result = admitted(scope)
        submit(person, "Hi", conversation=chat)
        return result

    monkeypatch.setattr(consumers, "admit", then_a_run_begins)
    socket = Socket(chat.pk, client)
    await socket.open()
    await socket.hear("run", status="queued")
    assert (await socket.hear("event"))["seq"] == 1
    await socket.disconnect()


async def test_the_first_subscribe_to_a_run_of_this_socket_brings_nothing_twice(
    socket: Socket, scripted: Any, background: Any
) -> None:
    """The second one starts again from where it says."""
    await in_thread(scripted, LONG, speed=500)
    await socket.say(type="send", text="Hi")
    run = (await socket.hear("run"))["run"]
    first = await socket.hear("event")
    await socket.say(type="subscribe", run=run, after=0)
    work = background(uuid.UUID(run))
    heard = [first, *await socket.hear_run()]
    assert seqs(heard) == list(range(1, len(heard) + 1))
    await work
    await socket.say(type="subscribe", run=run, after=1)
    assert await socket.hear_run() == heard[1:]


async def test_a_socket_follows_only_so_many_runs(
    socket: Socket, client: AsyncClient, person: Any, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "LIMIT", 0)
    await socket.say(type="send", text="Hi")
    run = (await socket.hear("run"))["run"]
    await socket.say(type="subscribe", run=run, after=1000)
    error = await socket.hear("error")
    assert (error["code"], error["run"]) == ("too_many_subscriptions", run)


async def test_events_pass_on_as_the_text_that_they_are(ended: Run, socket: Socket) -> None:
    """No event is parsed on its way."""
    stored = [row.data async for row in ended.events.order_by("seq")]
    await socket.say(type="subscribe", run="r")
    for seq, data in enumerate(stored, start=1):
        while '"type":"event"' not in (frame := await socket.receive_from()):
            pass
        assert frame == f'{{"type":"event","run":"r","seq":{seq},"event":{data}}}'


async def test_a_slow_client_is_waited_for(ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read ahead of what the socket has taken."""
    sent: list[str] = []
    taken = asyncio.Event()

    async def send(text: str) -> None:
        sent.append(text)
        await taken.wait()

    followed = subscriptions.Subscriptions(send, asyncio.create_task)
    await followed.subscribe(ended.pk, "r", 0)
    await asyncio.sleep(0.3)
    assert len(sent) == 1
    taken.set()
    await asyncio.sleep(0.3)
    assert len(sent) == await ended.events.acount()


# --- leaving --------------------------------------------------------------------------------


async def log_out(client: AsyncClient, person: Any, chat: Conversation) -> None:
    await client.alogout()


async def change_password(client: AsyncClient, person: Any, chat: Conversation) -> None:
    person.set_password("another one")
    await person.asave()


async def deactivate(client: AsyncClient, person: Any, chat: Conversation) -> None:
    await type(person).objects.filter(pk=person.pk).aupdate(is_active=False)


async def delete(client: AsyncClient, person: Any, chat: Conversation) -> None:
    await in_thread(actions.delete, chat)


ENDS = [(log_out, 4401), (change_password, 4401), (deactivate, 4403), (delete, 4404)]


@pytest.mark.parametrize("lose, close_code", ENDS)
async def test_who_loses_the_right_loses_the_socket(
    socket: Socket,
    client: AsyncClient,
    person: Any,
    chat: Conversation,
    monkeypatch: pytest.MonkeyPatch,
    lose: Any,
    close_code: int,
) -> None:
    """Without a word from the client."""
    monkeypatch.setattr(consumers, "CONFIRM_EVERY", 0.0)
    await lose(client, person, chat)
    assert await socket.hear_close() == close_code


@pytest.mark.parametrize("kind", ["send", "subscribe", "stop", "retry"])
@pytest.mark.parametrize("lose, close_code", ENDS)
async def test_rights_are_looked_at_with_every_frame(
    socket: Socket, client: AsyncClient, person: Any, chat: Conversation, lose: Any, close_code: int, kind: str
) -> None:
    """What was asked for is not done."""
    await lose(client, person, chat)
    await socket.say(type=kind, text="Hi", run="r")
    assert await socket.hear_close(timeout=1) == close_code
    assert not await Message.objects.aexists()


def test_rights_end_within_ten_seconds() -> None:
    assert consumers.CONFIRM_EVERY + FRESH <= 10


async def test_a_socket_whose_reading_fails_sends_its_client_round_again(
    chat: Conversation, client: AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def announcements(conversation_pk: uuid.UUID) -> AsyncIterator[Any]:
        raise RuntimeError("the database is away")
        yield

    monkeypatch.setattr(get_hub(), "announcements", announcements)
    socket = Socket(chat.pk, client)
    await socket.open()
    assert await socket.hear_close() == 1011
    assert "the database is away" in caplog.text


async def test_a_socket_that_closes_leaves_nothing_behind(chat: Conversation, client: AsyncClient, agent: Any) -> None:
    """No reader in the hub, no task on the loop."""
    before = asyncio.all_tasks()
    socket = Socket(chat.pk, client)
    await socket.open()
    await socket.say(type="send", text="Hi")
    await socket.hear("event")
    await socket.disconnect()
    await asyncio.sleep(0.1)
    assert not get_hub()._runs
    assert not get_hub()._conversations
    assert asyncio.all_tasks() == before


# --- the worker -----------------------------------------------------------------------------


async def test_the_page_learns_whether_a_worker_is_there(socket: Socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """On opening, and when it changes."""
    assert (await socket.hear("status"))["worker"] is False
    worker = await in_thread(lease.register, 1, {})
    assert (await socket.hear("status"))["worker"] is True
    await in_thread(lease.stopped, worker.pk)
    assert (await socket.hear("status"))["worker"] is False


async def test_all_sockets_share_one_look(
    chat: Conversation, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        return True

    monkeypatch.setattr(workers, "any_alive", look)
    monkeypatch.setattr(workers, "FRESH", 60)
    sockets = [Socket(chat.pk, client) for _ in range(5)]
    for socket in sockets:
        await socket.open()
        await socket.hear("status", worker=True)
    assert looks == 1
    for socket in sockets:
        await socket.disconnect()
