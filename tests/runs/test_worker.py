"""A run from its submit to its end, executed by a worker process without Celery."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from llmapp import submit
from llmapp.backends.base import Endpoint, Secret
from llmapp.calls.base import Benched, ModelSpec
from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import RunStatus
from llmapp.models import Attempt, Call, Conversation, Credential, Message, Run, Worker
from llmapp.runs import actions, away, execution, lease, queue, sweeper, worker
from llmapp.runs.briefing import brief
from llmapp.runs.clock import db_now
from llmapp.runs.keys import DatabaseKeyPool
from llmapp.runs.ledger import RunLedger
from llmapp.runs.threads import DatabaseThreads
from llmapp.runs.writer import LogWriter

from .support import events_of, text_of, types_of, wait_until

LONG = [{"text": "word " * 400}]


def test_an_answer_is_streamed_stored_and_ended_once(person: Any, scripted: Any, process: Any) -> None:
    """What the log, the message and the conversation say is the same."""
    scripted()
    run = submit(person, "Hi").run
    process.execute(run.pk)
    assert text_of(run) == "Hello, **world**!"
    assert run.status == RunStatus.COMPLETED
    assert types_of(run)[:3] == ["RUN_STARTED", "STEP_STARTED", "TEXT_MESSAGE_START"]
    assert types_of(run)[-3:] == ["TEXT_MESSAGE_END", "STEP_FINISHED", "RUN_FINISHED"]
    answer = Message.objects.get(role="assistant")
    assert answer.text == "Hello, **world**!"
    assert "<strong>world</strong>" in answer.html
    assert answer.parent == run.message
    assert run.conversation.leaf == answer
    assert answer.complete
    assert run.worker is None
    assert run.attempts_used == 1
    assert run.output_tokens
    assert not Call.objects.filter(ended_at=None).exists()
    assert not Attempt.objects.filter(ended_at=None).exists()


@pytest.mark.parametrize(
    "script, status, kind, text",
    [
        # the provider refuses before a word
        ([{"fail": {"status": 401, "body": {"error": {"message": "no"}}}}], "failed", "auth", ""),
        # it breaks off in the middle of the answer
        ([{"text": "Half of"}, {"cut": True}], "incomplete", "stream_interrupted", "Half of"),
        # it says itself that the end is missing
        ([{"text": "Too lo"}, {"finish": "length"}], "incomplete", "output_truncated", "Too lo"),
        ([{"text": "I wi"}, {"finish": "content_filter"}], "incomplete", "content_policy", "I wi"),
        # an answer of nothing is no answer
        ([{"finish": "stop"}], "failed", "invalid_response", ""),
        ([{"text": " \n"}, {"finish": "stop"}], "failed", "invalid_response", ""),
    ],
)
def test_a_run_says_how_it_ended(
    person: Any, scripted: Any, process: Any, script: Any, status: str, kind: str, text: str
) -> None:
    """The row, the terminal event and what is left of the answer agree."""
    scripted(script, attempts=1)
    run = submit(person, "Hi").run
    process.execute(run.pk)
    last = events_of(run)[-1]
    assert (run.status, run.error_kind) == (status, kind)
    assert (last["type"], last["code"]) == ("RUN_ERROR", kind)
    assert last["metadata"]["llmapp.status"] == status
    assert last["message"] == run.error_message != ""
    assert text_of(run) == text
    assert [m.text for m in Message.objects.filter(role="assistant")] == ([text] if text else [])
    assert not Message.objects.filter(role="assistant", complete=True).exists()


def test_a_stop_ends_a_run_and_keeps_its_text(person: Any, scripted: Any, in_background: Any) -> None:
    """The text that was shown stays, and the run is cancelled."""
    scripted(LONG, speed=50)
    run = submit(person, "Hi").run
    in_background(run)
    wait_until(lambda: text_of(run))
    actions.request_stop(run)
    wait_until(lambda: not Run.objects.get(pk=run.pk).active, 3)
    assert types_of(run)[-3:] == ["TEXT_MESSAGE_END", "STEP_FINISHED", "RUN_FINISHED"]
    assert run.status == RunStatus.CANCELLED
    assert Message.objects.get(role="assistant").text == text_of(run) != ""


def test_a_queued_run_is_stopped_at_once(person: Any, scripted: Any, process: Any) -> None:
    """No worker is needed for it, and none takes it later."""
    scripted()
    run = submit(person, "Hi").run
    actions.request_stop(run)
    process.execute(run.pk)
    assert types_of(run) == ["RUN_STARTED", "RUN_FINISHED"]
    assert run.status == RunStatus.CANCELLED


def test_the_timeout_ends_a_run(person: Any, scripted: Any, process: Any) -> None:
    """A run that takes longer than its agent allows is ended with what it has."""
    scripted(LONG, speed=20, timeout=1)
    run = submit(person, "Hi").run
    process.execute(run.pk)
    assert text_of(run)
    assert (run.status, run.error_kind) == ("incomplete", "timeout")


def test_a_run_is_executed_once(person: Any, scripted: Any, process: Any, in_background: Any) -> None:
    """A task that is delivered three times is one run, one request, one answer."""
    scripted(speed=20)
    run = submit(person, "Hi").run
    for thread in [in_background(run) for _ in range(3)]:
        thread.join()
    process.execute(run.pk)
    assert text_of(run) == "Hello, **world**!"
    assert run.executions == 1
    assert Attempt.objects.count() == 1


def test_a_run_of_a_dead_worker_is_taken_over(person: Any, scripted: Any, process: Any, enqueued: Any) -> None:
    """The text of the first execution is withdrawn, and the second one writes the answer."""
    scripted(LONG)
    run = submit(person, "Hi").run
    dead = lease.register(1, {})
    assert lease.claim(run.pk, dead.pk) is not None
    half = _half_an_answer(run, dead)
    lapse(dead)
    enqueued.clear()
    sweeper.take_over_from_the_dead(db_now())
    assert enqueued == [run.pk]
    process.execute(run.pk)
    events = events_of(run)
    assert run.status == RunStatus.COMPLETED
    assert run.executions == 2
    snapshot = next(e for e in events if e["type"] == "MESSAGES_SNAPSHOT")
    assert [m["content"] for m in snapshot["messages"]] == ["Hi"]
    answer = Message.objects.get(role="assistant")
    assert answer.text == "word " * 400
    assert str(answer.pk) != half


def test_a_worker_whose_lease_was_revoked_writes_nothing_more(
    person: Any, scripted: Any, process: Any, in_background: Any, settings: Any
) -> None:
    """The zombie's run belongs to the next owner, who is not thrown out."""
    settings.LLMAPP = {**settings.LLMAPP, "SWEEP_SECONDS": 60}
    scripted(LONG, speed=100)
    run = submit(person, "Hi").run
    thread = in_background(run)
    wait_until(lambda: text_of(run))
    (zombie,) = Worker.objects.all()
    lease.revoke(zombie.pk, "test")
    before = len(events_of(run))
    time.sleep(0.3)
    assert len(events_of(run)) == before
    thread.join(timeout=5)
    owner = lease.register(1, {})
    claim = lease.claim(run.pk, owner.pk)
    assert claim is not None
    time.sleep(0.3)
    run.refresh_from_db()
    assert run.worker == owner
    assert len(events_of(run)) == claim.seq


