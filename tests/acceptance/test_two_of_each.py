"""Two web and two worker processes: whoever holds a socket, a request or a run, all of them show the same."""

from __future__ import annotations

import http.client
import json
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.provider import Provider, answer_for
from tests.support.site import Event, Site, text_of

from .conftest import TOML

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]


@pytest.fixture(scope="module")
def pair(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("pair") / "home"
    with Site(home, TOML.format(url=provider.url), web=2, workers=2) as made:
        made.become("ada")
        yield made


# --- which process answers ---------------------------------------------------------------------


def at(site: Site, web: int, open_one: Any, port_of: Any) -> Any:
    """Open connections until one is at this web process. The system decides which of them accepts."""
    for _ in range(60):
        made = open_one()
        if site.web_that_serves(port_of(made)) == web:
            return made
        made.close()
    raise AssertionError(f"web process {web} accepted none of 60 connections")


def socket_at(site: Site, web: int, conversation: str) -> closing[ClientConnection]:
    url = f"ws://127.0.0.1:{site.port}/ws/conversations/{conversation}/"
    headers = {"Authorization": site.http.headers["Authorization"]}

    def open_one() -> ClientConnection:
        return connect(url, additional_headers=headers).__enter__()

    return closing(at(site, web, open_one, lambda made: made.socket.getsockname()[1]))


@contextmanager
def posted_at(site: Site, web: int, path: str, body: Any = None) -> Iterator[http.client.HTTPResponse]:
    def open_one() -> http.client.HTTPConnection:
        made = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
        made.connect()
        # Accepted is what was answered.
        made.request("GET", "/health/live")
        made.getresponse().read()
        return made

    client = at(site, web, open_one, lambda made: made.sock.getsockname()[1])
    headers = {"Authorization": site.http.headers["Authorization"], "Content-Type": "application/json"}
    with closing(client):
        client.request("POST", path, json.dumps(body), headers)
        with client.getresponse() as answer:
            yield answer


def send_at(site: Site, web: int, text: str, thread: str, run: str) -> None:
    """Post a message, and hang up once its run is there."""
    message = {"id": str(uuid.uuid4()), "role": "user", "content": text}
    body = {"threadId": thread, "runId": run, "messages": [message]}
    with posted_at(site, web, "/api/agents/openai_compatible/runs", body) as answer:
        assert answer.status == 200


def hear(socket: ClientConnection) -> list[tuple[int, Event]]:
    """Return the events of the next run, to its end."""
    events: list[tuple[int, Event]] = []
    while not events or events[-1][1]["type"] not in ("RUN_FINISHED", "RUN_ERROR"):
        frame = json.loads(socket.recv(timeout=30))
        if frame["type"] == "event":
            events.append((frame["seq"], frame["event"]))
    return events


# --- the tests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [0, 1])
def test_sockets_at_both_hear_what_was_posted_to_one(pair: Site, provider: Provider, there: int) -> None:
    """Each frame once, in order, to the end."""
    provider.default = {"tokens_per_second": 60}
    thread, run = str(uuid.uuid4()), str(uuid.uuid4())
    pair.send("openai_compatible", "make the conversation", thread)
    webs = sorted(pair.webs())
    with socket_at(pair, webs[0], thread) as first, socket_at(pair, webs[1], thread) as second:
        send_at(pair, webs[there], "Hello, both", thread, run)
        heard = [hear(first), hear(second)]
    for events in heard:
        assert [seq for seq, _ in events] == list(range(1, len(events) + 1))
        assert text_of(event for _, event in events) == answer_for("Hello, both")
    assert pair.events(run)[-1] == heard[0][-1] == heard[1][-1]


def test_a_run_is_stopped_through_the_other(pair: Site, provider: Provider) -> None:
    """By a request to one, and by a frame to one: both sockets hear the end."""
    thread = str(uuid.uuid4())
    provider.default = {"tokens_per_second": 0}
    pair.send("openai_compatible", "make the conversation", thread)
    # Half a minute, if nobody stops it.
    provider.default = {"tokens_per_second": 2}
    webs = sorted(pair.webs())
    with socket_at(pair, webs[0], thread) as first, socket_at(pair, webs[1], thread) as second:
        for by_frame in (False, True):
            run = str(uuid.uuid4())
            send_at(pair, webs[0], "Go on for long", thread, run)
            if by_frame:
                second.send(json.dumps({"type": "stop", "run": run}))
            else:
                with posted_at(pair, webs[1], f"/api/runs/{run}/stop") as answer:
                    assert answer.status == 202
            for events in (hear(first), hear(second)):
                assert (events[0][1]["runId"], events[-1][1]["outcome"]) == (run, {"type": "cancelled"})


def test_both_workers_work(pair: Site, provider: Provider) -> None:
    """Of many runs neither gets all: else the second one would be there for nothing."""
    provider.default = {"tokens_per_second": 0}
    runs = []
    for number in range(12):
        runs.append(pair.submit("openai_compatible", f"{number}"))
        pair.wait_until_ended(runs[-1], 30)
    assert {pair.worker_of(run) for run in runs} == set(pair.workers())


def test_with_one_web_process_gone_the_port_answers(pair: Site) -> None:
    """Nobody is refused while it starts again."""
    first, second = pair.webs()
    os.kill(first, signal.SIGKILL)
    for _ in range(20):
        assert httpx.get(f"{pair.url}/health/live", timeout=30).status_code == 200
    pair.wait_for(lambda: len(set(pair.webs()) - {first}) == 2, 20)
    assert second in pair.webs()


def test_nobody_is_refused_while_both_start_again(pair: Site) -> None:
    """The port is `serve`'s own: who comes meanwhile waits."""
    old = pair.webs()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    assert httpx.get(f"{pair.url}/health/live", timeout=30).status_code == 200
    assert not set(pair.webs()) & set(old)


def test_lines_say_which_of_them_speaks(pair: Site) -> None:
    labels = {line.partition("|")[0].strip() for line in pair.lines if " | " in line}
    assert {"worker 1", "worker 2"} <= labels
