"""Runs through the real processes and a real provider, seen from outside."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

import pydantic
import pytest
from ag_ui.core import Event

from tests.support import stack
from tests.support.provider import Provider, answer_for
from tests.support.site import Site, text_of

from .conftest import BACKENDS

pytestmark = pytest.mark.acceptance
ANY_EVENT: pydantic.TypeAdapter[object] = pydantic.TypeAdapter(Event)


@pytest.fixture(autouse=True)
def _steady(site: Site, provider: Provider) -> None:
    site.become(f"user-{uuid.uuid4().hex[:8]}")
    provider.default = {"tokens_per_second": 0}


def check(events: list[dict[str, object]]) -> None:
    """Hold what is true of every run: one start, one end, and nothing after it."""
    for event in events:
        ANY_EVENT.validate_python(event)
    ends = [n for n, e in enumerate(events) if e["type"] in ("RUN_FINISHED", "RUN_ERROR")]
    assert ends == [len(events) - 1]
    assert [n for n, e in enumerate(events) if e["type"] == "RUN_STARTED"] == [0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_answer_arrives_byte_for_byte(site: Site, backend: str) -> None:
    """What the provider sent, the stream and the messages API say the same."""
    thread = f"bytes-{backend}"
    events = site.send(backend, "Grüße 🙂", thread)
    check(events)
    assert text_of(events) == answer_for("Grüße 🙂")
    messages = site.http.get(f"/api/conversations/{thread}/messages").json()["messages"]
    assert [m["content"] for m in messages] == ["Grüße 🙂", answer_for("Grüße 🙂")]


@pytest.mark.parametrize("backend", BACKENDS)
def test_twenty_messages_are_twenty_requests_on_two_connections_of_a_worker(
    site: Site, provider: Provider, backend: str
) -> None:
    """The first call works, and so do the later ones; a cookie of the provider's never goes back."""
    provider.default = {"tokens_per_second": 0, "cookie": "session=of-someone-else; Path=/"}
    site.send(backend, "warm up")
    before, connections = len(provider.requests), provider.connections
    for number in range(20):
        events = site.send(backend, f"number {number}", f"twenty-{backend}")
        assert text_of(events) == answer_for(f"number {number}")
    site.become(f"another-{backend}")
    for number in range(20):
        assert site.send(backend, f"new {number}")[-1]["type"] == "RUN_FINISHED"
    received = provider.requests[before:]
    assert len(received) == 40
    assert provider.connections - connections <= 2 * site.worker_processes
    assert not [r for r in received if "cookie" in {name.lower() for name in r.headers}]
    assert len(received[19].body["messages"]) == 39


@pytest.mark.parametrize(
    "fault, status, kind",
    [
        ("cut", "incomplete", "stream_interrupted"),
        ("clean-cut", "incomplete", "stream_interrupted"),
        ("html", "failed", "invalid_response"),
        ("bad-json", "failed", "invalid_response"),
        ("no-choices", "failed", "invalid_response"),
        ("bad-key", "failed", "auth"),
    ],
)
def test_a_provider_that_fails_ends_the_run_properly(site: Site, fault: str, status: str, kind: str) -> None:
    """The run says how it ended, and nothing crashes."""
    workers = site.workers()
    events = site.send(fault, "Hello")
    check(events)
    assert events[-1]["code"] == kind
    assert events[-1]["metadata"]["llmapp.status"] == status
    assert site.workers() == workers


def test_a_stop_closes_the_providers_socket_within_a_second(site: Site, provider: Provider) -> None:
    """The run is cancelled, and nobody pays for tokens that nobody reads."""
    provider.default = {"tokens_per_second": 20}
    run = site.submit("openai_compatible", "Go on for long")
    site.wait_for(lambda: len(site.http.get(f"/api/runs/{run}").json()["status"]) and provider.requests, 5)
    time.sleep(1)
    stopped = time.time()
    assert site.http.post(f"/api/runs/{run}/stop").status_code == 202
    closed = provider.wait_closed()
    assert closed.closed_at is not None
    assert closed.closed_at - stopped < 1
    events = [event for _, event in site.events(run)]
    check(events)
    assert events[-1]["outcome"] == {"type": "cancelled"}
    assert site.run(run)["status"] == "cancelled"


def test_a_killed_workers_run_ends_properly(site: Site, provider: Provider) -> None:
    """`serve` starts another worker; one that lives withdraws the half answer and writes it anew."""
    provider.default = {"tokens_per_second": 40}
    run = site.submit("openai_compatible", "Survive")
    time.sleep(1)
    old = site.worker_of(run)
    os.kill(old, signal.SIGKILL)
    killed = time.monotonic()
    site.wait_for(lambda: len(set(site.workers()) - {old}) == site.worker_processes, 10)
    assert site.wait_until_ended(run, 20)["status"] == "completed"
    assert time.monotonic() - killed < 20
    events = [event for _, event in site.events(run)]
    check(events)
    assert text_of(events) == answer_for("Survive")


def test_it_is_ready_in_twenty_seconds_and_the_web_process_is_small(site: Site) -> None:
    """A newcomer does not wait, and an owner does not pay for what the web process does not use."""
    assert site.seconds_to_ready < 20
    assert len(site.webs()) == site.web_processes
    for web in site.webs():
        status = (Path("/proc") / str(web) / "status").read_text()
        (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        # The drivers of Postgres, Redis and RabbitMQ are a few megabytes more.
        assert resident < (115_000 if stack.on_servers() else 100_000), f"{resident} kB"


def test_everything_stops_with_serve_even_when_that_is_killed(tmp_path: Path) -> None:
    """No worker and no web server is left behind."""
    site = Site(tmp_path / "home", demo=True)
    site.start()
    children = [*site.workers(), *site.webs()]
    assert len(children) == site.web_processes + site.worker_processes
    site.process.kill()
    site.process.wait()
    until = time.monotonic() + 20
    while site.workers() or site.webs():
        assert time.monotonic() < until
        time.sleep(0.1)
    site.stop()
