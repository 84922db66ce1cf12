"""An end for a worker whose event loop stands still: a callback that blocks it, or a deadlock.

Nothing mends it from inside. Its lease runs out, and its runs belong to others, who may not be there until this process
makes room. So a thread watches the loop. When it has not turned for as long as the lease lasts and a moment, the stack
of every thread is written to the standard error, and the process ends; `serve`, systemd or Compose start another one.

* The thread counts seconds by sleeping one at a time. While the machine sleeps, or the process is stopped, it does not
  count: what was only paused is not stuck.
* The thread needs Python's lock. `serve` hears by a pipe that the loop turns, and kills what does not come to this.
* Without `serve`, what keeps that lock, in C, is ended by the clock of `faulthandler`, a while later.
* Halfway, the runs beside the one that stands still are spared: this execution is not counted as one of their failures.
  A run that stops each worker has three, and takes nobody along.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import threading
import uuid
from collections.abc import Callable

from django.db import connections
from django.db.models import F

from llmapp.conf import app_settings
from llmapp.core.run_state import RunStatus
from llmapp.models import Run

from .pulse import EACH, beat, is_heard

logger = logging.getLogger("llmapp.runs")

#: How a process ends that ended itself for this: `EX_SOFTWARE`.
STUCK = 70

#: For so many leases a loop may stand still (15 s): by then others may have the runs, and nothing is lost.
LEASES = 1.25
#: After so many (two minutes) the lock of Python is taken to be the trouble. That clock cannot see that the process was
#: paused meanwhile: a container that was, and came back sooner, goes on with its runs.
LEASES_OF_C = 10
#: Seconds for the last words: whoever reads them may stand still too.
LAST_WORDS = 5.0

#: The standard error itself: Celery may have put something else in the place of `sys.stderr`.
STDERR = 2

#: What `runs.execution` calls the task of a run.
NAMED = "run-"


def patience() -> float:
    """Return for how many seconds a loop may stand still."""
    return LEASES * app_settings.LEASE_SECONDS


class Watchdog:
    """Watches one event loop, and ends the process with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, worker_id: Callable[[], uuid.UUID | None]) -> None:
        self._loop = loop
        self._worker_id = worker_id
        self._turned = True
        self._closed = threading.Event()

    async def keep_turning(self) -> None:
        """Say once a second that the loop turns; until that is cancelled."""
        threading.Thread(target=self._watch, name="llmapp-watchdog", daemon=True).start()
        try:
            while True:
                self._turned = True
                beat()
                if not is_heard():
                    faulthandler.dump_traceback_later(LEASES_OF_C * app_settings.LEASE_SECONDS, exit=True, file=STDERR)
                await asyncio.sleep(EACH)
        finally:
            self._closed.set()
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        silent, spared = 0.0, False
        while not self._closed.wait(EACH):
            silent = 0.0 if self._turned else silent + EACH
            spared = spared and not self._turned
            self._turned = False
            if silent >= app_settings.LEASE_SECONDS / 2 and not spared:
                spared = True
                # Not here: the database may stand still too.
                threading.Thread(target=self._spare_the_others, name="llmapp-spare", daemon=True).start()
            if silent >= patience():
                self._end(silent)

    def _spare_the_others(self) -> None:
        worker_id, culprit = self._worker_id(), self._culprit()
        if worker_id is None or culprit is None:
            # Whose fault it is nobody knows: it counts for all of them.
            return
        try:
            mine = Run.objects.filter(worker_id=worker_id, status=RunStatus.IN_PROGRESS, executions__gt=0)
            mine.exclude(pk=culprit).update(executions=F("executions") - 1)
        except Exception:
            logger.exception("runs could not be spared", extra={"action": "not_spared"})
        finally:
            connections.close_all()

    def _culprit(self) -> uuid.UUID | None:
        """Return the run whose turn it is on the loop, and has been all the time."""
        with contextlib.suppress(Exception):
            task = asyncio.current_task(self._loop)
            if task is not None and (name := task.get_name()).startswith(NAMED):
                return uuid.UUID(name.removeprefix(NAMED))
        return None

    def _end(self, silent: float) -> None:
        """Say what stands still and where, and end the process, said or not."""
        last = threading.Timer(LAST_WORDS, os._exit, [STUCK])
        last.daemon = True
        last.start()
        about = {"action": "loop_stuck", "run": str(self._culprit() or "")}
        text = "the event loop has not turned for %.0f s (run %s); this worker ends. Where it stands:"
        logger.critical(text, silent, about["run"] or "-", extra=about)
        faulthandler.dump_traceback(file=STDERR, all_threads=True)
        os._exit(STUCK)
