"""Runs that nobody looks after any more."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction

from llmapp import submit
from llmapp.models import AgentSettings, Duty, Run, Worker
from llmapp.runs import away, lease, queue, sweeper
from llmapp.runs.clock import db_now
from tests.support import stack

from .support import events_of


@pytest.fixture
def run(person: Any, scripted: Any, enqueued: Any) -> Run:
    scripted()
    made = submit(person, "Hi").run
    enqueued.clear()
    return made


def ago(seconds: float) -> Any:
    return db_now() - timedelta(seconds=seconds)


def held(run: Run) -> Worker:
    worker = lease.register(1, {})
    assert lease.claim(run.pk, worker.pk) is not None
    return worker


def test_one_process_at_a_time_sweeps(run: Run) -> None:
    """The second one finds the duty taken, and takes it when the interval is over."""
    assert sweeper.sweep()
    assert not sweeper.sweep()
    Duty.objects.update(until=ago(1))
    assert sweeper.sweep()


def test_a_worker_with_a_lease_keeps_its_run(run: Run, enqueued: Any) -> None:
    """Nothing is taken from the living."""
    worker = held(run)
    sweeper.sweep()
    run.refresh_from_db()
    assert (run.status, run.worker, enqueued) == ("in_progress", worker, [])


def test_a_lease_that_ran_out_is_revoked(run: Run, enqueued: Any) -> None:
    """Its run is queued again, at once."""
    worker = held(run)
    Worker.objects.update(lease_until=ago(0.1))
    sweeper.sweep()
    run.refresh_from_db()
    worker.refresh_from_db()
    assert run.status == "queued"
    assert worker.revoked_at is not None
    assert enqueued == [run.pk]


def test_after_a_pause_nobody_is_taken_for_dead(run: Run, enqueued: Any) -> None:
    """Nobody could renew a lease while the database was away: whoever lives gets a moment to come back."""
    worker = held(run)
    Duty.objects.create(name=sweeper.DUTY, until=ago(30))
    Worker.objects.update(lease_until=ago(20))
    assert sweeper.sweep()
    worker.refresh_from_db()
    assert worker.revoked_at is None
    assert lease.beat(worker.pk)
    Duty.objects.update(until=ago(1))
    Worker.objects.update(lease_until=ago(0.1))
    sweeper.sweep()
    assert enqueued == [run.pk]


def test_a_round_that_took_long_was_no_pause(
    run: Run, enqueued: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would be taken for dead while each round is a long one: one that waits for a broker, for example."""
    settings.LLMAPP = {**settings.LLMAPP, "SWEEP_SECONDS": 0.1}
    monkeypatch.setattr(sweeper, "PAUSE", timedelta(seconds=0.5))
    monkeypatch.setitem(sweeper.TASKS, "wait", lambda now: time.sleep(0.8))
    held(run)
    Duty.objects.create(name=sweeper.DUTY, until=ago(0.1))
    assert sweeper.sweep()
    Worker.objects.update(lease_until=ago(0.1))
    assert sweeper.sweep()
    assert enqueued == [run.pk]


def test_a_process_that_was_seen_to_exit_does_not_keep_its_lease(run: Run, enqueued: Any) -> None:
    """On the same machine nobody waits for the end of the lease."""
    worker = held(run)
    process = subprocess.Popen(["sleep", "60"])
    Worker.objects.update(pid=process.pid, versions={"process": lease.process_identity(process.pid)})
    worker.refresh_from_db()
    assert not lease.seen_dead(worker)
    process.kill()
    process.wait()
    assert lease.seen_dead(worker)
    sweeper.sweep()
    assert enqueued == [run.pk]


