"""One execution of a run, from the claim to its end.

The agent's loop runs in a task of its own. What watches it is never cancelled, so that the end is
written whatever happens: the answer, a failure, a stop, the timeout, a shutdown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from enum import Enum
from functools import partial
from typing import Any

from llmapp.agents.loop import Answer, run_agent
from llmapp.backends import Clients
from llmapp.calls.base import Notice, Ports
from llmapp.core import run_state
from llmapp.core.errors import CallFailed, ErrorKind, Failure
from llmapp.core.events import Event
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.core.stream import Delta, FinishReason
from llmapp.models import Run

from . import endings, queue
from .briefing import brief
from .keys import DatabaseKeyPool
from .lease import Claim, LeaseLost
from .ledger import RunLedger
from .presenter import Presenter
from .threads import DatabaseThreads
from .writer import LogWriter

logger = logging.getLogger("llmapp.runs")

#: How long a cancelled loop may take to end before it is left behind, in seconds. Closing a
#: provider's socket takes a millisecond; a callback that never returns must not hold its run.
PATIENCE = 2.0


class Interruption(Enum):
    """Why an execution ends before its answer does."""

    STOP = "stop"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    #: The lease is gone: nothing more may be written.
    LOST = "lost"


class RunBudget:
    """The `Budget` of one run, over all of its executions."""

    def __init__(self, run: Run, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._limit = run.attempts_limit
        self._used = run.attempts_used

    def remaining(self) -> float:
        return self._ends - time.monotonic()

    def take_attempt(self) -> int | None:
        if self._used >= self._limit:
            return None
        self._used += 1
        return self._used


class NoSink:
    """Takes the place of a turn's own sink until there is a turn."""

    def delta(self, delta: Delta) -> None: ...

    def notice(self, notice: Notice) -> None: ...

    def withdraw(self) -> None: ...


