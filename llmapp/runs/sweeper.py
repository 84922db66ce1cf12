"""Looks after runs that nobody looks after. Any process may call `sweep`; one at a time does it.

Takes over the runs of dead workers, ends what is past its time, hands over again what the broker
lost, and compacts the logs of runs that ended long ago. Deletes what visitors said long ago, and what
no longer says how models do.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from llmapp.conf import app_settings
from llmapp.core import run_state
from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import RunStatus
from llmapp.models import Conversation, Duty, Run, RunEvent, Visitor, WebProcess, Worker
from llmapp.models.runs import ACTIVE_RUNS

from . import alarms, away, breakers, lease, log, queue
from .actions import delete
from .clock import db_now
from .endings import end_run

logger = logging.getLogger("llmapp.runs")

DUTY = "sweep"
#: Of the interval, for how long a round keeps the duty: a little less than all of it, so that no round is left out.
PART = 0.8
#: Runs ended, handed over or compacted in one round: a round stays short.
AT_ONCE = 50
#: Seconds without a sweep after which the database is taken to have been away, for everybody.
PAUSE = timedelta(seconds=6)
#: What a lease that ran out meanwhile gets, so that its worker can come back too.
MOMENT = timedelta(seconds=4)
#: Rows of workers that are gone are kept for a day, for those who look into what happened.
KEEP_WORKERS = timedelta(days=1)
#: The longest time over which sends from one network are counted.
KEEP_ADDRESSES = timedelta(days=1)
#: Conversations of visitors deleted in one round: each brings its messages, runs and logs.
CONVERSATIONS_AT_ONCE = 10


def sweep() -> bool:
    """Do one round, unless another process did one a moment ago. Says whether it did."""
    try:
        return _sweep()
    except DatabaseError as error:
        if not away.is_locked(error):
            raise
        # Nobody can write, so nobody can be looked after; the next round comes all the same.
        logger.warning("sweep: another process keeps the database locked", extra={"action": "database_locked"})
        return False


def _sweep() -> bool:
    now = db_now()
    until = now + timedelta(seconds=app_settings.SWEEP_SECONDS * PART)
    if (pause := _take_duty(now, until)) is None:
        return False
    away.writing.over()
    if pause > PAUSE:
        _let_everybody_come_back(now)
        return True
    for name, task in TASKS.items():
        try:
            task(now)
        except Exception as error:
            if away.is_away(error) or away.is_locked(error):
                raise
            # One that fails must not keep the others from their work.
            logger.exception("sweep: %s failed", name, extra={"action": "sweep_failed"})
    _end_duty(until)
    return True


@contextmanager
def one_by_one(run_id: uuid.UUID) -> Iterator[None]:
    """Keep a run that cannot be ended from keeping the others."""
    try:
        yield
    except Exception as error:
        if away.is_away(error):
            raise
        logger.exception("run %s cannot be ended", run_id, extra={"action": "run_not_ended", "run": str(run_id)})


def _take_duty(now: datetime, until: datetime) -> timedelta | None:
    """Become the one who sweeps until then, and return for how long nobody did; None: another one does."""
    duty, _made = Duty.objects.get_or_create(name=DUTY, defaults={"until": now - timedelta(seconds=1)})
    taken = Duty.objects.filter(name=DUTY, until=duty.until, until__lte=now).update(until=until)
    return now - duty.until if taken else None


def _end_duty(until: datetime) -> None:
    """A round that took long was no pause, unless another one took the duty meanwhile."""
    if (ended := db_now()) > until:
        Duty.objects.filter(name=DUTY, until=until).update(until=ended)


def _let_everybody_come_back(now: datetime) -> None:
    """Nobody swept for a while: who could not, could not renew a lease either. That is no sign of death."""
    Worker.objects.filter(revoked_at=None, lease_until__lt=now).update(lease_until=now + MOMENT)


def take_over_from_the_dead(now: datetime) -> None:
    """Revoke leases that ran out, and those of processes that were seen to be gone."""
    for worker in Worker.objects.filter(revoked_at=None):
        if worker.lease_until < now:
            _take_over(worker.pk, "lease_ran_out")
        elif lease.seen_dead(worker):
            _take_over(worker.pk, "worker_died")
    left = Run.objects.filter(ACTIVE_RUNS, status=RunStatus.IN_PROGRESS, worker__revoked_at__isnull=False)
    for worker_id in set(left.values_list("worker_id", flat=True)):
        if worker_id is not None:
            _take_over(worker_id, "lease_ran_out")


def revoke_the_stuck(now: datetime) -> None:
    """A run that is past its timeout and its grace has a worker that does not end it: it loses its lease."""
    limit = now - timedelta(seconds=app_settings.GRACE_SECONDS)
    stuck = Run.objects.filter(ACTIVE_RUNS, status=RunStatus.IN_PROGRESS, run_until__lt=limit)
    alarms.past_their_time(stuck.values_list("pk", "run_until"), now)
    for worker_id in stuck.values_list("worker_id", flat=True).distinct():
        if worker_id is not None:
            _take_over(worker_id, "run_past_its_time")


def _take_over(worker_id: uuid.UUID, reason: str) -> None:
    for run_id in lease.revoke(worker_id, reason):
        if not queue.enqueue(run_id):
            # The broker is away, and each try costs time: `hand_over_again` comes to the rest.
            return


def end_what_waited_too_long(now: datetime) -> None:
    """End queued runs whose wait for a first worker, or whose whole time, is over."""
    over = Q(started_at=None, queue_until__lt=now) | Q(run_until__lt=now)
    waiting = Run.objects.filter(ACTIVE_RUNS, over, status=RunStatus.QUEUED).values_list("pk", flat=True)
    for run_id in list(waiting[:AT_ONCE]):
        with one_by_one(run_id), transaction.atomic():
            rows = Run.objects.select_for_update(of=("self",)).select_related("conversation")
            run = rows.filter(pk=run_id, status=RunStatus.QUEUED).first()
            if run is not None:
                shown = log.transcript(run_id).text_was_shown
                end_run(run, run_state.when_it_breaks(shown), ErrorKind.TIMEOUT)


def hand_over_again(now: datetime) -> None:
    """Enqueue again what was queued a while ago, as far as there are free places for it."""
    _hand_over_what_is_due(now)
    workers = lease.live_workers().values_list("concurrency", flat=True)
    taken = Run.objects.filter(ACTIVE_RUNS, status=RunStatus.IN_PROGRESS, worker__unfit=[])
    free = sum(workers) - taken.count()
    if free <= 0:
        return
    before = now - timedelta(seconds=app_settings.REQUEUE_SECONDS)
    due = Q(not_before=None) | Q(not_before__lte=now)
    lost = Run.objects.filter(
        ACTIVE_RUNS, due, Q(enqueued_at=None) | Q(enqueued_at__lt=before), status=RunStatus.QUEUED
    )
    for run_id in list(lost.order_by("created_at").values_list("pk", flat=True)[: min(free, AT_ONCE)]):
        if not queue.enqueue(run_id):
            return
        Run.objects.filter(pk=run_id).update(enqueued_at=now)


def _hand_over_what_is_due(now: datetime) -> None:
    """Enqueue what had to wait until now, once, behind what the broker has: full workers are no reason."""
    due = Run.objects.filter(ACTIVE_RUNS, status=RunStatus.QUEUED, not_before__lte=now, enqueued_at__lt=F("not_before"))
    for run_id in list(due.order_by("not_before").values_list("pk", flat=True)[:AT_ONCE]):
        if not queue.enqueue(run_id):
            return
        Run.objects.filter(pk=run_id).update(enqueued_at=now)


def compact_logs(now: datetime) -> None:
    """Keep only the first and the last entry of runs that ended long ago; readers get a snapshot between."""
    before = now - timedelta(seconds=app_settings.COMPACT_AFTER)
    old = Run.objects.filter(compacted_at=None, ended_at__lt=before).values_list("pk", flat=True)
    for run_id in list(old[:AT_ONCE]):
        with transaction.atomic():
            last = log.last_seq(run_id)
            RunEvent.objects.filter(run_id=run_id, seq__gt=1, seq__lt=last).delete()
            Run.objects.filter(pk=run_id).update(compacted_at=now)


def forget_addresses(now: datetime) -> None:
    """Take the mark of the network from runs that no limit counts any more."""
    old = Run.objects.filter(address__gt="", created_at__lt=now - KEEP_ADDRESSES).values_list("pk", flat=True)
    Run.objects.filter(pk__in=list(old[:AT_ONCE])).update(address="")


def forget_visitors(now: datetime) -> None:
    """Delete conversations of visitors in which nothing was said for long, and visitors who have none left."""
    before = now - timedelta(days=app_settings.VISITOR_DAYS)
    for pk, visitor in list(_left_by_visitors(before).values_list("pk", "visitor")[:CONVERSATIONS_AT_ONCE]):
        with transaction.atomic():
            # The visitor first, as a send and a sign-in hold it: who comes back this moment finds all or nothing.
            list(Visitor.objects.select_for_update().filter(pk=visitor))
            if (conversation := _left_by_visitors(before).filter(pk=pk).first()) is not None:
                delete(conversation)
    gone = Visitor.objects.filter(seen_at__lt=before, conversations=None)
    if gone.exists():
        with transaction.atomic():
            held = gone.select_for_update(of=("self",), skip_locked=True)[:AT_ONCE]
            Visitor.objects.filter(pk__in=[visitor.pk for visitor in held]).delete()


def _left_by_visitors(before: datetime) -> QuerySet[Conversation]:
    active = Run.objects.filter(ACTIVE_RUNS, conversation=OuterRef("pk"))
    rows = Conversation.objects.filter(visitor__isnull=False, updated_at__lt=before)
    return rows.filter(~Exists(active)).order_by("updated_at")


def forget_workers(now: datetime) -> None:
    gone = Worker.objects.filter(revoked_at__lt=now - KEEP_WORKERS, runs=None)
    gone.delete()
    WebProcess.objects.filter(heartbeat_at__lt=now - KEEP_WORKERS).delete()


TASKS: dict[str, Callable[[datetime], None]] = {
    "take over from the dead": take_over_from_the_dead,
    "revoke the stuck": revoke_the_stuck,
    "end what waited too long": end_what_waited_too_long,
    "hand over again": hand_over_again,
    "compact logs": compact_logs,
    "forget workers": forget_workers,
    "forget addresses": forget_addresses,
    "forget visitors": forget_visitors,
    "watch": alarms.watch,
    "forget observations": breakers.forget_observations,
}