def test_a_process_that_has_exited_but_was_not_waited_for_is_dead_too(run: Run) -> None:
    """A zombie in the sense of the operating system holds no lease."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert lease.process_identity(process.pid) is None
    process.wait()


def test_a_worker_on_another_machine_is_not_judged_by_its_pid(run: Run) -> None:
    """A pid says nothing elsewhere."""
    worker = held(run)
    worker.versions = {"process": "another-boot/4026531836/1/1"}
    assert not lease.seen_dead(worker)


def test_a_run_past_its_time_and_grace_costs_its_worker_the_lease(run: Run, enqueued: Any) -> None:
    """It ends with the timeout; other runs of that worker are queued again."""
    worker = held(run)
    Run.objects.update(run_until=ago(9))
    sweeper.sweep()
    run.refresh_from_db()
    assert run.status == "in_progress"
    Run.objects.update(run_until=ago(11))
    Duty.objects.all().delete()
    sweeper.sweep()
    run.refresh_from_db()
    worker.refresh_from_db()
    assert (run.status, run.error_kind) == ("failed", "timeout")
    assert worker.revoked_at is not None
    assert not enqueued


def test_a_run_that_waited_too_long_for_a_worker_fails(run: Run) -> None:
    """At the queue timeout, without any worker."""
    Run.objects.update(queue_until=ago(1))
    sweeper.sweep()
    assert events_of(run)[-1]["code"] == "timeout"
    assert run.status == "failed"


def test_a_run_that_was_started_once_has_its_own_timeout(run: Run) -> None:
    """The queue timeout is for the first claim; after it the run's time counts over all takeovers."""
    worker = held(run)
    lease.revoke(worker.pk, "test")
    Run.objects.update(queue_until=ago(1))
    sweeper.end_what_waited_too_long(db_now())
    run.refresh_from_db()
    assert run.status == "queued"
    Run.objects.update(run_until=ago(1))
    sweeper.end_what_waited_too_long(db_now())
    run.refresh_from_db()
    assert (run.status, run.error_kind) == ("failed", "timeout")


def test_what_the_broker_lost_is_handed_over_again(run: Run, enqueued: Any) -> None:
    """After a while, and only while there is a free place for it."""
    Run.objects.update(enqueued_at=ago(11))
    sweeper.hand_over_again(db_now())
    assert not enqueued
    lease.register(1, {})
    sweeper.hand_over_again(db_now())
    assert enqueued == [run.pk]
    sweeper.hand_over_again(db_now())
    assert enqueued == [run.pk]


def test_a_broker_that_is_away_is_asked_once_a_round(person: Any, scripted: Any, monkeypatch: Any) -> None:
    """Each try takes time, and the worker that sweeps has a lease of its own to keep."""
    scripted()
    runs = [submit(person, "Hi").run for _ in range(3)]
    worker = lease.register(3, {})
    for item in runs:
        assert lease.claim(item.pk, worker.pk) is not None
    Worker.objects.update(lease_until=ago(0.1))
    asked: list[Any] = []
    monkeypatch.setattr(queue, "enqueue", lambda run_id: asked.append(run_id) is not None)
    sweeper.take_over_from_the_dead(db_now())
    assert len(asked) == 1
    assert Run.objects.filter(status="queued").count() == 3


def test_a_run_that_has_to_wait_is_not_claimed_before_its_time(run: Run) -> None:
    """Nor handed over."""
    Run.objects.update(not_before=db_now() + timedelta(seconds=60), enqueued_at=ago(11))
    worker = lease.register(1, {})
    assert lease.claim(run.pk, worker.pk) is None
    Run.objects.update(not_before=ago(1))
    assert lease.claim(run.pk, worker.pk) is not None


def test_a_run_whose_wait_is_over_is_handed_over_once_though_no_place_is_free(run: Run, enqueued: Any) -> None:
    """Behind what the broker has already: else new ones would always be before it."""
    enqueued.clear()
    Run.objects.update(not_before=ago(1), enqueued_at=ago(40))
    sweeper.hand_over_again(db_now())
    sweeper.hand_over_again(db_now())
    assert enqueued == [run.pk]


def test_a_stop_that_its_worker_did_not_live_to_see_is_obeyed(run: Run) -> None:
    """A run that was asked to stop is not started again."""
    worker = held(run)
    Run.objects.update(stop_requested_at=db_now())
    lease.revoke(worker.pk, "test")
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert events_of(run)[-1]["outcome"] == {"type": "cancelled"}


def test_a_revoked_lease_cannot_be_renewed_or_used(run: Run) -> None:
    """Never again: the process has to register anew."""
    worker = lease.register(1, {})
    assert lease.beat(worker.pk)
    lease.revoke(worker.pk, "test")
    assert not lease.beat(worker.pk)
    with pytest.raises(lease.LeaseLost):
        lease.claim(run.pk, worker.pk)


