"""However a run ends or goes back to the queue: its turns, calls and attempts are closed, each with its reason."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from llmapp import submit
from llmapp.backends.base import Secret
from llmapp.calls.base import AttemptResult
from llmapp.core.errors import ErrorKind, Failure
from llmapp.core.run_state import Trigger
from llmapp.core.stream import FinishReason
from llmapp.models import Attempt, Call, Run, Turn, Worker
from llmapp.runs import actions, endings, execution, journal, keys, lease, log, sweeper
from llmapp.runs.briefing import brief
from llmapp.runs.clock import db_now
from llmapp.runs.ledger import RunLedger
from llmapp.runs.threads import DatabaseThreads

from .support import wait_until

RATE_LIMIT = Failure(kind=ErrorKind.RATE_LIMIT)


class Held:
    """A run in the hands of a worker that has got as far as a test wants it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.worker = lease.register(1, {})
        claim = lease.claim(run.pk, self.worker.pk)
        assert claim is not None
        self.threads = DatabaseThreads(1, "test")
        self.ledger = RunLedger(run.pk, self.worker.pk, self.threads)
        self.model = brief(claim.run, 1).agent.models[0]

    # -- how far it got

    def before_an_attempt(self) -> None:
        self.call = self.ledger._open_call()

    def in_an_attempt(self, number: int = 1) -> None:
        if number == 1:
            self.before_an_attempt()
        secret = Secret(id=None)
        self.attempt = self.ledger._open_attempt(self.call, number, self.model, secret, {"model": "actor"}, 5)

    def between_attempts(self) -> None:
        self.in_an_attempt()
        self._end_attempt(AttemptResult(failure=RATE_LIMIT, action="Wait", waited=3.0))

    def in_the_next_attempt(self) -> None:
        self.between_attempts()
        self.in_an_attempt(2)

    def between_call_and_end(self) -> None:
        """The model has answered; that its turn is finished is not yet written."""
        self.in_an_attempt()
        self._end_attempt(AttemptResult(failure=None, finish_reason=FinishReason.STOP))
        self.ledger._close_call(self.call, None)

    @transaction.atomic
    def between_turns(self) -> None:
        self.between_call_and_end()
        message = endings.keep_message(self._locked(), str(uuid.uuid4()), "Hello")
        Turn.objects.filter(run=self.run).update(ended_at=db_now(), finish_reason="stop", message=message)

    def _end_attempt(self, result: AttemptResult) -> None:
        self.ledger._close_attempt(self.attempt, result, {"run": self.run.pk, "attempt": self.attempt})

    # -- how it ends

    def dies(self) -> None:
        lease.revoke(self.worker.pk, "worker_died")

    def its_lease_runs_out(self) -> None:
        Worker.objects.filter(pk=self.worker.pk).update(lease_until=past())
        sweeper.take_over_from_the_dead(db_now())

    def stops_in_good_order(self) -> None:
        lease.stopped(self.worker.pk)

    def drops_it(self) -> None:
        lease.give_up(self.worker.pk, [self.run.pk])

    def dies_for_the_third_time(self) -> None:
        Run.objects.update(executions=3)
        self.dies()

    def is_past_its_time(self) -> None:
        Run.objects.update(run_until=past(60))
        sweeper.revoke_the_stuck(db_now())

    def dies_before_it_saw_a_stop(self) -> None:
        actions.request_stop(self.run)
        self.dies()

    def dies_and_it_is_stopped(self) -> None:
        self.dies()
        actions.request_stop(self.run)

    def dies_and_it_waits_too_long(self) -> None:
        self.dies()
        Run.objects.update(run_until=past())
        sweeper.end_what_waited_too_long(db_now())

    def has_to_wait(self) -> None:
        with transaction.atomic():
            log.append(self.run.pk, endings.postpone(self._locked(), ErrorKind.RATE_LIMIT, 60.0))

    def hands_it_back(self) -> None:
        with transaction.atomic():
            log.append(self.run.pk, endings.requeue(self._locked(), Trigger.YIELD, "worker_stopped"))

    def fails(self) -> None:
        with transaction.atomic():
            log.append(self.run.pk, [endings.settle(self._locked(), Trigger.FAIL, ErrorKind.AUTH)])

    def completes(self) -> None:
        with transaction.atomic():
            log.append(self.run.pk, [endings.settle(self._locked(), Trigger.COMPLETE)])

    def _locked(self) -> Run:
        return Run.objects.select_for_update(of=("self",)).select_related("conversation").get(pk=self.run.pk)