class Execution:
    """A claimed run on its way to its end."""

    def __init__(
        self, claim: Claim, writer: LogWriter, threads: DatabaseThreads, clients: Clients, concurrency: int
    ) -> None:
        run = claim.run
        assert run.run_until is not None
        self._run = run
        self._writer = writer
        self._threads = threads
        self._concurrency = concurrency
        self._log = writer.open(run, claim.seq)
        self._presenter = Presenter(self._log.emit)
        self._budget = RunBudget(run, (run.run_until - claim.now).total_seconds())
        self._ports = Ports(
            budget=self._budget,
            sink=NoSink(),
            ledger=RunLedger(run.pk, threads),
            keys=DatabaseKeyPool(threads),
            backends=clients,
        )
        self._interrupted: asyncio.Future[Interruption] = asyncio.get_running_loop().create_future()

    def interrupt(self, why: Interruption) -> None:
        """End the execution early. The first reason counts; without the lease its end cannot be written."""
        if not self._interrupted.done():
            self._interrupted.set_result(why)

    async def carry_out(self) -> None:
        """Run the agent, and write how it ended. Raises `LeaseLost`."""
        loop_task = asyncio.create_task(self._answer(), name=f"run-{self._run.pk}")
        try:
            why = await self._wait_for(loop_task)
            await self._write_end(loop_task, why)
        finally:
            self._writer.close_run(self._run.pk)
            await self._presenter.stop()

    # --- the agent --------------------------------------------------------------------------

    async def _answer(self) -> Answer:
        briefing = await self._threads.patiently(brief, self._run, self._concurrency)
        step = f"turn {self._run.executions}" if self._run.executions > 1 else "turn"
        try:
            return await run_agent(briefing.agent, briefing.history, self._ports, self._emit, step)
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio lets these out of the loop, which would end it for all runs of the process.
            raise RuntimeError(f"{type(error).__name__} in a run") from error

    def _emit(self, event: Event) -> None:
        self._log.emit(event)
        self._presenter.watch(event)

    async def _wait_for(self, task: asyncio.Task[Answer]) -> Interruption | None:
        """Wait for the agent's end, an interruption or the timeout. None: it ended by itself."""
        timeout = max(0.0, self._budget.remaining())
        ends: set[asyncio.Future[Any]] = {task, self._interrupted}
        await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return None
        why = self._interrupted.result() if self._interrupted.done() else Interruption.TIMEOUT
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE)
        if not task.done():
            logger.error("run %s did not stop; it is left behind", self._run.pk, extra={"action": "run_left_behind"})
        return why

    # --- the end ----------------------------------------------------------------------------

    async def _write_end(self, task: asyncio.Task[Answer], why: Interruption | None) -> None:
        if why is Interruption.LOST:
            raise LeaseLost
        if why is Interruption.SHUTDOWN:
            await self._hand_back()
            return
        html = await self._render()
        if why is Interruption.STOP:
            await self._end(Trigger.CANCEL, None, html)
        elif why is Interruption.TIMEOUT:
            await self._end_badly(ErrorKind.TIMEOUT, html)
        elif (failure := _failure_of(task)) is not None:
            await self._end_badly(failure.kind, html)
        else:
            await self._end_with(task.result(), html)

    async def _hand_back(self) -> None:
        # What was said is withdrawn, so nobody needs it rendered; but nothing may follow the hand-over.
        await self._presenter.stop()
        await self._log.commit(self._give_back)
        await asyncio.to_thread(queue.enqueue, self._run.pk)

    async def _render(self) -> str:
        try:
            return await self._presenter.finish()
        except Exception:
            # The text is the truth; `keep_answer` renders it again.
            logger.exception("run %s could not be rendered", self._run.pk, extra={"action": "render_failed"})
            return ""

    async def _end_with(self, answer: Answer, html: str) -> None:
        """The provider said that the answer is over; it may have said that the answer is not whole."""
        kinds = {FinishReason.LENGTH: ErrorKind.OUTPUT_TRUNCATED, FinishReason.CONTENT_FILTER: ErrorKind.CONTENT_POLICY}
        reason = answer.reply.finish_reason or FinishReason.STOP
        if not answer.reply.text.strip():
            await self._end_badly(kinds.get(reason, ErrorKind.INVALID_RESPONSE), html)
        elif reason in kinds:
            await self._end_badly(kinds[reason], html)
        else:
            await self._end(Trigger.COMPLETE, None, html)

    async def _end_badly(self, kind: ErrorKind, html: str) -> None:
        await self._end(run_state.when_it_breaks(self._log.transcript.text_was_shown), kind, html)

    async def _end(self, trigger: Trigger, kind: ErrorKind | None, html: str) -> None:
        await self._log.commit(partial(self._settle, trigger, kind, html))

    # --- in the writer's transaction --------------------------------------------------------

    def _settle(self, trigger: Trigger, kind: ErrorKind | None, html: str) -> Iterable[Event]:
        run = self._mine()
        transcript = self._log.transcript
        reasoning = "\n\n".join(transcript.reasoning.values())
        for id, text in transcript.texts.items():
            complete = trigger is Trigger.COMPLETE
            endings.keep_answer(run, id, text, complete=complete, html=html, reasoning=reasoning)
        return [*transcript.closing(), endings.settle(run, trigger, kind)]

    def _give_back(self) -> Iterable[Event]:
        run = self._mine()
        return endings.requeue(run, Trigger.YIELD, "worker_stopped")

    def _mine(self) -> Run:
        """Lock the run's row. The writer holds the lease, so a run in progress is still ours."""
        rows = Run.objects.select_for_update(of=("self",)).select_related("conversation")
        run = rows.filter(pk=self._run.pk, status=RunStatus.IN_PROGRESS).first()
        if run is None:
            raise LeaseLost
        return run


def _failure_of(task: asyncio.Task[Answer]) -> Failure | None:
    """Return why the agent's loop ended without an answer. What is not a call's failure is our own fault."""
    if task.cancelled():
        return Failure(kind=ErrorKind.CANCELLED)
    error = task.exception()
    if error is None:
        return None
    if isinstance(error, CallFailed):
        return error.failure
    logger.error("a run failed in our own code", exc_info=error, extra={"action": "run_error"})
    return Failure(kind=ErrorKind.SERVER_ERROR, detail=type(error).__name__)
