"""Waiting for the end of a run, from any code of a site: `wait` in a thread, `await_run` on an event loop.

Both look at the run's row, by its key, ever more seldom: no wait is longer by more than a twentieth, or a second. Bells
are for those who want each token; to listen costs a connection for each who waits.

The twin of `wait` is not called `await`: that is a word of Python's own.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import uuid

from channels.db import database_sync_to_async
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone
from django.utils.asyncio import async_unsafe

from llmapp.conf import app_settings
from llmapp.core import run_state
from llmapp.core.run_state import RunStatus
from llmapp.models import Run

from . import away, lease, sweeper
from .actions import Submission

logger = logging.getLogger("llmapp.runs")

#: Seconds between two looks: the first ones, and at most. Between them a part of what has been waited.
SHORTEST, PART, LONGEST = 0.05, 1 / 20, 1.0

IN_A_TRANSACTION = (
    "wait() cannot be called inside of transaction.atomic: a run that was submitted in it begins when it is committed, "
    "and no other could be seen to end. Wait behind the block. A view under ATOMIC_REQUESTS is such a block, unless it "
    "has the decorator @transaction.non_atomic_requests."
)
IN_A_WORKER = (
    "wait() cannot be called in a worker that carries runs out: who waits there keeps a place that the run may need, "
    "and when all places wait, nothing moves. Put this task on a queue of its own, with a worker that does not listen "
    "to the queue llmapp; or listen to the signal run_ended instead."
)
ON_A_LOOP = "wait() would stop the event loop. Here it is: run = await llmapp.await_run(run)."


class WaitTimeout(TimeoutError):
    """The run goes on, and how it stands. `run` is its row as it was at the last look."""

    def __init__(self, run: Run, seconds: float, doing: str) -> None:
        super().__init__(f"run {run.pk} has not ended after {seconds:g} s: {doing}")
        self.run = run


class CannotWait(RuntimeError):
    """A place where waiting would last for ever, or keep runs from being carried out. It says what to do instead."""


@async_unsafe(ON_A_LOOP)
def wait(run: Run | Submission | uuid.UUID | str, timeout: float | None = None) -> Run:
    """Wait until a run has ended, and return it as it ended: `.status`, `.answer`, `.error_message`.

    `run` may be what `submit` returned, or an id. A run ends in any case, so `timeout` (seconds) is only for who
    cannot wait that long; behind it the run goes on. Raises `WaitTimeout`, `CannotWait`, and `Run.DoesNotExist` for
    a run that is not there, or is deleted meanwhile.
    """
    vigil = _Vigil(run, timeout)
    while (ended := vigil.look()) is None:
        time.sleep(vigil.pause())
    return ended


async def await_run(run: Run | Submission | uuid.UUID | str, timeout: float | None = None) -> Run:  # noqa: ASYNC109
    """Wait like `wait`, without a thread. To stop waiting does not stop the run."""
    vigil = _Vigil(run, timeout)
    look = database_sync_to_async(vigil.look)
    while True:
        ended: Run | None = await look()
        if ended is not None:
            return ended
        await asyncio.sleep(vigil.pause())


class _Vigil:
    """One wait: what is looked at, and when."""

    def __init__(self, run: Run | Submission | uuid.UUID | str, timeout: float | None) -> None:
        run = run.run if isinstance(run, Submission) else run
        self._key = run.pk if isinstance(run, Run) else run
        self._timeout = timeout
        self._began = time.monotonic()
        self._run: Run | None = None

    def look(self) -> Run | None:
        """Return the run if it has ended. Raises what keeps from waiting on."""
        _check_place()
        try:
            if (ended := self._ended()) is not None:
                return ended
            sweep()
            if self._timeout is not None and self._waited() >= self._timeout:
                run = self._now()
                raise WaitTimeout(run, self._timeout, _doing(run))
        except (DatabaseError, InterfaceError) as error:
            if not away.is_away(error):
                raise
            self._bear(error)
        _give_connection_back()
        return None

    def pause(self) -> float:
        waited = self._waited()
        pause = min(max(SHORTEST, waited * PART), LONGEST)
        return pause if self._timeout is None else max(0.0, min(pause, self._timeout - waited))

    def _waited(self) -> float:
        return time.monotonic() - self._began

    def _ended(self) -> Run | None:
        # With what `Run.answer` and a caller on an event loop want to read, where nothing can be loaded later.
        rows = Run.objects.select_related("conversation")
        if self._run is None or self._status() in run_state.ENDS:
            self._run = rows.prefetch_related("messages").get(pk=self._key)
        return self._run if self._run.status in run_state.ENDS else None

    def _status(self) -> RunStatus:
        return RunStatus(Run.objects.values_list("status", flat=True).get(pk=self._key))

    def _now(self) -> Run:
        return Run.objects.select_related("conversation").get(pk=self._key)

    def _bear(self, error: DatabaseError | InterfaceError) -> None:
        """The database is away: what it will say when it is back is worth waiting for, as long as we may."""
        away.database.noticed(error)
        close_old_connections()
        if self._run is None or (self._timeout is not None and self._waited() >= self._timeout):
            raise error


def _check_place() -> None:
    if connection.in_atomic_block:
        raise CannotWait(IN_A_TRANSACTION)
    if _carries_runs_out():
        raise CannotWait(IN_A_WORKER)


def _carries_runs_out() -> bool:
    """Say whether this process is a worker. Others have not loaded what makes one, and need not for that."""
    worker = sys.modules.get("llmapp.runs.worker")
    return worker is not None and worker.current() is not None


_sweeping = threading.Lock()
_swept_at = 0.0


def sweep() -> None:
    """While anybody waits in a thread, runs end in time even if no worker is there. Once for all threads."""
    global _swept_at
    if not _sweeping.acquire(blocking=False):
        return
    try:
        if time.monotonic() - _swept_at >= app_settings.SWEEP_SECONDS:
            _swept_at = time.monotonic()
            sweeper.sweep()
    except (DatabaseError, InterfaceError) as error:
        # A favour to others: who waits must not fail by it. On SQLite somebody else may be writing.
        if not away.is_away(error):
            logger.warning("a sweep beside a wait failed", exc_info=error, extra={"action": "sweep_failed"})
    finally:
        _sweeping.release()


def _give_connection_back() -> None:
    """Let others have the connection while we wait: a few who wait would use a pool up, and with it the process."""
    if connection.settings_dict["OPTIONS"].get("pool"):
        connection.close()


def _doing(run: Run) -> str:
    """Say in words how a run stands that has not ended."""
    if run.stop_requested_at is not None:
        return "it is being stopped"
    if run.status == RunStatus.IN_PROGRESS:
        again = f" (execution {run.executions})" if run.executions > 1 else ""
        return f"a worker is carrying it out{again}, and has time until {run.run_until:%H:%M:%S} UTC"
    if run.not_before is not None and run.not_before > timezone.now():
        return f"it is queued, and waits for its provider until {run.not_before:%H:%M:%S} UTC"
    if not lease.present_workers().exists():
        return "it is queued, and no worker is there"
    return "it is queued, and the workers are busy or have not seen it yet"