def past(seconds: float = 1) -> Any:
    return db_now() - timedelta(seconds=seconds)


#: How it got so far: what is open then.
POINTS: list[tuple[Callable[[Held], None], set[str]]] = [
    (Held.before_an_attempt, {"Turn", "Call"}),
    (Held.in_an_attempt, {"Turn", "Call", "Attempt"}),
    (Held.between_attempts, {"Turn", "Call"}),
    (Held.in_the_next_attempt, {"Turn", "Call", "Attempt"}),
    (Held.between_call_and_end, {"Turn"}),
    (Held.between_turns, set()),
]

#: How it ends: the status then, and the reason that is written on what was open.
WAYS: list[tuple[Callable[[Held], None], str, str]] = [
    (Held.dies, "queued", "cancelled"),
    (Held.its_lease_runs_out, "queued", "cancelled"),
    (Held.stops_in_good_order, "queued", "cancelled"),
    (Held.drops_it, "queued", "cancelled"),
    (Held.hands_it_back, "queued", "cancelled"),
    (Held.has_to_wait, "queued", "rate_limit"),
    (Held.dies_for_the_third_time, "failed", "server_error"),
    (Held.is_past_its_time, "failed", "timeout"),
    (Held.dies_before_it_saw_a_stop, "cancelled", "cancelled"),
    (Held.dies_and_it_is_stopped, "cancelled", "cancelled"),
    (Held.dies_and_it_waits_too_long, "failed", "cancelled"),
    (Held.fails, "failed", "auth"),
    (Held.completes, "completed", "cancelled"),
]


def named(value: Any) -> str | None:
    return getattr(value, "__name__", None)


def rows_of(run: Run) -> list[Any]:
    found = [Turn.objects.filter(run=run), Call.objects.filter(run=run), Attempt.objects.filter(call__run=run)]
    return [row for rows in found for row in rows]


def opened(run: Run) -> list[Any]:
    return [row for row in rows_of(run) if row.ended_at is None]


def check(run: Run) -> None:
    """What holds for every run that nobody is at work on: nothing is open, everything says how it ended."""
    assert opened(run) == []
    for row in rows_of(run):
        assert row.started_at <= row.ended_at
        if isinstance(row, Call):
            attempts = list(Attempt.objects.filter(call=row).order_by("number"))
            answered = bool(attempts) and attempts[-1].error_kind == ""
            assert bool(row.error_kind) is not answered
            assert all(row.started_at <= a.started_at and a.ended_at <= row.ended_at for a in attempts)
        else:
            assert bool(row.error_kind) is not bool(row.finish_reason)


@pytest.mark.parametrize("point, open_then", POINTS, ids=named)
@pytest.mark.parametrize("way, status, reason", WAYS, ids=named)
def test_nothing_stays_open(
    person: Any, scripted: Any, point: Any, open_then: set[str], way: Any, status: str, reason: str
) -> None:
    """Whoever ends the run, its worker, the sweeper or a person."""
    scripted()
    held = Held(submit(person, "Hi").run)
    point(held)
    were_open = opened(held.run)
    assert {type(row).__name__ for row in were_open} == open_then
    way(held)
    held.run.refresh_from_db()
    # What is finished is finished, where a dead worker's run is judged.
    judged = way not in (Held.has_to_wait, Held.hands_it_back, Held.fails)
    assert held.run.status == ("completed" if point is Held.between_turns and judged else status)
    check(held.run)
    for row in were_open:
        row.refresh_from_db()
        assert row.error_kind == reason
    held.threads.close()