def test_a_lost_lease_leaves_no_task_behind(person: Any, scripted: Any, process: Any, in_background: Any) -> None:
    """The rendering at intervals ends with its run, however that ends."""
    scripted(LONG, speed=100)
    run = submit(person, "Hi").run
    thread = in_background(run)
    wait_until(lambda: text_of(run))
    lease.revoke(Worker.objects.get().pk, "test")
    thread.join(timeout=5)

    async def left() -> list[str]:
        return [task.get_coro().__qualname__ for task in asyncio.all_tasks()]

    assert not [name for name in process._portal.call(left) if name.startswith("Presenter")]


def test_a_timeout_beyond_a_day_is_a_day(person: Any, scripted: Any, process: Any) -> None:
    """Whatever an agent says: a date that cannot be written would stop every claim."""
    scripted(timeout=1e13)
    run = submit(person, "Hi").run
    process.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed"


def test_a_worker_that_pauses_is_away_long_before_its_lease_runs_out(person: Any, scripted: Any, process: Any) -> None:
    """People are told within seconds; its runs are taken over later."""
    assert lease.present_workers().exists()
    worker = lease.register(1, {})
    Worker.objects.filter(pk=worker.pk).update(heartbeat_at=db_now() - timedelta(seconds=3.5))
    assert worker in lease.live_workers()
    assert worker not in lease.present_workers()


