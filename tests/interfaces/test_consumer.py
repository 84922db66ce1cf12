"""The websocket: who may open it, what its frames do, and what it tells unasked."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.test import AsyncClient

from llmapp import submit
from llmapp.api import frames, seats
from llmapp.api.bridge import in_thread
from llmapp.models import Conversation, Message, Run
from llmapp.routing import websocket_application, websocket_urlpatterns
from llmapp.runs.bell import News
from llmapp.runs.hub import get_hub

from .support import Socket, seqs

pytestmark = pytest.mark.usefixtures("hub")


async def only_run() -> Run:
    return await Run.objects.aget()


# --- opening --------------------------------------------------------------------------------


ORIGINS = [
    ("http://testserver", True),
    ("https://testserver", True),  # behind a proxy that ends TLS, we see plain HTTP
    ("http://testserver:80", True),
    ("http://TESTSERVER", True),
    ("http://testserver:8000", False),
    ("http://evil.example", False),
    ("http://testserver.evil.example", False),
    ("http://evil-testserver", False),
    ("http://testserver@evil.example", False),
    ("null", False),
    ("file://testserver", False),
    ("http://testserver:x", False),
    ("http://[", False),
    ("", False),
    ("https://app.example", True),  # these are in CSRF_TRUSTED_ORIGINS
    ("http://app.example", False),
    ("https://a.sub.example", True),
    ("https://sub.example", True),
    ("https://a.sub.example:8443", False),
    ("https://asub.example", False),
]


@pytest.mark.parametrize("origin, welcome", ORIGINS)
async def test_only_the_site_s_own_pages_may_open_one(
    chat: Conversation, client: AsyncClient, settings: Any, origin: str, welcome: bool
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.example", "https://*.sub.example"]
    socket = Socket(chat.pk, client, headers={"Origin": origin})
    assert await socket.open() is welcome
    await socket.disconnect()


@pytest.mark.parametrize(
    "host, origin, welcome",
    [
        ("testserver:8000", "http://testserver:8000", True),
        ("testserver:8000", "http://testserver", False),
        ("[::1]:8000", "http://[::1]:8000", True),
        # A name that a stranger pointed at this machine is not one of the site's.
        ("evil.example", "http://evil.example", False),
    ],
)
async def test_origin_and_host_have_to_be_one(
    chat: Conversation, client: AsyncClient, host: str, origin: str, welcome: bool
) -> None:
    socket = Socket(chat.pk, client, headers={"Host": host, "Origin": origin})
    assert await socket.open() is welcome
    await socket.disconnect()


async def test_a_program_with_a_token_has_no_origin(chat: Conversation, token: str, client: AsyncClient) -> None:
    """With a foreign one it is refused like any page, and a bad token does not fall back to a session."""
    for headers, welcome in [
        ({"Origin": "", "Authorization": f"Bearer {token}"}, True),
        ({"Origin": "http://evil.example", "Authorization": f"Bearer {token}"}, False),
        ({"Authorization": "Bearer llmapp_wrong"}, False),
    ]:
        socket = Socket(chat.pk, client, headers=headers)
        assert await socket.open() is welcome
        await socket.disconnect()


async def test_strangers_are_refused_before_it_opens(chat: Conversation, stranger: AsyncClient) -> None:
    """Somebody else, nobody, and for a conversation that is not there."""
    for socket in [Socket(chat.pk, stranger), Socket(chat.pk), Socket(uuid.uuid4(), stranger), Socket("%00", stranger)]:
        assert not await socket.open()


@pytest.mark.parametrize("path", ["/ws/foo/", "/ws/", "/", "/ws/conversations/"])
async def test_an_address_that_is_none_is_refused_too(client: AsyncClient, path: str) -> None:
    """Closed before it opens, which a server answers with 403, and not an error."""
    socket = WebsocketCommunicator(websocket_application(), path)
    assert (await socket.connect())[0] is False
    await socket.disconnect()


async def test_a_site_without_sign_in_for_sockets_lets_only_tokens_in(chat: Conversation, token: str) -> None:
    """No session middleware, no user: not an error."""
    for headers, welcome in [({}, False), ({"Authorization": f"Bearer {token}"}, True)]:
        socket = Socket(chat.pk, headers=headers)
        socket.application = URLRouter(websocket_urlpatterns)
        assert await socket.open() is welcome
        await socket.disconnect()


async def test_a_conversation_is_known_by_the_client_s_name_too(client: AsyncClient, person: Any) -> None:
    await Conversation.objects.acreate(user=person, client_id="mine")
    socket = Socket("mine", client)
    assert await socket.open()
    await socket.disconnect()


async def test_sockets_are_counted(chat: Conversation, client: AsyncClient, settings: Any) -> None:
    """A place is free again when one closes, however it closes."""
    settings.LLMAPP = {**settings.LLMAPP, "MAX_SOCKETS_PER_USER": 1}
    first, second, third = (Socket(chat.pk, client) for _ in range(3))
    assert await first.open()
    assert not await second.open()
    first.future.cancel()
    await asyncio.sleep(0.1)
    assert await third.open()
    await third.disconnect()
    assert not seats._open


# --- sending --------------------------------------------------------------------------------


async def test_a_message_and_its_answer(socket: Socket, agent: Any, background: Any) -> None:
    """The run is announced, and its events come unasked, from the first to the terminal one."""
    await socket.say(type="send", id="m1", text="Hi")
    queued = await socket.hear("run")
    run = await only_run()
    assert queued == {"type": "run", "run": str(run.pk), "status": "queued"}
    work = background(run.pk)
    heard = await socket.hear_run()
    await work
    assert seqs(heard) == list(range(1, len(heard) + 1))
    assert {frame["run"] for frame in heard} == {str(run.pk)}
    assert heard[0]["event"]["input"]["messages"] == [{"id": "m1", "role": "user", "content": "Hi"}]
    assert heard[-1]["event"]["outcome"] == {"type": "success"}


async def test_statuses_are_told_to_every_socket(
    chat: Conversation, client: AsyncClient, agent: Any, background: Any
) -> None:
    """A second tab sees the run and its events as the first one does."""
    sockets = [Socket(chat.pk, client) for _ in range(2)]
    assert [await socket.open() for socket in sockets] == [True, True]
    await sockets[0].say(type="send", text="Hi")
    await sockets[0].hear("run", status="queued")
    work = background((await only_run()).pk)
    heard = await asyncio.gather(*(socket.hear_run() for socket in sockets))
    assert heard[0] == heard[1]
    for socket in sockets:
        await socket.hear("run", status="completed")
        await socket.disconnect()
    await work


async def test_each_status_is_told_once(socket: Socket, agent: Any, background: Any) -> None:
    await socket.say(type="send", text="Hi")
    told = [await socket.hear("run")]
    await background((await only_run()).pk)
    while told[-1]["status"] != "completed":
        told.append(await socket.hear("run"))
    assert [frame["status"] for frame in told] == ["queued", "in_progress", "completed"]


async def test_news_that_come_after_the_end_are_none(
    chat: Conversation, client: AsyncClient, person: Any, agent: Any, background: Any
) -> None:
    """A bell may ring late: a run that was over when the socket opened is neither announced nor sent again."""
    run = (await in_thread(submit, person, "Hi", conversation=chat)).run
    await background(run.pk)
    socket = Socket(chat.pk, client)
    assert await socket.open()
    await socket.hear("status")
    for seq, status in [(1, "queued"), (2, "in_progress"), (9, "completed")]:
        get_hub()._deliver([News(run.pk, seq, status, "{}", chat.pk, str(run.pk))])
    assert await socket.receive_nothing(0.3)
    await socket.disconnect()


async def test_the_same_message_again_is_the_first_run(socket: Socket, agent: Any) -> None:
    """The sender learns which; nothing is stored twice."""
    for _ in range(2):
        await socket.say(type="send", id="m1", text="Hi")
        await socket.hear("run", status="queued")
    assert (await Run.objects.acount(), await Message.objects.acount()) == (1, 1)


@pytest.mark.parametrize(
    "text, expected",
    [("", "message_empty"), (" \n", "message_empty"), ("x" * 100_001, "message_too_long"), (5, "invalid_field")],
    ids=["empty", "blank", "long", "number"],
)
async def test_what_cannot_be_sent(socket: Socket, agent: Any, text: Any, expected: str) -> None:
    """The error names the message by the client's id, so that its draft stays in the box."""
    await socket.say(type="send", id="m1", text=text)
    error = await socket.hear("error")
    assert (error["code"], error["id"]) == (expected, "m1")
    assert error["message"]
    assert not await Message.objects.aexists()