def test_an_attempt_whose_worker_is_gone_says_so(person: Any, scripted: Any) -> None:
    """It is no failure of the model's: `cancelled` is not counted as one."""
    scripted()
    held = Held(submit(person, "Hi").run)
    held.in_an_attempt()
    held.its_lease_runs_out()
    attempt = Attempt.objects.get()
    assert (attempt.error_kind, attempt.error_detail) == ("cancelled", "lease_ran_out")
    held.threads.close()


@pytest.mark.parametrize("way", [Held.dies, Held.fails, Held.has_to_wait], ids=named)
def test_who_has_lost_a_run_opens_nothing_more_for_it(person: Any, scripted: Any, way: Any) -> None:
    """A worker that was paused and wakes up asks no model, and counts no attempt."""
    scripted()
    held = Held(submit(person, "Hi").run)
    held.between_attempts()
    way(held)
    # Not even while it is with the next one.
    if Run.objects.get().status == "queued":
        Run.objects.update(not_before=None)
        assert lease.claim(held.run.pk, lease.register(1, {}).pk) is not None
    before = len(rows_of(held.run))
    with pytest.raises(lease.LeaseLost):
        held.in_an_attempt(2)
    with pytest.raises(lease.LeaseLost):
        held.before_an_attempt()
    assert len(rows_of(held.run)) == before
    assert Run.objects.get().attempts_used == 1
    held.threads.close()


# --- the same in a worker process ---------------------------------------------------------------

SLOWLY = 30.0


def before_an_attempt(patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    async def pick(*args: Any) -> Secret:
        await asyncio.sleep(SLOWLY)
        raise AssertionError("nobody waits so long")

    patch.setattr(keys.DatabaseKeyPool, "pick", pick)
    return [{"text": "never"}]


def in_an_attempt(patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return [{"pause": SLOWLY}]


def between_attempts(patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return [{"fail": {"status": 429, "headers": {"retry-after": "20"}}}]


def after_the_turn(patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    finish = journal.RunJournal.finish

    async def slowly(self: Any, *args: Any) -> None:
        await finish(self, *args)
        await asyncio.sleep(SLOWLY)

    patch.setattr(journal.RunJournal, "finish", slowly)
    return [{"text": "Hello"}]


#: What is there then: open and closed turns, calls and attempts.
REACHED = {
    before_an_attempt: ("Turn Call", ""),
    in_an_attempt: ("Turn Call Attempt", ""),
    between_attempts: ("Turn Call", "Attempt"),
    after_the_turn: ("", "Turn Call Attempt"),
}
ENDS = {"stop": "cancelled", "timeout": "failed", "shutdown": "queued", "lost": "queued"}


def reached(run: Run, point: Any) -> bool:
    found = rows_of(run)
    names = [[type(row).__name__ for row in found if (row.ended_at is None) is wanted] for wanted in (True, False)]
    return tuple(" ".join(part) for part in names) == REACHED[point]


@pytest.mark.parametrize("point", REACHED, ids=named)
@pytest.mark.parametrize("how", ENDS)
def test_a_process_closes_what_it_opened(
    person: Any, scripted: Any, process: Any, in_background: Any, monkeypatch: Any, point: Any, how: str
) -> None:
    scripted(point(monkeypatch))
    run = submit(person, "Hi").run
    thread = in_background(run)
    wait_until(lambda: reached(run, point))
    if how == "stop":
        actions.request_stop(run)
    elif how == "lost":
        lease.revoke(Worker.objects.get(revoked_at=None).pk, "test")
    else:
        process._portal.call(process._interrupt, run.pk, execution.Interruption[how.upper()])
    wait_until(lambda: Run.objects.get(pk=run.pk).status != "in_progress")
    check(run)
    run.refresh_from_db()
    assert run.status == ("completed" if point is after_the_turn else ENDS[how])
    thread.join(10)
    # And what its task wrote afterwards has opened nothing.
    check(run)