def test_a_process_that_lost_its_lease_registers_anew(person: Any, scripted: Any, process: Any) -> None:
    """After a pause it takes runs again, with another lease."""
    scripted()
    (first,) = Worker.objects.all()
    lease.revoke(first.pk, "test")
    wait_until(lambda: lease.live_workers().exists())
    run = submit(person, "Hi").run
    process.execute(run.pk)
    assert text_of(run) == "Hello, **world**!"


def test_the_third_execution_is_the_last(person: Any, scripted: Any, settings: Any) -> None:
    """A run that kills its workers does not go on for ever: what was shown is kept, as incomplete."""
    scripted()
    run = submit(person, "Hi").run
    for _ in range(3):
        worker = lease.register(1, {})
        assert lease.claim(run.pk, worker.pk) is not None
        _half_an_answer(run, worker)
        lease.revoke(worker.pk, "test")
    events = events_of(run)
    assert (run.status, run.error_kind) == ("incomplete", "stream_interrupted")
    assert events[-1]["type"] == "RUN_ERROR"
    assert Message.objects.get(role="assistant").text == "half"


def test_a_shutdown_hands_runs_back(
    person: Any, scripted: Any, process: Any, in_background: Any, settings: Any
) -> None:
    """A run that does not end in time is queued again, and the execution does not count."""
    settings.LLMAPP = {**settings.LLMAPP, "SHUTDOWN_SECONDS": 0.2}
    scripted(LONG, speed=20)
    run = submit(person, "Hi").run
    thread = in_background(run)
    wait_until(lambda: text_of(run))
    process.drain()
    thread.join(timeout=5)
    run.refresh_from_db()
    assert (run.status, run.executions, run.worker) == ("queued", 0, None)
    assert events_of(run)[-1]["value"]["status"] == "queued"
    process.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "queued"