def test_old_workers_are_forgotten(run: Run) -> None:
    """A day after their lease was revoked; not those that are alive."""
    lease.register(1, {})
    gone = lease.register(1, {})
    Worker.objects.filter(pk=gone.pk).update(revoked_at=ago(90_000))
    sweeper.forget_workers(db_now())
    assert Worker.objects.count() == 1


def test_a_task_that_fails_does_not_keep_the_others_from_their_work(run: Run, monkeypatch: Any, caplog: Any) -> None:
    """It is logged, and the run that waited too long is ended all the same."""

    def broken(now: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(sweeper.TASKS, "take over from the dead", broken)
    Run.objects.update(queue_until=ago(1))
    assert sweeper.sweep()
    run.refresh_from_db()
    assert run.status == "failed"
    assert "take over from the dead failed" in caplog.text


def test_a_run_of_a_deleted_agent_fails_and_says_so(run: Run, process: Any) -> None:
    """What is missing is named to the administrator, in the log; the person is told what to do."""
    AgentSettings.objects.all().delete()
    process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error_kind) == ("failed", "model_not_found")
    assert run.error_message == "This agent was switched off or deleted. Choose another agent."
    assert events_of(run)[-1]["metadata"]["llmapp.facts"] == {"gone": "agent"}


@pytest.mark.skipif(not stack.on_servers(), reason="SQLite has no server that could end a transaction")
def test_a_worker_that_is_paused_within_a_transaction_keeps_nobody_waiting(run: Run, settings: Any) -> None:
    """It holds its lease's row and the run's; they are free when the lease has run out. Awake, it tries again."""
    settings.LLMAPP = {**settings.LLMAPP, "LEASE_SECONDS": 1}
    worker, is_in, wakes_up = held(run), threading.Event(), threading.Event()

    def write_and_sleep() -> None:
        try:
            with transaction.atomic():
                lease.fence(worker.pk)
                Run.objects.select_for_update().get(pk=run.pk)
                is_in.set()
                wakes_up.wait(20)
                Run.objects.get(pk=run.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        sleeper = pool.submit(write_and_sleep)
        assert is_in.wait(5)
        began = time.monotonic()
        assert lease.revoke(worker.pk, "lease_ran_out") == [run.pk]
        assert time.monotonic() - began < 5
        wakes_up.set()
        assert away.is_away(sleeper.exception(5))


@pytest.mark.skipif(stack.on_servers(), reason="PostgreSQL has no one writer")
def test_a_database_that_another_process_keeps_locked_is_one_line(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A paused writer is no fault of ours, and a stack trace each 20 s helps nobody. Later it goes on."""
    with contextlib.closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        connection.cursor().execute("PRAGMA busy_timeout = 50")
        other.execute("BEGIN IMMEDIATE")
        assert not sweeper.sweep()
        (said,) = caplog.records
        assert (said.levelname, said.action, said.exc_info) == ("WARNING", "database_locked", None)  # type: ignore[attr-defined]
        other.execute("ROLLBACK")
    assert sweeper.sweep()


def test_a_run_that_cannot_be_taken_away_holds_up_no_other(
    person: Any, scripted: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, and says so; the other one of the dead worker goes on."""
    worker = held(run)
    other = submit(person, "And I?").run
    lease.claim(other.pk, worker.pk)
    take_away = lease._take_away

    def fails_for_one(one: Run, *args: Any) -> bool:
        if one.pk == run.pk:
            raise ValueError("what nobody has thought of")
        return take_away(one, *args)

    monkeypatch.setattr(lease, "_take_away", fails_for_one)
    assert lease.revoke(worker.pk, "worker_died") == [other.pk]
    run.refresh_from_db()
    assert (run.status, run.error_kind) == ("failed", "server_error")
    assert events_of(run)[-1]["type"] == "RUN_ERROR"


def test_what_a_revoked_worker_still_holds_is_found_later(run: Run, enqueued: list[Any]) -> None:
    """However that came about: nobody looked there a second time."""
    worker = held(run)
    Worker.objects.filter(pk=worker.pk).update(revoked_at=db_now())
    sweeper.take_over_from_the_dead(db_now())
    run.refresh_from_db()
    assert (run.status, enqueued[-1]) == ("queued", run.pk)
