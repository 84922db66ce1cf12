"""Looks after runs that nobody looks after. Any process may call `sweep`; one at a time does it.

Takes over the runs of dead workers, ends what is past its time, hands over again what the broker
lost, and compacts the logs of runs that ended long ago.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from llmapp.conf import app_settings
from llmapp.core import run_state
from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import RunStatus
from llmapp.models import Duty, Run, RunEvent, Worker

from . import lease, log, queue
from .clock import db_now
from .endings import end_run

logger = logging.getLogger("llmapp.runs")

DUTY = "sweep"
#: Runs ended, handed over or compacted in one round: a round stays short.
AT_ONCE = 50
#: Rows of workers that are gone are kept for a day, for those who look into what happened.
KEEP_WORKERS = timedelta(days=1)


def sweep() -> bool:
    """Do one round, unless another process did one a moment ago. Says whether it did."""
    now = db_now()
    if not _take_duty(now):
        return False
    for name, task in TASKS.items():
        try:
            task(now)
        except Exception:
            # One that fails must not keep the others from their work.
            logger.exception("sweep: %s failed", name, extra={"action": "sweep_failed"})
    return True


def _take_duty(now: datetime) -> bool:
    """Become the one who sweeps now. A little less than the interval, so that rounds are not left out."""
    until = now + timedelta(seconds=app_settings.SWEEP_SECONDS * 0.8)
    Duty.objects.get_or_create(name=DUTY, defaults={"until": now - timedelta(seconds=1)})
    return Duty.objects.filter(name=DUTY, until__lte=now).update(until=until) == 1


def take_over_from_the_dead(now: datetime) -> None:
    """Revoke leases that ran out, and those of processes that were seen to be gone."""
    for worker in Worker.objects.filter(revoked_at=None):
        if worker.lease_until < now:
            _take_over(worker.pk, "lease_ran_out")
        elif lease.seen_dead(worker):
            _take_over(worker.pk, "worker_died")


def revoke_the_stuck(now: datetime) -> None:
    """A run that is past its timeout and its grace has a worker that does not end it: it loses its lease."""
    limit = now - timedelta(seconds=app_settings.GRACE_SECONDS)
    stuck = Run.objects.filter(status=RunStatus.IN_PROGRESS, run_until__lt=limit)
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
    waiting = Run.objects.filter(over, status=RunStatus.QUEUED).values_list("pk", flat=True)
    for run_id in list(waiting[:AT_ONCE]):
        with transaction.atomic():
            rows = Run.objects.select_for_update(of=("self",)).select_related("conversation")
            run = rows.filter(pk=run_id, status=RunStatus.QUEUED).first()
            if run is not None:
                shown = log.transcript(run_id).text_was_shown
                end_run(run, run_state.when_it_breaks(shown), ErrorKind.TIMEOUT)


def hand_over_again(now: datetime) -> None:
    """Enqueue again what was queued a while ago, as far as there are free places for it."""
    workers = lease.live_workers().values_list("concurrency", flat=True)
    free = sum(workers) - Run.objects.filter(status=RunStatus.IN_PROGRESS).count()
    if free <= 0:
        return
    before = now - timedelta(seconds=app_settings.REQUEUE_SECONDS)
    due = Q(not_before=None) | Q(not_before__lte=now)
    lost = Run.objects.filter(due, Q(enqueued_at=None) | Q(enqueued_at__lt=before), status=RunStatus.QUEUED)
    for run_id in list(lost.order_by("created_at").values_list("pk", flat=True)[: min(free, AT_ONCE)]):
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


def forget_workers(now: datetime) -> None:
    gone = Worker.objects.filter(revoked_at__lt=now - KEEP_WORKERS, runs=None)
    gone.delete()


TASKS: dict[str, Callable[[datetime], None]] = {
    "take over from the dead": take_over_from_the_dead,
    "revoke the stuck": revoke_the_stuck,
    "end what waited too long": end_what_waited_too_long,
    "hand over again": hand_over_again,
    "compact logs": compact_logs,
    "forget workers": forget_workers,
}