def test_a_broker_that_hangs_at_a_shutdown_keeps_no_thread_from_the_database(
    person: Any, scripted: Any, process: Any, in_background: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are two of them, and all leases and ends go through them."""
    settings.LLMAPP = {**settings.LLMAPP, "SHUTDOWN_SECONDS": 0.2}
    scripted(LONG, speed=20)
    run = submit(person, "Hi").run
    thread = in_background(run)
    wait_until(lambda: text_of(run))
    asked: list[str] = []
    monkeypatch.setattr(queue, "enqueue", lambda run_id: asked.append(threading.current_thread().name))
    process.drain()
    thread.join(timeout=5)
    assert [name.startswith("llmapp-orm") for name in asked] == [False]


@pytest.mark.parametrize("where", ["claim", "end"])
def test_a_shutdown_does_not_wait_for_a_database_that_is_away(
    person: Any,
    scripted: Any,
    process: Any,
    in_background: Any,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """Celery waits for the threads that hold our runs: none may wait for ever."""
    settings.LLMAPP = {**settings.LLMAPP, "SHUTDOWN_SECONDS": 0.2}
    monkeypatch.setattr(worker, "HAND_BACK", 0.5)
    gone = threading.Event()

    def away_or(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if gone.is_set():
                raise OperationalError("the server closed the connection")
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(away, "is_away", lambda error: isinstance(error, OperationalError))
    monkeypatch.setattr(lease, "claim", away_or(lease.claim))
    monkeypatch.setattr(LogWriter, "_write", away_or(LogWriter._write))
    scripted(LONG, speed=20)
    run = submit(person, "Hi").run
    if where == "claim":
        gone.set()
    thread = in_background(run)
    wait_until(lambda: run.pk in process._present)
    if where == "end":
        wait_until(lambda: text_of(run))
        gone.set()
    process.drain()
    thread.join(timeout=5)
    still_there = thread.is_alive()
    gone.clear()
    assert not still_there


def test_what_a_dead_worker_left_open_is_closed(person: Any, scripted: Any, process: Any) -> None:
    """Calls and attempts, with the reason, when the run is taken away and when it ends."""
    scripted()
    run = submit(person, "Hi").run
    for _ in range(3):
        worker = lease.register(1, {})
        assert lease.claim(run.pk, worker.pk) is not None
        call = Call.objects.create(run=run, started_at=db_now())
        Attempt.objects.create(call=call, number=1, model_name="actor", started_at=db_now())
        lease.revoke(worker.pk, "test")
        assert not Call.objects.filter(ended_at=None).exists()
        assert not Attempt.objects.filter(ended_at=None).exists()
    run.refresh_from_db()
    assert run.status == "failed"
    assert set(Attempt.objects.values_list("error_kind", flat=True)) == {"cancelled", "server_error"}
    assert set(Attempt.objects.values_list("error_detail", flat=True)) == {"test", ""}


@pytest.mark.parametrize(
    "costs, total",
    [
        (["0.10", "0.02"], "0.12"),
        # an attempt that used tokens at an unknown price makes the sum unknown, not smaller
        (["0.10", None], None),
        ([], None),
    ],
)
def test_the_cost_of_a_run_is_that_of_all_its_attempts(
    person: Any, scripted: Any, process: Any, costs: list[str | None], total: str | None
) -> None:
    """Failed ones that were billed included. Unknown is not zero."""
    scripted()
    run = submit(person, "Hi").run
    call = Call.objects.create(run=run, started_at=db_now())
    for number, cost in enumerate(costs):
        Attempt.objects.create(
            call=call, number=number, model_name="x", started_at=db_now(), cost=cost, input_tokens=5, output_tokens=1
        )
    # An attempt that never reached a model says nothing about money.
    Attempt.objects.create(call=call, number=99, model_name="x", started_at=db_now())
    actions.request_stop(run)
    run.refresh_from_db()
    assert run.cost == (None if total is None else Decimal(total))
    assert run.input_tokens == (5 * len(costs) or None)


def test_the_model_is_told_the_whole_path_and_nothing_else(person: Any, scripted: Any) -> None:
    """Instructions apart: earlier answers on the path, none that were replaced, and none that are empty."""
    agent = scripted()
    first = submit(person, "one").run
    said = {"conversation": first.conversation, "role": "assistant"}
    Message.objects.create(**said, parent=first.message, text="replaced")
    empty = Message.objects.create(**said, parent=first.message, text="")
    actions.request_stop(first)
    Conversation.objects.update(leaf=empty)
    first.conversation.refresh_from_db()
    second = submit(person, "two", conversation=first.conversation).run
    briefing = brief(Run.objects.select_related("agent", "conversation").get(pk=second.pk), 7)
    assert [(m.role, m.content) for m in briefing.history] == [("user", "one"), ("user", "two")]
    (model,) = briefing.agent.models
    assert (model.name, model.endpoint.name, model.endpoint.concurrency) == ("actor", "stage", 7)
    assert briefing.agent.timeout_limit == agent.timeout_limit


async def test_keys_are_taken_in_order_and_not_twice(person: Any, scripted: Any) -> None:
    """The first usable one; none when all have been tried; no key at all for a provider without any."""
    agent = await sync_to_async(scripted)()
    provider = agent.model.provider
    threads = DatabaseThreads(1, "test")
    pool = DatabaseKeyPool(threads)
    model = ModelSpec(id=1, name="m", model="m", endpoint=Endpoint(id=provider.pk, version=1, name="p", backend="x"))

    def add(position: int, key: str, enabled: bool = True) -> int:
        credential = Credential(provider=provider, position=position, enabled=enabled)
        credential.set_secrets({"api_key": key})
        credential.save()
        return int(credential.pk)

    bare = await pool.pick(model, frozenset())
    assert isinstance(bare, Secret)
    assert (bare.id, bare.api_key) == (None, "")
    second = await sync_to_async(add)(2, "key-two")
    first = await sync_to_async(add)(1, "key-one")
    await sync_to_async(add)(0, "key-off", enabled=False)
    picked = [await pool.pick(model, frozenset(avoid)) for avoid in ([], [first], [first, second])]
    keys = [secret.api_key if isinstance(secret, Secret) else secret for secret in picked]
    assert keys == ["key-one", "key-two", Benched(ErrorKind.AUTH, 0.0)]
    assert "key-one" not in repr(picked)
    await asyncio.to_thread(threads.close)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RecursionError])
def test_an_error_in_a_run_does_not_end_the_loop_for_all(
    person: Any, scripted: Any, process: Any, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], caplog: Any
) -> None:
    """The run fails, what it was is logged, and the next run is served."""
    scripted()
    first = submit(person, "Hi").run

    async def broken(*args: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(execution, "run_agent", broken)
        process.execute(first.pk)
    first.refresh_from_db()
    assert (first.status, first.error_kind) == ("failed", "server_error")
    assert error.__name__ in caplog.text
    second = submit(person, "Hi").run
    process.execute(second.pk)
    assert text_of(second) == "Hello, **world**!"


def test_a_loop_that_does_not_stop_is_left_behind(
    person: Any, scripted: Any, process: Any, in_background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback that swallows its cancellation holds neither its run nor others."""
    scripted()
    monkeypatch.setattr(execution, "PATIENCE", 0.2)
    let_go = asyncio.Event()

    async def stubborn(*args: Any) -> None:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
                let_go.set()

    with monkeypatch.context() as patch:
        patch.setattr(execution, "run_agent", stubborn)
        run = submit(person, "Hi").run
        in_background(run)
        wait_until(lambda: Run.objects.get(pk=run.pk).status == "in_progress")
        time.sleep(0.1)
        actions.request_stop(run)
        wait_until(lambda: Run.objects.get(pk=run.pk).status == "cancelled", 3)


def lapse(worker: Worker) -> None:
    Worker.objects.filter(pk=worker.pk).update(lease_until=db_now() - timedelta(seconds=1))


def _half_an_answer(run: Run, worker: Worker) -> str:
    """Write what a worker that dies in the middle of an answer leaves in the log."""
    from django.db import transaction

    from llmapp.core import events as ev
    from llmapp.runs import log

    id = f"00000000-0000-4000-8000-{Worker.objects.count():012}"
    with transaction.atomic():
        lease.fence(worker.pk)
        log.append(run.pk, [ev.step_started("turn"), ev.text_start(id), ev.text_content(id, "half")])
    return id


def test_a_run_that_is_held_and_not_executed_goes_back(person: Any, scripted: Any, process: Any, enqueued: Any) -> None:
    """Its claim arrived and the answer to it got lost, or our own code failed: it does not wait for its timeout."""
    scripted()
    run = submit(person, "Hi").run
    enqueued.clear()
    assert lease.claim(run.pk, Worker.objects.get().pk) is not None
    wait_until(lambda: enqueued == [run.pk])
    process.execute(run.pk)
    assert text_of(run) == "Hello, **world**!"
    assert run.status == RunStatus.COMPLETED


def test_a_worker_that_does_not_hear_its_broker_keeps_its_runs_and_is_said_to_be_away(transactional_db: None) -> None:
    """Its lease is renewed, its sign of life is not."""
    worker = lease.register(1, {})
    Worker.objects.update(heartbeat_at=worker.heartbeat_at - timedelta(seconds=60), lease_until=worker.started_at)
    assert lease.beat(worker.pk, False)
    assert lease.live_workers().exists()
    assert not lease.present_workers().exists()
    assert lease.beat(worker.pk)
    assert lease.present_workers().exists()


def test_entries_of_the_ledger_may_be_made_twice(person: Any, scripted: Any) -> None:
    """Whoever lost the answer to the first try asks again, and nothing is counted twice."""
    scripted()
    run = submit(person, "Hi").run
    worker = lease.register(1, {})
    assert lease.claim(run.pk, worker.pk) is not None
    ledger = RunLedger(run.pk, worker.pk, DatabaseThreads(1, "test"))
    model = brief(Run.objects.get(), 1).agent.models[0]
    call = ledger._open_call()
    assert ledger._open_call() == call
    first = ledger._open_attempt(call, 1, model, Secret(id=None), {"model": "actor"}, 5)
    assert ledger._open_attempt(call, 1, model, Secret(id=None), {"model": "actor"}, 5) == first
    assert ledger._open_call() != call
    run.refresh_from_db()
    assert run.attempts_used == 1
