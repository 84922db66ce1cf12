"""Pauses in which a provider closes what nobody uses: the next call knows nothing of it, whoever makes it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.invariants import Tables, broken
from tests.support.programs import Programs
from tests.support.provider import Provider, answer_for
from tests.support.site import Site, text_of

from . import processes
from .crowd import people
from .pools import by_hand, start_and_wait

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: (calls, seconds between two of them, seconds after which the provider closes an idle connection)
SHORT, LONG = (5, 0.3, 0.1), (20, 3.0, 1.0)
ROUNDS = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]

ATTEMPTS = """
SELECT a.error_kind FROM llmapp_attempt a JOIN llmapp_call c ON c.id = a.call_id JOIN llmapp_run r ON r.id = c.run_id
WHERE r.id = %s ORDER BY a.id
"""
ASK = """
from tests.acceptance.load.submitting.tasks import ask
ask.delay({name!r}, 'direct', {thread!r}, {run!r}, {text!r})
"""


def attempts(site: Site, run: str) -> list[str]:
    """Return how each attempt of a run ended: an empty text for an answer."""
    with Tables(site.env) as tables:
        return [row["error_kind"] for row in tables.rows(ATTEMPTS, uuid.UUID(run))]


@pytest.mark.parametrize("agent", ["openai_compatible", "litellm"])
@pytest.mark.parametrize("closing", ["close_after", "drop_reused"])
@pytest.mark.parametrize("calls, pause, after", [pytest.param(*p.values[0], id=p.id, marks=p.marks) for p in ROUNDS])
def test_calls_with_pauses(
    site: Site, provider: Provider, agent: str, closing: str, calls: int, pause: float, after: float
) -> None:
    """As many answers and attempts as calls. A connection that is dropped as it is used is not held against anybody."""
    provider.default = {closing: after if closing == "close_after" else True}
    thread = str(uuid.uuid4())
    for number in range(calls):
        if number:
            time.sleep(pause)
        events = site.send(agent, f"call {number}", thread)
        assert text_of(events) == answer_for(f"call {number}")
        assert attempts(site, events[0]["runId"]) == [""]
    if closing == "close_after":
        assert len(provider.requests) == calls
    else:
        # What was dropped is a request too, which had no answer; a call is sent twice at most.
        assert calls < len(provider.requests) <= 2 * calls


@pytest.mark.parametrize("agent", ["openai_compatible", "litellm"])
def test_one_call_after_many_at_once(site: Site, provider: Provider, agent: str) -> None:
    """Several idle connections, all of them dead: the one that is tried next is not another of them."""
    provider.default = {"tokens_per_second": 100}
    runs = [site.submit(agent, f"many {number}") for number in range(4)]
    for run in runs:
        assert site.wait_until_ended(run, 30)["status"] == "completed"
    provider.default = {"drop_reused": True}
    for number in range(2):
        events = site.send(agent, f"after {number}")
        assert text_of(events) == answer_for(f"after {number}")
        assert attempts(site, events[0]["runId"]) == [""]


# --- from Celery tasks, and in a pool of processes ------------------------------------------------


@pytest.fixture(scope="module")
def prefork(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Runs in a pool of four processes; the site's own tasks in one of theirs."""
    pools = {
        "runs": ["-Q", "llmapp", "-P", "prefork", "-c", "4"],
        "own": ["-Q", "celery", "-P", "prefork", "-c", "2"],
    }
    with by_hand(tmp_path_factory.mktemp("prefork") / "home", provider, pools) as made:
        people(made, 1, "tasker")
        made.become("tasker-0")
        yield made


@pytest.mark.parametrize("calls, pause, after", [pytest.param(*p.values[0], id=p.id, marks=p.marks) for p in ROUNDS])
def test_celery_tasks_that_start_runs(
    prefork: Programs, provider: Provider, calls: int, pause: float, after: float
) -> None:
    """Twenty tasks of the site's own, one after the other, are twenty answers and twenty requests."""
    provider.default = {"close_after": after}
    thread = str(uuid.uuid4())
    runs = [str(uuid.uuid4()) for _ in range(calls)]
    for number, run in enumerate(runs):
        time.sleep(pause if number else 0)
        order = ASK.format(name="tasker-0", thread=thread, run=run, text=f"task {number}")
        prefork.manage("shell", "-v", "0", "-c", order)
        prefork.wait_for(lambda run=run: prefork.http.get(f"/api/runs/{run}").status_code == 200, 20)
        assert prefork.wait_until_ended(run, 30)["status"] == "completed"
        assert text_of(event for _, event in prefork.events(run)) == answer_for(f"task {number}")
        assert attempts(prefork, run) == [""]
    assert len(provider.requests) == calls
    assert broken(prefork.env, requests=provider.requests) == []


def test_no_socket_is_shared_after_a_fork(prefork: Programs, provider: Provider) -> None:
    """Neither to the provider nor to the database, the broker excepted that Celery itself hands out."""
    provider.default = {"tokens_per_second": 20, "wait_after": 3}
    runs = [prefork.submit("direct", f"forked {number}") for number in range(4)]
    prefork.wait_for(lambda: len(provider.unanswered()) == 4, 20)
    parent = prefork.programs["runs"].process.pid
    ports = [provider.port, *([5432] if "DATABASE_URL" in prefork.env else [])]
    everyone = [parent, *processes.children(parent)]
    assert len(everyone) == 5
    for port in ports:
        held = [(pid, inode) for pid in everyone for inode in processes.connected(pid, port)]
        inodes = [inode for _, inode in held]
        assert len(inodes) == len(set(inodes)), f"port {port}: {held}"
        # Each child has one of its own, and the parent, which works on no run, none.
        assert {pid for pid, _ in held} == set(everyone[1:]) if port == provider.port else True
    provider.release()
    for number, run in enumerate(runs):
        assert prefork.wait_until_ended(run, 30)["status"] == "completed"
        assert text_of(event for _, event in prefork.events(run)) == answer_for(f"forked {number}")


# --- the first incident ---------------------------------------------------------------------------


@pytest.mark.long
def test_two_pools_take_turns_with_a_probe_between_them(provider: Provider, tmp_path: Path) -> None:
    """Each process has one event loop: no client meets another one's, or one that is closed, whoever called before."""
    pools = {
        "threads": ["-Q", "llmapp", "-P", "threads", "-c", "4"],
        "prefork": ["-Q", "llmapp", "-P", "prefork", "-c", "2"],
    }
    with by_hand(tmp_path / "home", provider, pools) as site:
        site.become("ada")
        threads, prefork = site.programs["threads"], site.programs["prefork"]
        for number, away in enumerate([prefork, threads, prefork, threads]):
            away.stop()
            for agent in ("openai_compatible", "litellm"):
                events = site.send(agent, f"turn {number} {agent}")
                assert text_of(events) == answer_for(f"turn {number} {agent}")
                assert attempts(site, events[0]["runId"]) == [""]
            probe = site.manage("llmapp", "check-model", "direct")
            assert "stream" in probe.stdout
            assert text_of(site.send("direct", f"after {number}")) == answer_for(f"after {number}")
            start_and_wait(away)