async def test_a_send_while_a_run_is_active(socket: Socket, agent: Any) -> None:
    await socket.say(type="send", id="m1", text="Hi")
    await socket.hear("run")
    await socket.say(type="send", id="m2", text="Hi")
    error = await socket.hear("error")
    assert (error["code"], error["id"]) == ("conversation_busy", "m2")
    assert (await Run.objects.acount(), await Message.objects.acount()) == (1, 1)


async def test_too_many_runs(socket: Socket, agent: Any, person: Any) -> None:
    for n in range(3):
        await in_thread(submit, person, f"Hi {n}")
    await socket.say(type="send", text="Hi")
    error = await socket.hear("error")
    assert error["code"] == "too_many_runs"
    assert error["retry_after"] > 0


async def test_no_agent_to_answer(socket: Socket) -> None:
    await socket.say(type="send", id="m1", text="Hi")
    assert (await socket.hear("error"))["code"] == "not_found"


async def test_stop_and_try_again(socket: Socket, agent: Any) -> None:
    await socket.say(type="send", text="Hi")
    first = (await socket.hear("run"))["run"]
    await socket.say(type="stop", run=first)
    await socket.hear("run", run=first, status="cancelled")
    await socket.say(type="retry", run=first)
    second = (await socket.hear("run", status="queued"))["run"]
    assert second != first
    assert (await socket.hear("event", run=second))["seq"] == 1


