"""The site behind uvicorn, by the command of the docs."""

from __future__ import annotations

import json
import os
import re
import shlex
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.acceptance.conftest import TOML, fault
from tests.acceptance.test_runs import check
from tests.support.loopback import closed_port
from tests.support.programs import BIN, Programs
from tests.support.provider import Provider, answer_for
from tests.support.site import ROOT, sse, text_of

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

WORKER = "celery -A project worker -Q llmapp -P threads -c 8"


def command() -> list[str]:
    text = (ROOT / "docs" / "deployment.md").read_text()
    (line,) = re.findall(r"^uvicorn (.*--port 8000.*)$", text, re.M)
    return [str(BIN / "python"), "-m", "uvicorn", *shlex.split(line.replace("8000", str(closed_port())))]


@pytest.fixture(scope="module")
def site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    if find_spec("uvicorn") is None:
        assert not os.environ.get("CI"), "uvicorn is needed"
        pytest.skip("uvicorn is not here; install '.[test]' again: it is NOT tested")
    program, *arguments = shlex.split(WORKER)
    commands = {"web": command(), "worker": [str(BIN / program), *arguments]}
    home = tmp_path_factory.mktemp("uvicorn") / "home"
    with Programs(home, TOML.format(url=provider.url) + fault("slow"), commands) as made:
        made.become(f"user-{uuid.uuid4().hex[:8]}")
        yield made


def knock(site: Programs, conversation: str) -> ClientConnection:
    url = site.url.replace("http", "ws", 1)
    token = {"Authorization": site.http.headers["Authorization"]}
    return connect(f"{url}/ws/conversations/{conversation}/", additional_headers=token, max_size=None)


def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        frame: dict[str, Any] = json.loads(socket.recv(timeout=15))
        if frame["type"] == kind:
            return frame


def begin(site: Programs) -> str:
    return str(site.http.post("/api/conversations/", json={"agent": "openai_compatible"}).json()["id"])


def test_an_answer_arrives_as_server_sent_events(site: Programs) -> None:
    events = site.send("openai_compatible", "Hi")
    check(events)
    assert text_of(events) == answer_for("Hi")


def test_an_answer_arrives_over_a_websocket(site: Programs) -> None:
    with knock(site, begin(site)) as socket:
        socket.send(json.dumps({"type": "send", "id": str(uuid.uuid4()), "text": "Hi"}))
        events = [hear(socket, "event")["event"]]
        while events[-1]["type"] not in ("RUN_FINISHED", "RUN_ERROR"):
            events.append(hear(socket, "event")["event"])
    check(events)
    assert text_of(events) == answer_for("Hi")


@pytest.mark.parametrize("path", ["/ws/conversations/unknown/", "/ws/anything/else"])
def test_refusals_are_403_in_the_handshake(site: Programs, path: str) -> None:
    with pytest.raises(InvalidStatus) as refusal, connect(site.url.replace("http", "ws", 1) + path):
        pass
    assert refusal.value.response.status_code == 403


def test_a_frame_that_is_too_large_is_named_and_one_that_is_far_too_large_closes(site: Programs) -> None:
    with knock(site, begin(site)) as socket:
        socket.send(json.dumps({"type": "send", "text": "x" * 600_000}))
        assert hear(socket, "error")["code"] == "frame_too_large"
        socket.send(json.dumps({"type": "send", "text": "x" * 1_200_000}))
        with pytest.raises(ConnectionClosed):
            hear(socket, "error")


def test_a_stop_takes_seconds_and_no_stream_passes_for_a_whole_one(site: Programs, provider: Provider) -> None:
    provider.models["slow"] = {"tokens_per_second": 3}
    run = site.submit("slow", "Stop in mid-answer")
    seen: list[tuple[int, dict[str, Any]]] = []
    with knock(site, begin(site)) as socket:
        with pytest.raises(httpx.RemoteProtocolError):
            follow_and_stop(site, run, seen)
        with pytest.raises(ConnectionClosed):
            hear(socket, "nothing more")
    site.programs["web"].start()
    site.wait_until_ready(site.url)
    with site.http.stream("GET", f"/api/runs/{run}/events?after={seen[-1][0]}", timeout=60) as answer:
        seen += list(sse(answer))
    check([event for _, event in seen])
    assert text_of(event for _, event in seen) == answer_for("Stop in mid-answer")
    assert "Traceback" not in site.said()
    del provider.models["slow"]


def follow_and_stop(site: Programs, run: str, seen: list[tuple[int, dict[str, Any]]]) -> None:
    """Read a run's events into `seen`, and stop the web process when some are there."""
    with site.http.stream("GET", f"/api/runs/{run}/events", timeout=60) as answer:
        for item in sse(answer):
            seen.append(item)
            if len(seen) == 5:
                assert site.programs["web"].stop() < 10
