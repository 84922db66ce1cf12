"""The doors as Daphne holds them: refusals in the handshake, frames of every size, and readers that hang up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from llmapp import submit, tokens
from llmapp.models import Conversation
from llmapp.runs import actions
from tests.acceptance.agui.conftest import daphne, enqueued, person, process, scripted

__all__ = ["daphne", "enqueued", "person", "process", "scripted"]

pytestmark = pytest.mark.acceptance


@pytest.fixture
def chat(person: Any) -> Conversation:
    return Conversation.objects.create(user=person)


@pytest.fixture
def knock(daphne: str, person: Any, chat: Conversation) -> Callable[..., ClientConnection]:
    """Open a socket as a program does, with a token."""
    token = tokens.issue(person)

    def open_one(id: Any = chat.pk, **headers: str) -> ClientConnection:
        given = {"Authorization": f"Bearer {token}", **headers}
        url = daphne.replace("http", "ws", 1)
        return connect(f"{url}/ws/conversations/{id}/", additional_headers=given, max_size=None)

    return open_one


def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        frame: dict[str, Any] = json.loads(socket.recv(timeout=15))
        if frame["type"] == kind:
            return frame


def test_refusals_are_403_in_the_handshake(knock: Any) -> None:
    for id, headers in [
        ("unknown", {}),
        ("00000000-0000-4000-8000-000000000000", {}),
        (None, {"Authorization": "Bearer llmapp_wrong"}),
        (None, {"Origin": "http://evil.example"}),
    ]:
        with pytest.raises(InvalidStatus) as refusal:
            knock(*([id] if id else []), **headers)
        assert refusal.value.response.status_code == 403


def test_a_frame_that_is_too_large_is_named_and_one_that_is_far_too_large_closes(knock: Any) -> None:
    """Daphne itself takes at most 1 MiB."""
    with knock() as socket:
        socket.send(json.dumps({"type": "send", "text": "x" * 600_000}))
        assert hear(socket, "error")["code"] == "frame_too_large"
        socket.send(b"\x00")
        assert hear(socket, "error")["code"] == "invalid_frame"
        socket.send(json.dumps({"type": "send", "text": "x" * 1_200_000}))
        with pytest.raises(ConnectionClosed):
            hear(socket, "error")


def test_an_answer_reaches_two_sockets(knock: Any, scripted: Any, process: Any) -> None:
    scripted([{"text": "word " * 100}])
    with knock() as first, knock() as second:
        first.send(json.dumps({"type": "send", "id": "m1", "text": "Hi"}))
        run = hear(first, "run")["run"]
        process.execute(run)
        for socket in (first, second):
            frames = [hear(socket, "event")]
            while frames[-1]["event"]["type"] != "RUN_FINISHED":
                frames.append(hear(socket, "event"))
            assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))


def test_a_stream_that_is_hung_up_leaves_the_run_alone(daphne: str, person: Any, chat: Any, scripted: Any) -> None:
    """And the server goes on to answer."""
    scripted()
    run = submit(person, "Hi", conversation=chat).run
    headers = {"Authorization": f"Bearer {tokens.issue(person)}"}
    for _ in range(5):
        with urlopen(Request(f"{daphne}/api/runs/{run.pk}/events", headers=headers), timeout=10) as stream:
            assert stream.readline() == b"id: 1\n"
    time.sleep(0.2)
    run.refresh_from_db()
    assert run.status == "queued"
    actions.request_stop(run)
    with urlopen(Request(f"{daphne}/api/runs/{run.pk}/events", headers=headers), timeout=10) as stream:
        assert b"RUN_FINISHED" in stream.read()


def test_a_sign_out_closes_the_socket_within_ten_seconds(knock: Any, person: Any) -> None:
    with knock() as socket:
        hear(socket, "status")
        person.llmapp_tokens.update(revoked_at="2020-01-01T00:00:00Z")
        revoked = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            hear(socket, "nothing more")
        assert time.monotonic() - revoked < 11
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
