"""Waiting for a run from code of a site, without a worker's processes around: places, ends, and what is said."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from llmapp import CannotWait, NotThere, Refused, WaitTimeout, asubmit, await_run, submit, wait
from llmapp.models import AgentSettings, Run
from llmapp.runs import actions, away, lease, waiting, worker

Agent = Callable[..., AgentSettings]


@pytest.fixture
def agent(scripted: Agent) -> AgentSettings:
    return scripted()


# --- ends -------------------------------------------------------------------------------------------------


def test_a_wait_returns_the_run_as_it_ended(person: Any, agent: AgentSettings, in_background: Any) -> None:
    """By a submission, a run, its key or the text of its key; the answer needs no further query."""
    submission = submit(person, "Hi")
    in_background(submission.run)
    for named in (submission, submission.run, submission.run.pk, str(submission.run.pk)):
        run = wait(named, timeout=20)
        assert (run.status, run.answer, run.error_message) == ("completed", "Hello, **world**!", "")


async def test_on_an_event_loop_everything_can_be_read_that_is_returned(
    person: Any, agent: AgentSettings, process: worker.WorkerProcess
) -> None:
    """Nothing is loaded later, which Django would refuse there; and the loop turns meanwhile."""
    submission = await asubmit(person, "Hi", agent="scripted")
    counted: list[None] = []
    turns = asyncio.create_task(count_turns(counted))
    carrying_out = asyncio.create_task(sync_to_async(process.execute, thread_sensitive=False)(submission.run.pk))
    run = await await_run(submission, timeout=20)
    assert (run.status, run.answer) == ("completed", "Hello, **world**!")
    assert run.conversation.thread_id == str(run.conversation_id)
    await carrying_out
    turns.cancel()
    assert len(counted) > 3


async def count_turns(counted: list[None]) -> None:
    while True:
        counted.append(None)
        await asyncio.sleep(0.01)


def test_a_failed_run_is_returned_and_says_why(person: Any, scripted: Agent, in_background: Any) -> None:
    """A bad end is no exception: the caller reads the status."""
    scripted([{"error": {"status": 401}}], attempts=1)
    submission = submit(person, "Hi")
    in_background(submission.run)
    run = wait(submission, timeout=20)
    assert (run.status, run.answer) == ("failed", "")
    assert run.error_message


def test_a_run_that_nobody_takes_ends_though_no_worker_is_there_to_end_it(
    person: Any, agent: AgentSettings, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a time-out a wait ends too: who waits sweeps."""
    monkeypatch.setattr(waiting, "_swept_at", 0.0)
    settings.LLMAPP = {**settings.LLMAPP, "QUEUE_TIMEOUT": 0.5, "SWEEP_SECONDS": 0.2}
    began = time.monotonic()
    run = wait(submit(person, "Hi"))
    assert (run.status, run.error_kind) == ("failed", "timeout")
    assert time.monotonic() - began < 8


def test_a_run_that_is_deleted_meanwhile_is_not_waited_for(person: Any, agent: AgentSettings) -> None:
    submission = submit(person, "Hi")
    threading.Timer(0.3, lambda: in_own_connection(actions.delete, submission.run.conversation)).start()
    with pytest.raises(Run.DoesNotExist):
        wait(submission, timeout=20)
    with pytest.raises(Run.DoesNotExist):
        wait(uuid.uuid4())


def in_own_connection(function: Any, *args: Any) -> None:
    try:
        function(*args)
    finally:
        connection.close()


# --- what a time-out says ---------------------------------------------------------------------------------


STANDS: list[tuple[str, dict[str, Any], bool, str]] = [
    # how, the row, whether a worker is there, what is said
    ("no worker", {}, False, "no worker is there"),
    ("busy", {}, True, "the workers are busy"),
    ("told to wait", {"not_before": timedelta(hours=1)}, True, "waits for its provider until"),
    ("stopping", {"stop_requested_at": timedelta(0)}, True, "is being stopped"),
    (
        "again",
        {"status": "in_progress", "executions": 2, "run_until": timedelta(minutes=1)},
        True,
        "carrying it out (execution 2), and has time until",
    ),
]


@pytest.mark.parametrize("fields, with_worker, words", [row[1:] for row in STANDS], ids=[row[0] for row in STANDS])
def test_a_time_out_says_how_the_run_stands(
    person: Any, agent: AgentSettings, fields: dict[str, Any], with_worker: bool, words: str
) -> None:
    submission = submit(person, "Hi")
    now = timezone.now()
    row = {name: now + value if isinstance(value, timedelta) else value for name, value in fields.items()}
    if with_worker:
        there = lease.register(1, {})
        row |= {"worker": there} if "status" in row else {}
    Run.objects.filter(pk=submission.run.pk).update(**row)
    with pytest.raises(WaitTimeout, match=r"has not ended after 0\.2 s") as caught:
        wait(submission, timeout=0.2)
    assert words in str(caught.value)
    assert caught.value.run.pk == submission.run.pk
    assert isinstance(caught.value, TimeoutError)


