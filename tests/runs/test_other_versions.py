"""Rows that this code cannot read: a site is updated worker by worker, and a newer one has written them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import CheckConstraint

from llmapp import submit
from llmapp.models import AgentSettings, Attempt, Call, LanguageModel, Provider, Run, RunEvent
from llmapp.runs import lease, sweeper
from llmapp.runs.clock import db_now
from llmapp.runs.worker import WorkerProcess

from .support import events_of, text_of

Change = Callable[[], Any]

UNREADABLE: dict[str, tuple[Change, str]] = {
    "a backend that is not known here": (lambda: Provider.objects.update(backend="of-tomorrow"), "model_not_found"),
    "a timeout that is not known here": (lambda: Provider.objects.update(timeouts={"thinking": 5}), "server_error"),
    "timeouts that are no table": (lambda: Provider.objects.update(timeouts=[1, 2]), "server_error"),
    "fallbacks that are no list": (lambda: AgentSettings.objects.update(fallbacks=7), "server_error"),
}


@pytest.fixture
def run(person: Any, scripted: Any) -> Run:
    scripted()
    return submit(person, "Hi").run


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_run_that_nobody_here_can_carry_out_fails_at_once(
    run: Run, process: WorkerProcess, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With one worker there is nobody to leave it to: one line, and a sentence for the person."""
    change, kind = UNREADABLE[what]
    change()
    process.execute(run.pk)
    (end,) = [event for event in events_of(run) if event["type"] == "RUN_ERROR"]
    assert (run.status, run.error_kind, run.executions, end["code"]) == ("failed", kind, 1, kind)
    assert run.error_message
    refused = [record for record in caplog.records if getattr(record, "action", "") == "run_refused"]
    assert len(refused) == 1
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("what", UNREADABLE)
def test_another_worker_may_take_it(
    run: Run, process: WorkerProcess, enqueued: list[Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one gives it back, and leaves it alone for a while."""
    lease.register(1, {})
    UNREADABLE[what][0]()
    enqueued.clear()
    for _ in range(5):
        process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.worker, run.executions) == ("queued", None, 1)
    assert events_of(run)[-1]["value"]["reason"] == "not_for_this_worker"
    # Not by itself, for it would get it again; by the sweeper, soon.
    assert enqueued == []
    Run.objects.update(enqueued_at=None)
    sweeper.hand_over_again(db_now())
    # The process sweeps as well: both may hand it over.
    assert set(enqueued) == {run.pk}
    Provider.objects.update(backend="scripted", timeouts={})
    AgentSettings.objects.update(fallbacks=[])
    newer = WorkerProcess(concurrency=1)
    try:
        newer.execute(run.pk)
    finally:
        newer.close()
    assert text_of(run) == "Hello, **world**!"
    assert run.status == "completed"


def test_it_is_not_tried_for_ever(run: Run, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others are there and none can, the third one says so."""
    monkeypatch.setattr("llmapp.runs.worker.LEAVE_ALONE", 0.0)
    lease.register(1, {})
    Provider.objects.update(backend="of-tomorrow")
    for _ in range(5):
        process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error_kind, run.executions) == ("failed", "model_not_found", 3)


def test_a_fallback_of_an_unknown_backend_is_passed_over(run: Run, process: WorkerProcess) -> None:
    """The agent's own model answers; nobody has to be asked for the other."""
    strange = Provider.objects.create(name="strange", backend="of-tomorrow")
    LanguageModel.objects.create(name="other", provider=strange, model="other")
    AgentSettings.objects.update(fallbacks=["other"])
    process.execute(run.pk)
    assert text_of(run) == "Hello, **world**!"
    assert {"kind": "model_not_found", "action": "Skipped", "model": "other"} in [
        event["value"] for event in events_of(run) if event.get("name") == "llmapp.notice"
    ]


def test_failures_of_a_kind_that_is_not_known_here_count_for_nothing(run: Run, process: WorkerProcess) -> None:
    """A newer worker tried it first, and failed in a way that this one has no word for."""
    call = Call.objects.create(run=run, started_at=db_now(), ended_at=db_now())
    said = {"number": 1, "model_name": "actor", "started_at": db_now(), "ended_at": db_now()}
    Attempt.objects.create(call=call, error_kind="out_of_orbit", **said)
    Run.objects.update(attempts_used=1)
    process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.attempts_used) == ("completed", 2)


STRANGE = [
    '{"type": "TEXT_MESSAGE_FROM_TOMORROW"}',
    '{"no": "type"}',
    "no JSON",
    "[]",
    '{"type": "TEXT_MESSAGE_CONTENT"}',
]


@pytest.mark.parametrize("data", STRANGE)
def test_entries_of_the_log_that_cannot_be_read_keep_no_run_from_its_end(
    run: Run, process: WorkerProcess, data: str
) -> None:
    """Neither the claim nor the end stumbles over them."""
    RunEvent.objects.create(run=run, seq=2, data=data, created_at=db_now())
    process.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed"
    ends = RunEvent.objects.filter(run=run).order_by("seq").last()
    assert ends is not None
    assert json.loads(ends.data)["type"] == "RUN_FINISHED"


@pytest.mark.parametrize("data", STRANGE)
def test_nor_from_being_taken_over(run: Run, data: str) -> None:
    dead = lease.register(1, {})
    assert lease.claim(run.pk, dead.pk) is not None
    RunEvent.objects.create(run=run, seq=3, data=data, created_at=db_now())
    assert lease.revoke(dead.pk, "test") == [run.pk]


def test_a_status_from_tomorrow_is_claimed_by_nobody(run: Run, process: WorkerProcess) -> None:
    """It stays as it is, for those who know what it means."""
    with any_status():
        Run.objects.update(status="dreaming")
        process.execute(run.pk)
        sweeper.sweep()
        run.refresh_from_db()
        assert (run.status, run.executions) == ("dreaming", 0)


def test_one_run_that_cannot_be_ended_does_not_keep_the_others(
    person: Any, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The sweeper logs it, and ends the rest."""
    second = submit(person, "Me too").run
    real = sweeper.end_run

    def end_run(one: Run, *args: Any) -> None:
        if one.pk == run.pk:
            raise ZeroDivisionError
        real(one, *args)

    monkeypatch.setattr(sweeper, "end_run", end_run)
    Run.objects.update(queue_until=db_now() - timedelta(seconds=1))
    sweeper.end_what_waited_too_long(db_now())
    second.refresh_from_db()
    assert second.status == "failed"
    assert f"run {run.pk} cannot be ended" in caplog.text


@contextmanager
def any_status() -> Iterator[None]:
    """Be the database of a newer version, which allows more of them."""
    constraints = [c for c in Run._meta.constraints if isinstance(c, CheckConstraint)]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA ignore_check_constraints = ON")
            yield
            cursor.execute("PRAGMA ignore_check_constraints = OFF")
        return
    with connection.schema_editor() as editor:
        for constraint in constraints:
            editor.remove_constraint(Run, constraint)
    try:
        yield
    finally:
        Run.objects.all().delete()
        with connection.schema_editor() as editor:
            for constraint in constraints:
                editor.add_constraint(Run, constraint)
