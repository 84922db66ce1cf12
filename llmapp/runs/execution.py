"""One execution of a run, from the claim to its end.

The agent's loop runs in a task of its own. What watches it is never cancelled, so that the end is
written whatever happens: the answer, a failure, a stop, the timeout, a shutdown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any

from llmapp.agents.loop import Answer, run_agent
from llmapp.backends import Clients
from llmapp.calls.attempt import Attempt
from llmapp.calls.base import Ports
from llmapp.calls.shown import Nobody
from llmapp.core import run_state
from llmapp.core.conclusion import Conclusion
from llmapp.core.errors import CallFailed, ErrorKind, Failure, Postponed
from llmapp.core.events import Event
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.models import Run

from . import endings, journal, lease, queue, thread
from .briefing import AgentGone, NotForUs, brief
from .health import DatabaseHealthBook
from .keys import DatabaseKeyPool
from .lease import Claim, LeaseLost
from .ledger import RunLedger
from .notebook import DatabaseNotebook
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
        self._failures: Counter[ErrorKind] = Counter()

    def remaining(self) -> float:
        return self._ends - time.monotonic()

    def take_attempt(self) -> int | None:
        if self._used >= self._limit:
            return None
        self._used += 1
        return self._used

    def go_on_from(self, failures: Mapping[ErrorKind, int]) -> None:
        """Take over what earlier executions went through."""
        self._failures.update(failures)

    def count(self, kind: ErrorKind) -> int:
        self._failures[kind] += 1
        return self._failures[kind]


class Execution:
    """A claimed run on its way to its end."""

    def __init__(
        self, claim: Claim, writer: LogWriter, threads: DatabaseThreads, clients: Clients, concurrency: int
    ) -> None:
        run = claim.run
        assert run.run_until is not None
        assert run.worker_id is not None
        self._run = run
        self._writer = writer
        self._threads = threads
        self._concurrency = concurrency
        self._log = writer.open(run, claim.seq)
        self._journal = journal.RunJournal(self._log, self._mine)
        self._presenter = Presenter(self._log.emit)
        #: How many messages a summary stands for in what the model was sent.
        self._summarised: int | None = run.summarised
        self._budget = RunBudget(run, (run.run_until - claim.now).total_seconds())
        self._ports = Ports(
            budget=self._budget,
            sink=Nobody(),  # until there is a turn, which has its own
            ledger=RunLedger(run.pk, run.worker_id, threads),
            keys=DatabaseKeyPool(threads),
            backends=clients,
            health=DatabaseHealthBook(threads),
            notebook=DatabaseNotebook(threads, run.conversation_id),
        )
        self._interrupted: asyncio.Future[Interruption] = asyncio.get_running_loop().create_future()

    def interrupt(self, why: Interruption) -> None:
        """End the execution early. The first reason counts; without the lease its end cannot be written."""
        if not self._interrupted.done():
            self._interrupted.set_result(why)

    @property
    def streams(self) -> Collection[Attempt]:
        """The answers of providers that are being read now."""
        return self._ports.streams

    async def carry_out(self) -> None:
        """Run the agent, and write how it ended. Raises `LeaseLost`; `NotForUs` when it was left to other workers."""
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
        self._budget.go_on_from(briefing.failures)
        step = f"turn {self._run.executions}" if self._run.executions > 1 else "turn"
        try:
            return await run_agent(
                briefing.agent, briefing.history, self._ports, self._emit, step, self._thread_so_far, self._journal
            )
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio lets these out of the loop, which would end it for all runs of the process.
            raise RuntimeError(f"{type(error).__name__} in a run") from error

    async def _thread_so_far(self) -> list[dict[str, Any]]:
        return await self._threads.patiently(lambda: thread.snapshot(thread.tip(self._run)))

    def _emit(self, event: Event) -> None:
        self._log.emit(event)
        self._presenter.watch(event)
        if event.get("name") == "llmapp.notice":
            self._note_summary(event["value"])

    def _note_summary(self, notice: Mapping[str, Any]) -> None:
        # The next model gets all of it again, unless that is too long for it as well.
        self._summarised = None if notice["action"] == "SwitchModel" else notice.get("count", self._summarised)

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
        if why is Interruption.LOST or (why is None and isinstance(_error_of(task), LeaseLost)):
            raise LeaseLost
        if why is Interruption.SHUTDOWN:
            await self._hand_back()
            return
        if why is None and (wait := _postponed(task)) is not None:
            await self._presenter.stop()
            await self._log.commit(partial(self._postpone, wait))
            return
        if why is None and (refusal := _refusal(task)) is not None:
            await self._presenter.stop()
            await self._log.commit(partial(self._leave_to_others, refusal))
            raise refusal
        html = await self._render()
        await self._log.commit(partial(self._settle, self._ending(task, why), html))

    def _ending(self, task: asyncio.Task[Answer], why: Interruption | None) -> Conclusion:
        """Say how the run ends if its answer is not finished."""
        if why is Interruption.STOP:
            return Conclusion(Trigger.CANCEL)
        if why is Interruption.TIMEOUT:
            return self._broken(ErrorKind.TIMEOUT)
        if (failure := _failure_of(task)) is not None:
            return self._broken(failure.kind, endings.facts_of(failure) | self._thought(failure) | _gone(task))
        # Its turn is in the journal, which says how it ends.
        return self._broken(ErrorKind.INVALID_RESPONSE)

    def _broken(self, kind: ErrorKind, facts: Mapping[str, Any] = MappingProxyType({})) -> Conclusion:
        return Conclusion(run_state.when_it_breaks(self._log.transcript.text_was_shown), kind, facts)

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

    def _thought(self, failure: Failure) -> dict[str, bool]:
        """Return the fact that there is thinking to be read, and no answer."""
        transcript = self._log.transcript
        none = failure.kind is ErrorKind.INVALID_RESPONSE and not transcript.text_was_shown
        return {"reasoning": True} if none and any(transcript.reasoning.values()) else {}

    # --- in the writer's transaction --------------------------------------------------------

    def _settle(self, ending: Conclusion, html: str) -> Iterable[Event]:
        run = self._mine()
        run.summarised = self._summarised
        transcript = self._log.transcript
        # What is finished is finished, whatever came in between.
        ending = journal.conclusion(run, transcript) or ending
        endings.keep_answers(run, transcript, complete=ending.trigger is Trigger.COMPLETE, html=html)
        return [*transcript.closing(), endings.settle(run, ending.trigger, ending.kind, ending.facts)]

    def _give_back(self) -> Iterable[Event]:
        run = self._mine()
        if (over := journal.conclusion(run, self._log.transcript)) is not None:
            return self._settle(over, "")
        return endings.requeue(run, Trigger.YIELD, "worker_stopped")

    def _postpone(self, wait: Postponed) -> Iterable[Event]:
        run = self._mine()
        if run.stop_requested_at is not None:
            return self._settle(Conclusion(Trigger.CANCEL), "")
        return [*self._log.transcript.closing(), *endings.postpone(run, wait.failure.kind, wait.seconds)]

    def _leave_to_others(self, refusal: NotForUs) -> Iterable[Event]:
        """Give it back, or end it where there is nobody else, or nobody could for the last time."""
        run = self._mine()
        if run.stop_requested_at is not None:
            return self._settle(Conclusion(Trigger.CANCEL), "")
        trigger = run_state.when_lease_is_revoked(run.executions, text_was_shown=False)
        others = lease.present_workers().exclude(runs=run)
        if trigger is Trigger.RECLAIM and others.exists():
            return endings.requeue(run, trigger, "not_for_this_worker")
        return self._settle(Conclusion(Trigger.FAIL, refusal.kind), "")

    def _mine(self) -> Run:
        """Lock the run's row. The writer holds the lease, so a run in progress is still ours."""
        rows = Run.objects.select_for_update(of=("self",)).select_related("conversation")
        run = rows.filter(pk=self._run.pk, status=RunStatus.IN_PROGRESS).first()
        if run is None:
            raise LeaseLost
        return run


def _error_of(task: asyncio.Task[Answer]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


def _postponed(task: asyncio.Task[Answer]) -> Postponed | None:
    error = _error_of(task)
    return error if isinstance(error, Postponed) else None


def _gone(task: asyncio.Task[Answer]) -> dict[str, str]:
    """Return the fact that it is the agent that is missing, not its model."""
    return {"gone": "agent"} if isinstance(_error_of(task), AgentGone) else {}


def _refusal(task: asyncio.Task[Answer]) -> NotForUs | None:
    error = _error_of(task)
    return error if isinstance(error, NotForUs) else None


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
