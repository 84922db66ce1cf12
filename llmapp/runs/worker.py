"""One worker process: one event loop for as long as it lives, and the runs that it holds.

A Celery task hands its run in by `WorkerProcess.execute` and waits. Everything else happens on the
loop, which is started after the fork, so that no client, socket or lock is ever shared or outlived.

Side tasks, by name: `heartbeat` renews the lease, `sweeper` looks after runs that nobody looks after,
`stop-watch` looks for runs that a person wants stopped. Each goes on after a failure; that the loop
turns is what keeps the lease, and the process: `runs.watchdog`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from django.db import DatabaseError, OperationalError

from llmapp.backends import Clients
from llmapp.calls.attempt import Attempt
from llmapp.conf import app_settings
from llmapp.core.run_state import RunStatus
from llmapp.models import Run

from . import away, fitness, garbage, lease, queue, sweeper
from .briefing import NotForUs
from .execution import Execution, Interruption
from .installed import versions
from .threads import DatabaseThreads
from .watchdog import Watchdog
from .writer import LogWriter

logger = logging.getLogger("llmapp.runs")

#: Seconds after which a run that this worker may not take is put back, for another one: so it is no hot loop.
PUT_BACK = 1.0
#: Streams that a row names, those that have been silent for the longest time: it stays small.
NAMED = 20
#: Seconds between two looks for runs that are to be stopped.
STOP_WATCH = 0.05
DATABASE_THREADS = 2
#: Seconds that the start of a process waits for its row. Without a database it starts all the same.
REGISTERS_WITHIN = 2.0
#: Seconds after which a shutdown no longer waits for ends that cannot be written.
HAND_BACK = 3.0
#: For so long a run that this worker cannot carry out is left to others, in seconds; the queue brings it every 5.
LEAVE_ALONE = 30.0
#: A side task that fails in the same way again says so after this many seconds.
SAY_AGAIN = 30.0


class WorkerProcess:
    """The loop, the lease, the log writer, the clients, and the runs in this process."""

    def __init__(self, concurrency: int, hears: Callable[[], bool] = lambda: True) -> None:
        """`hears` says whether the broker could give us a run now."""
        self._concurrency = concurrency
        self._hears = hears
        self._executions: dict[uuid.UUID, Execution] = {}
        #: Runs from before their claim until after their end.
        self._present: set[uuid.UUID] = set()
        #: Runs that are left to other workers, until then.
        self._left_alone: dict[uuid.UUID, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._portal_context: AbstractContextManager[BlockingPortal] = start_blocking_portal(
            "asyncio", {"use_uvloop": _has_uvloop()}, name="llmapp-loop"
        )
        self._portal = self._portal_context.__enter__()
        self._portal.call(self._start)

    # --- from Celery's threads --------------------------------------------------------------

    def execute(self, run_id: uuid.UUID) -> None:
        """Execute a run on the loop, and wait for its end. Whatever happens to the run is in its log."""
        try:
            self._portal.call(self._execute, run_id)
        except (RuntimeError, concurrent.futures.CancelledError):
            # The loop is gone: this process is going away, and the sweeper takes care of the run.
            about = {"action": "run_not_executed", "run": str(run_id)}
            logger.warning("run %s was not executed: the worker is stopping", run_id, extra=about)

    def guard(self) -> None:
        """End this process when the loop stands still: for one that is nothing else than a worker."""
        self._portal.call(self._guard)

    def drain(self) -> None:
        """Take no new runs; let the present ones go on for a moment, then hand them back. Returns at once."""
        self._draining = True
        self._portal.start_task_soon(self._hand_back)

    def close(self) -> None:
        """Hand everything back, and end the loop."""
        self._draining = True
        self._portal.call(self._stop)
        self._portal_context.__exit__(None, None, None)

    # --- on the loop ------------------------------------------------------------------------

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = DatabaseThreads(DATABASE_THREADS, "llmapp-orm")
        self._clients = Clients(app_settings.BACKENDS)
        self._beating = asyncio.Lock()
        self._worker_id: uuid.UUID | None = None
        self._writer: LogWriter | None = None
        self._registered = asyncio.Event()
        #: Why no runs are taken; None until that was looked at.
        self._fitness: fitness.Fitness | None = None
        self._side_tasks = [
            asyncio.create_task(_forever(self._beat, lambda: app_settings.HEARTBEAT_SECONDS), name="heartbeat"),
            asyncio.create_task(_forever(self._beat_and_sweep, lambda: app_settings.SWEEP_SECONDS), name="sweeper"),
            asyncio.create_task(_forever(self._watch_for_stops, lambda: STOP_WATCH), name="stop-watch"),
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REGISTERS_WITHIN):
                await self._registered.wait()

    async def _guard(self) -> None:
        watchdog = Watchdog(self._loop, lambda: self._worker_id)
        self._side_tasks.append(asyncio.create_task(watchdog.keep_turning(), name="watchdog"))

    async def _register(self) -> None:
        found = await self._threads.call(fitness.look)
        self._say_whether_fit(found)
        try:
            worker = await self._threads.call(lease.register, self._concurrency, versions(), found.setup, found.unfit)
        except DatabaseError:
            if found.has_tables:
                raise
            return  # no row can be made in tables that are not there; what is missing has been said
        self._worker_id = worker.pk
        self._writer = LogWriter(worker.pk, self._loop, self._lost)
        self._registered.set()
        logger.info("worker %s is there", worker.pk, extra={"action": "worker_registered", "worker": str(worker.pk)})

    async def _execute(self, run_id: uuid.UUID) -> None:
        """Execute a run in a task that a shutdown can wait for."""
        if self._draining or run_id in self._present or self._leaves_alone(run_id):
            return
        self._present.add(run_id)
        task = asyncio.create_task(self._claim_and_carry_out(run_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await task

    async def _claim_and_carry_out(self, run_id: uuid.UUID) -> None:
        """Claim a run and carry it out. Nothing may leave here: it would end the loop for all runs."""
        try:
            if not await self._may_claim():
                await self._leave_to_others(run_id)
                return
            worker_id, writer = self._held()
            if (claim := await self._claim(run_id, worker_id)) is None:
                return
            execution = Execution(claim, writer, self._threads, self._clients, self._concurrency)
            self._executions[run_id] = execution
            await execution.carry_out()
        except lease.LeaseLost:
            about = {"action": "run_lost", "run": str(run_id)}
            logger.warning("run %s belongs to another worker now", run_id, extra=about)
        except NotForUs as refusal:
            self._leave_alone(run_id)
            about = {"action": "run_refused", "run": str(run_id)}
            logger.error("run %s is not for this worker: %s", run_id, refusal, extra=about)
        except Exception:
            # It goes back into the queue with the next round; what it was is not swallowed.
            logger.exception("run %s was dropped", run_id, extra={"action": "run_dropped", "run": str(run_id)})
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            about = {"action": "run_error", "run": str(run_id)}
            logger.exception("run %s raised %s", run_id, type(error).__name__, extra=about)
        finally:
            self._executions.pop(run_id, None)
            self._present.discard(run_id)

    async def _claim(self, run_id: uuid.UUID, worker_id: uuid.UUID) -> lease.Claim | None:
        try:
            return await self._threads.patiently(lease.claim, run_id, worker_id)
        except (lease.LeaseLost, asyncio.CancelledError, OperationalError):
            # Soon it may go well.
            raise
        except Exception:
            # It would be the same the next time, and the queue brings it again and again until its time is over.
            self._leave_alone(run_id)
            raise

    def _leaves_alone(self, run_id: uuid.UUID) -> bool:
        now = self._loop.time()
        self._left_alone = {id: until for id, until in self._left_alone.items() if until > now}
        return run_id in self._left_alone

    def _leave_alone(self, run_id: uuid.UUID) -> None:
        self._left_alone[run_id] = self._loop.time() + LEAVE_ALONE

    async def _may_claim(self) -> bool:
        """Say whether runs are taken here, within a moment in which what keeps from it may be mended."""
        if self._fitness is None:
            await self._registered.wait()
        if self._is_fit:
            await self._registered.wait()
            return True
        await asyncio.sleep(PUT_BACK)
        return self._is_fit and self._registered.is_set() and not self._draining

    async def _leave_to_others(self, run_id: uuid.UUID) -> None:
        """Put a run back, if there is a worker that takes it; else the sweeper hands it over once there is one."""
        about = {"action": "run_left", "run": str(run_id)}
        logger.debug("run %s is left to another worker", run_id, extra=about)
        has_tables = self._fitness is not None and self._fitness.has_tables
        if has_tables and await self._threads.patiently(_is_taken_elsewhere):
            await asyncio.to_thread(queue.enqueue, run_id)

    @property
    def _is_fit(self) -> bool:
        return self._fitness is not None and not self._fitness.unfit

    def _held(self) -> tuple[uuid.UUID, LogWriter]:
        assert self._worker_id is not None
        assert self._writer is not None
        return self._worker_id, self._writer

    async def _beat(self) -> None:
        async with self._beating:
            if self._worker_id is None:
                await self._register()
            elif not await self._threads.call(lease.beat, self._worker_id, self._hears(), self._what_is_open()):
                await self._start_over()

    def _what_is_open(self) -> dict[str, Any]:
        """Return how many streams of providers are open, and the most silent ones."""
        pairs = [(run_id, one) for run_id, run in self._executions.items() for one in run.streams]
        if not pairs:
            return {}
        silent = sorted(pairs, key=lambda pair: pair[1].heard_at)[:NAMED]
        return {"streams": len(pairs), "named": [_describe(run_id, stream) for run_id, stream in silent]}

    async def _beat_and_sweep(self) -> None:
        # Beat before sweep: after a laptop's sleep we must not take our own runs for dead.
        await self._beat()
        if self._worker_id is None:
            return
        if not self._draining:
            try:
                self._say_whether_fit(await self._threads.call(fitness.look, self._worker_id, self._fitness))
                await self._give_up_what_was_dropped()
            finally:
                # Whatever this worker and its runs are about, others wait for theirs.
                if self._fitness is not None and self._fitness.has_tables:
                    await self._threads.call(sweeper.sweep)

    def _say_whether_fit(self, found: fitness.Fitness) -> None:
        """Keep whether runs are taken here, and say it when that changes."""
        before, self._fitness = self._fitness, found
        if found.unfit and (before is None or before.unfit != found.unfit):
            text, about = fitness.in_plain_words(found.unfit), {"action": "worker_unfit"}
            logger.warning("this worker takes no runs: %s", text, extra=about)
        elif before is not None and before.unfit and not found.unfit:
            logger.warning("this worker takes runs again", extra={"action": "worker_fit"})

    async def _give_up_what_was_dropped(self) -> None:
        """Put runs back that this process holds and does not execute: what failed by a fault of ours, or was claimed
        by a transaction whose answer got lost."""
        worker_id, _writer = self._held()
        held = await self._threads.call(lease.runs_of, worker_id)
        # Looked at afterwards: what is claimed after the query is present before it.
        if dropped := [run_id for run_id in held if run_id not in self._present]:
            for run_id in await self._threads.call(lease.give_up, worker_id, dropped):
                await asyncio.to_thread(queue.enqueue, run_id)

    async def _start_over(self) -> None:
        """The lease is gone for good: let go of its runs, and register anew."""
        logger.warning("this worker's lease was revoked; starting over", extra={"action": "lease_lost"})
        self._lost(None, lease.LeaseLost())
        _id, old = self._held()
        await self._register()
        await old.aclose()

    async def _watch_for_stops(self) -> None:
        if self._executions:
            for run_id in await self._threads.call(_runs_to_stop, self._held()[0]):
                self._interrupt(run_id, Interruption.STOP)

    def _lost(self, run_id: uuid.UUID | None, error: BaseException) -> None:
        """The writer could not write for this run, or for any: they are not ours any more."""
        if not isinstance(error, lease.LeaseLost):
            logger.error("the log of run %s failed", run_id, exc_info=error, extra={"action": "log_failed"})
        for id in list(self._executions) if run_id is None else [run_id]:
            self._interrupt(id, Interruption.LOST)

    def _interrupt(self, run_id: uuid.UUID, why: Interruption) -> None:
        if (execution := self._executions.get(run_id)) is not None:
            execution.interrupt(why)

    async def _hand_back(self) -> None:
        """Give runs that do not end by themselves a moment, then put them back into the queue."""
        if tasks := set(self._tasks):
            await asyncio.wait(tasks, timeout=app_settings.SHUTDOWN_SECONDS)
        for run_id in list(self._executions):
            self._interrupt(run_id, Interruption.SHUTDOWN)
        if tasks := set(self._tasks):
            _ended, left = await asyncio.wait(tasks, timeout=HAND_BACK)
            if left:
                # The database is away: their lease runs out by itself, and Celery waits for its threads no longer.
                logger.warning("%d runs could not be handed back", len(left), extra={"action": "not_handed_back"})
                for task in left:
                    task.cancel()

    async def _stop(self) -> None:
        await self._hand_back()
        for task in self._side_tasks:
            task.cancel()
        await asyncio.gather(*self._side_tasks, return_exceptions=True)
        if self._worker_id is not None:
            await self._give_the_lease_back()
        await self._clients.aclose()
        await asyncio.to_thread(self._threads.close)

    async def _give_the_lease_back(self) -> None:
        worker_id, writer = self._held()
        await writer.aclose()
        try:
            await self._threads.call(lease.stopped, worker_id)
        except DatabaseError as error:
            why = away.first_line(error)
            about = {"action": "lease_not_given_back", "worker": str(worker_id)}
            logger.warning("the lease could not be given back (%s); it runs out by itself", why, extra=about)


def _describe(run_id: uuid.UUID, stream: Attempt) -> dict[str, Any]:
    return {
        "run": str(run_id),
        "model": stream.model.name,
        "age": round(stream.age, 1),
        "silence": round(stream.clock() - stream.heard_at, 1),
        "tokens": stream.tokens,
    }


def _is_taken_elsewhere() -> bool:
    return lease.live_workers().exists()


def _runs_to_stop(worker_id: uuid.UUID) -> list[uuid.UUID]:
    mine = Run.objects.filter(worker_id=worker_id, status=RunStatus.IN_PROGRESS)
    return list(mine.exclude(stop_requested_at=None).values_list("pk", flat=True))


async def _forever(function: Callable[[], Awaitable[None]], seconds: Callable[[], float]) -> None:
    """Repeat a side task. A failure is logged, and the next round comes all the same."""
    said, said_at = "", 0.0
    while True:
        try:
            await function()
            said = ""
        except Exception as error:
            now = time.monotonic()
            # A database that is away says so itself, once for all; and one fault is not a trace a second.
            if not away.is_away(error) and (repr(error) != said or now - said_at > SAY_AGAIN):
                said, said_at = repr(error), now
                logger.exception("a side task failed", extra={"action": "side_task_failed"})
            await asyncio.sleep(0.5)
        await asyncio.sleep(seconds())


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True


_process: WorkerProcess | None = None
_lock = threading.Lock()


def process(concurrency: int = 1, hears: Callable[[], bool] = lambda: True) -> WorkerProcess:
    """Return this process's one `WorkerProcess`, made at the first use: after any fork."""
    global _process
    with _lock:
        if _process is None:
            _process = WorkerProcess(concurrency, hears)
            _process.guard()
            garbage.settle()
        return _process


def current() -> WorkerProcess | None:
    return _process


def close() -> None:
    """End this process's `WorkerProcess`, if there is one."""
    global _process
    with _lock:
        if _process is not None:
            _process.close()
            _process = None