# --- bad frames -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame, expected",
    [
        (b"\x00\x01", "invalid_frame"),
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        ('"send"', "invalid_json"),
        ('{"type": "send", "text": "\\ud83d"}', "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ("{}", "unknown_type"),
        ('{"type": null}', "unknown_type"),
        ('{"type": {"a": 1}}', "unknown_type"),
        ('{"type": "SEND"}', "unknown_type"),
        ('{"type": "_send_frame"}', "unknown_type"),
        ('{"type": "websocket.disconnect"}', "unknown_type"),
        ('{"type": "send"}', "invalid_field"),
        ('{"type": "send", "text": "Hi", "id": 5}', "invalid_field"),
        ('{"type": "send", "text": "Hi", "id": ""}', "id_invalid"),
        ('{"type": "stop"}', "invalid_field"),
        ('{"type": "stop", "run": "x"}', "not_found"),
        ('{"type": "stop", "run": "a\\u0000b"}', "not_found"),
        ('{"type": "retry", "run": "x"}', "not_found"),
        ('{"type": "subscribe", "run": "x"}', "not_found"),
        ('{"type": "subscribe", "run": "x", "after": -1}', "invalid_field"),
        ('{"type": "subscribe", "run": "x", "after": true}', "invalid_field"),
        ('{"type": "subscribe", "run": "x", "after": 1.5}', "invalid_field"),
        ('{"type": "subscribe", "run": "x", "after": 1e99}', "invalid_field"),
        ('{"type": "approve", "approval": "x", "decision": "yes"}', "not_found"),
        ('{"type": "send", "text": "%s"}' % ("x" * frames.LIMIT), "frame_too_large"),
        ('{"type": "send", "text": "%s"}' % ("é" * (frames.LIMIT // 2)), "frame_too_large"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "binary",
)
async def test_a_bad_frame_is_named_and_the_socket_stays_open(
    socket: Socket, agent: Any, frame: str | bytes, expected: str
) -> None:
    await (socket.send_to(bytes_data=frame) if isinstance(frame, bytes) else socket.send_to(text_data=frame))
    assert (await socket.hear("error"))["code"] == expected
    await socket.say(type="send", text="Hi")
    await socket.hear("run", status="queued")


async def test_a_fault_of_ours_is_told_without_its_insides(
    socket: Socket, agent: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has them."""

    def broken(*args: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(frames, "send", broken)
    await socket.say(type="send", id="m1", text="Hi")
    error = await socket.hear("error")
    assert (error["code"], error["id"]) == ("internal_error", "m1")
    assert "secret" not in json.dumps(error)
    assert "secret" in caplog.text


async def test_errors_are_in_the_reader_s_language(chat: Conversation, client: AsyncClient) -> None:
    socket = Socket(chat.pk, client, headers={"Accept-Language": "zh-hans"})
    await socket.open()
    await socket.say(type="nothing")
    assert (await socket.hear("error"))["code"] == "unknown_type"
    await socket.disconnect()