def test_no_time_is_one_look(person: Any, agent: AgentSettings) -> None:
    began = time.monotonic()
    with pytest.raises(WaitTimeout):
        wait(submit(person, "Hi"), timeout=0)
    assert time.monotonic() - began < 2


def test_looks_become_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of a minute is some hundred and twenty looks, not twelve hundred; none is later than a twentieth."""
    vigil = waiting._Vigil(uuid.uuid4(), None)
    pauses: list[float] = []
    monkeypatch.setattr(waiting._Vigil, "_waited", lambda self: sum(pauses))
    while sum(pauses) < 60:
        pauses.append(vigil.pause())
    assert len(pauses) < 130
    assert pauses[0] == 0.05
    assert max(pauses) == 1.0


# --- places where waiting is wrong ------------------------------------------------------------------------


def test_in_the_transaction_of_the_submit_a_wait_is_refused_at_once(person: Any, agent: AgentSettings) -> None:
    began = time.monotonic()
    with transaction.atomic():
        submission = submit(person, "Hi")
        with pytest.raises(CannotWait, match="non_atomic_requests"):
            wait(submission)
        with pytest.raises(CannotWait, match=r"transaction\.atomic"):
            async_to_sync(await_run)(submission)
    assert time.monotonic() - began < 5


async def test_on_an_event_loop_what_blocks_is_refused_and_names_its_twin(person: Any, agent: AgentSettings) -> None:
    with pytest.raises(SynchronousOnlyOperation, match=r"llmapp\.asubmit"):
        submit(person, "Hi")
    with pytest.raises(SynchronousOnlyOperation, match=r"llmapp\.await_run"):
        wait(uuid.uuid4())


def test_in_a_worker_that_carries_runs_out_a_wait_is_refused(
    person: Any, agent: AgentSettings, process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = submit(person, "Hi")
    monkeypatch.setattr(worker, "_process", process)
    with pytest.raises(CannotWait, match="queue of its own"):
        wait(submission)


# --- submit -----------------------------------------------------------------------------------------------


class Undone(Exception):
    pass


def test_what_is_rolled_back_was_never_there(person: Any, agent: AgentSettings, enqueued: list[uuid.UUID]) -> None:
    with contextlib.suppress(Undone), transaction.atomic():
        submit(person, "Hi")
        assert Run.objects.count() == 1
        raise Undone
    assert not Run.objects.exists()
    assert enqueued == []


def test_the_task_is_sent_when_the_outermost_block_is_committed(
    person: Any, agent: AgentSettings, enqueued: list[uuid.UUID]
) -> None:
    with transaction.atomic():
        with transaction.atomic():
            run = submit(person, "Hi").run
        assert enqueued == []
    assert enqueued == [run.pk]


async def test_what_is_refused_is_refused_on_an_event_loop_too(person: Any, agent: AgentSettings) -> None:
    with pytest.raises(Refused, match="Write a message"):
        await asubmit(person, " ")
    with pytest.raises(NotThere):
        await asubmit(person, "Hi", agent="nobody")


# --- what it costs, and what it bears ---------------------------------------------------------------------


@pytest.mark.parametrize("lost", [OperationalError, InterfaceError])
def test_a_database_that_is_away_for_a_moment_does_not_end_a_wait(
    person: Any, agent: AgentSettings, in_background: Any, monkeypatch: pytest.MonkeyPatch, lost: type[Exception]
) -> None:
    submission, look, failures = submit(person, "Hi"), waiting._Vigil._status, iter(range(3))

    def failing(self: Any) -> Any:
        if next(failures, None) is not None:
            raise lost("the connection is lost")
        return look(self)

    monkeypatch.setattr(waiting._Vigil, "_status", failing)
    monkeypatch.setattr(away, "is_away", lambda error: isinstance(error, lost))
    threading.Timer(0.2, in_background, [submission.run]).start()
    assert wait(submission, timeout=20).status == "completed"
    assert next(failures, None) is None


@pytest.mark.parametrize("pooled", [True, False])
def test_a_connection_of_a_pool_is_given_back_between_two_looks(
    person: Any, agent: AgentSettings, monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    """Those who wait would use it up. Without a pool the connection, and what hangs on it, is the caller's."""
    submission = submit(person, "Hi")
    given_back: list[None] = []
    seen: list[bool] = []

    def pause(self: Any) -> float:
        seen.append(bool(given_back))
        given_back.clear()
        return 0.01

    monkeypatch.setattr(waiting._Vigil, "pause", pause)
    monkeypatch.setattr(connection, "close", lambda: given_back.append(None))
    options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name != "pool"}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options | ({"pool": True} if pooled else {}))
    with pytest.raises(WaitTimeout):
        wait(submission, timeout=0.1)
    assert set(seen) == {pooled}
