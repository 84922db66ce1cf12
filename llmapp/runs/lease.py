"""Leases: one row per worker process, held over all of its runs.

* A process renews its lease from its event loop. Taking its runs over begins by revoking the row,
  for good; a process that finds its lease revoked stops its runs and makes a new row.
* A run is claimed under a lock on its row, with an event in the same transaction, so that no earlier
  owner can take the next number in its log.
* Times are the database's clock.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from llmapp.conf import app_settings
from llmapp.core import events as ev
from llmapp.core import run_state
from llmapp.core.errors import ErrorKind
from llmapp.core.fitness import Reason
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.models import Run, Worker
from llmapp.signals import run_started, send_on_commit

from . import away, journal, log, records
from .clock import as_moment, db_now, now_sql
from .endings import end_run, requeue, settle, withdrawal

#: Seconds that a run may take at most, whatever its agent says: a day.
LONGEST = 86_400

#: What is read with a run that is claimed: all that its briefing needs beside the messages.
WITH_A_RUN = ("conversation", "agent__model__provider", "message")

#: PostgreSQL ends a transaction in which nothing is said for so long: its process is paused, or cut off, and all who
#: have to take over from it would wait for its locks. For the rest of one transaction only.
_PATIENCE_OF_LOCKS = "set_config('idle_in_transaction_session_timeout', %s, true)"

#: The reason that is no trouble.
WORKER_STOPPED = "worker_stopped"


class LeaseLost(Exception):
    """This process's lease was revoked: its runs belong to others now."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this process owns from now on. `seq` is the last number in its log."""

    run: Run
    seq: int
    #: When it has to end, on the database's clock; `now` is the same clock at the claim.
    now: datetime


def register(
    concurrency: int, versions: dict[str, str], setup: dict[str, Any] | None = None, unfit: list[Reason] | None = None
) -> Worker:
    """Make a row, and so a lease, for this process."""
    now = db_now()
    return Worker.objects.create(
        hostname=socket.gethostname(),
        pid=os.getpid(),
        concurrency=concurrency,
        versions={**versions, "process": process_identity(os.getpid())},
        setup=setup or {},
        unfit=unfit or [],
        started_at=now,
        heartbeat_at=now,
        lease_until=now + timedelta(seconds=app_settings.LEASE_SECONDS),
    )


def beat(worker_id: uuid.UUID, hears: bool = True, what_is_open: dict[str, Any] | None = None) -> bool:
    """Renew the lease, and write what is open. False: it was revoked, and never comes back.

    A worker that does not hear its broker keeps its runs, and is said to be away: it would get no new ones.
    """
    now = db_now()
    until = now + timedelta(seconds=app_settings.LEASE_SECONDS)
    mine = Worker.objects.filter(pk=worker_id, revoked_at=None)
    said = {"lease_until": until, "open": what_is_open or {}, **({"heartbeat_at": now} if hears else {})}
    with away.watched(writes=True):
        return mine.update(**said) == 1


def fence(worker_id: uuid.UUID) -> datetime:
    """Hold the lease for the rest of this transaction, or raise `LeaseLost`. Returns the database's time.

    On Postgres the share lock makes a revocation wait for the commit, at most until the lease has run out; on SQLite
    writers come one by one anyway.
    """
    table = connection.ops.quote_name(Worker._meta.db_table)
    limit = f", {_PATIENCE_OF_LOCKS}" if connection.vendor == "postgresql" else ""
    lock = " FOR SHARE" if connection.vendor == "postgresql" else ""
    key = Worker._meta.pk.get_db_prep_value(worker_id, connection)
    with connection.cursor() as cursor:
        now = now_sql().replace("%", "%%")
        params = [_lease_in_ms(), key] if limit else [key]
        cursor.execute(f"SELECT revoked_at, {now}{limit} FROM {table} WHERE id = %s{lock}", params)
        row = cursor.fetchone()
    if row is None or row[0] is not None:
        raise LeaseLost
    return as_moment(row[1])


def held(run_id: uuid.UUID, worker_id: uuid.UUID) -> QuerySet[Run]:
    """Return the run, if this worker holds it. Who takes it away locks the row, and so waits for who has it."""
    return Run.objects.filter(pk=run_id, worker_id=worker_id, status=RunStatus.IN_PROGRESS)


def hold(run_id: uuid.UUID, worker_id: uuid.UUID) -> None:
    """Keep a run for the rest of this transaction, or raise `LeaseLost`."""
    if held(run_id, worker_id).select_for_update(of=("self",)).values_list("pk").first() is None:
        raise LeaseLost


def _lease_in_ms() -> str:
    return str(round(app_settings.LEASE_SECONDS * 1000))


def _let_go_in_time() -> None:
    """See to it that this transaction, whatever it locks, keeps nobody waiting for longer than a lease."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {_PATIENCE_OF_LOCKS}", [_lease_in_ms()])


def registered_workers() -> QuerySet[Worker]:
    """Return the workers that hold a lease now, those too that take no runs."""
    return Worker.objects.filter(revoked_at=None, stopped_at=None, lease_until__gt=db_now())


def live_workers() -> QuerySet[Worker]:
    """Return the workers that hold a lease now and take runs."""
    return registered_workers().filter(unfit=[])


def present_workers() -> QuerySet[Worker]:
    """Return the workers that were heard of just now: what people are told, long before a lease runs out."""
    return live_workers().filter(heartbeat_at__gt=db_now() - timedelta(seconds=3 * app_settings.HEARTBEAT_SECONDS))


def claim(run_id: uuid.UUID, worker_id: uuid.UUID) -> Claim | None:
    """Take a queued run. None: somebody else has it, it has ended, or it is not yet time."""
    with transaction.atomic():
        now = fence(worker_id)
        due = Q(not_before=None) | Q(not_before__lte=now)
        # Held, so that of two who want it the second one finds it taken.
        queued = Run.objects.select_for_update(of=("self",)).select_related(*WITH_A_RUN)
        run = queued.filter(due, pk=run_id, status__in=run_state.sources(Trigger.CLAIM)).first()
        if run is None:
            return None
        run.status = run_state.after(run.status, Trigger.CLAIM)
        run.worker_id = worker_id
        run.executions += 1
        if is_first := run.started_at is None:
            run.started_at = now
            run.run_until = now + timedelta(seconds=min(run.timeout, LONGEST))
        run.save(update_fields=["status", "worker", "executions", "started_at", "run_until"])
        events = [ev.run_status(RunStatus.IN_PROGRESS, execution=run.executions)]
        last = log.last_seq(run_id)
        # A run that was never begun has only its beginning in the log.
        if last > 1 and (transcript := log.transcript(run_id)).steps:
            events += withdrawal(run, transcript)
        seq = log.append(run_id, events, after=last, now=now)
        records.run_changed(run, "run_claimed", "claimed", worker=worker_id, execution=run.executions)
        if is_first:
            send_on_commit(run_started, Run, run_id=run.pk)
    return Claim(run, seq, now)


def revoke(worker_id: uuid.UUID, reason: str) -> list[uuid.UUID]:
    """Revoke a lease and take its runs away. Returns the runs that are queued again.

    Runs whose time is over, that were asked to stop, or that had their last execution, end here.
    """
    with transaction.atomic():
        _let_go_in_time()
        now = db_now()
        runs = Run.objects.select_for_update(of=("self",)).select_related("conversation").filter(worker_id=worker_id)
        if not Worker.objects.filter(pk=worker_id, revoked_at=None).update(revoked_at=now):
            # Only what could not be taken away the first time.
            return _take_all_away(runs, now, reason)
        level = logging.INFO if reason == WORKER_STOPPED else logging.WARNING
        text = f"lease of worker {worker_id} revoked: {reason}"
        records.write_on_commit(records.runs, level, "lease_revoked", text, worker=worker_id, reason=reason)
        return _take_all_away(runs, now, reason)


def _take_all_away(runs: QuerySet[Run], now: datetime, reason: str) -> list[uuid.UUID]:
    """Take each of these away, whatever becomes of the others. Returns those that are queued again."""
    return [run.pk for run in runs if _take_away_or_end(run, now, reason)]


def _take_away_or_end(run: Run, now: datetime, reason: str) -> bool:
    """Queue a run again, or end it; say whether it is queued. One that makes that impossible ends all the same."""
    try:
        with transaction.atomic():
            return _take_away(run, now, reason)
    except Exception as error:
        if away.is_away(error):
            raise
        about = {"action": "run_not_ended", "run": str(run.pk)}
        records.runs.exception("run %s could not be taken away; it fails", run.pk, extra=about)
    with transaction.atomic():
        fresh = Run.objects.select_related("conversation").get(pk=run.pk)
        log.append(fresh.pk, [settle(fresh, Trigger.FAIL, ErrorKind.SERVER_ERROR)])
    return False


def _take_away(run: Run, now: datetime, reason: str) -> bool:
    """Queue a run of a dead worker again, or end it; say whether it is queued."""
    transcript = log.transcript(run.pk)
    if (over := journal.conclusion(run, transcript)) is not None:
        # Its answer was finished: nobody has to ask for it again.
        end_run(run, over.trigger, over.kind, over.facts)
        return False
    if run.stop_requested_at is not None:
        end_run(run, Trigger.CANCEL)
        return False
    shown = transcript.text_was_shown
    if run.run_until is not None and run.run_until <= now:
        end_run(run, run_state.when_it_breaks(shown), ErrorKind.TIMEOUT)
        return False
    trigger = run_state.when_lease_is_revoked(run.executions, shown)
    if trigger is Trigger.RECLAIM:
        log.append(run.pk, requeue(run, trigger, reason))
        return True
    kind = ErrorKind.STREAM_INTERRUPTED if shown else ErrorKind.SERVER_ERROR
    end_run(run, trigger, kind)
    return False


def runs_of(worker_id: uuid.UUID) -> list[uuid.UUID]:
    """Return the runs that this worker holds."""
    return list(Run.objects.filter(worker_id=worker_id, status=RunStatus.IN_PROGRESS).values_list("pk", flat=True))


def give_up(worker_id: uuid.UUID, run_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    """Let go of runs that this worker holds and does not execute. Returns those that are queued again."""
    with transaction.atomic():
        now = fence(worker_id)
        text = f"runs that were dropped go back: {', '.join(map(str, run_ids))}"
        records.write_on_commit(records.runs, logging.WARNING, "runs_given_up", text, worker=worker_id)
        runs = Run.objects.select_for_update(of=("self",)).select_related("conversation")
        mine = runs.filter(pk__in=run_ids, worker_id=worker_id, status=RunStatus.IN_PROGRESS)
        return _take_all_away(mine, now, "run_dropped")


def stopped(worker_id: uuid.UUID) -> list[uuid.UUID]:
    """Give the lease back in good order. Returns runs that were still held, queued again."""
    Worker.objects.filter(pk=worker_id, stopped_at=None).update(stopped_at=db_now())
    return revoke(worker_id, WORKER_STOPPED)


# --- this machine ---------------------------------------------------------------------------


@cache
def _machine() -> str | None:
    """Name this boot of this machine and its process namespace; None where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def process_identity(pid: int) -> str | None:
    """Name a running process for good, whatever takes its pid later; None: it is gone, or unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # The third field is the state: a zombie has exited. The 22nd is the start, in ticks since boot.
    return None if fields[0] in "ZX" else f"{_machine()}/{pid}/{fields[19]}"


def seen_dead(worker: Worker) -> bool:
    """Say whether this worker ran on this machine and has certainly exited.

    It spares its people the wait for the end of the lease when a worker is restarted.
    """
    identity: str | None = worker.versions.get("process")
    machine = _machine()
    if not identity or machine is None or not identity.startswith(f"{machine}/"):
        return False
    return process_identity(worker.pid) != identity
