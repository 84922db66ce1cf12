"""Carries a call out: asks a model, and does what `core.recovery` decides about each failure.

Each layer adds one concern:

    run_call             the call's entry in the ledger
    call_with_recovery   what can be foreseen before a model is asked; what to do about a failure
    call_recorded        the attempt's entry in the ledger; what key pool, health book and notebook learn from it
    Reader.read_answer   what counts as an answer
    Reader.read_in_time  the timeouts
    backend.stream       the provider

Before the first visible token failures are silent, but for the status line. After it the text is kept: the
next attempt goes on where it broke, or the text is withdrawn, or the call ends with the failure. Cancelling
closes the socket at once; what was opened in the ledger is closed nevertheless.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace

from llmapp.core import output
from llmapp.core.actions import Action, Continue, GiveUp, Restart, SwitchModel, Wait
from llmapp.core.errors import BackendError, CallFailed, ErrorKind, Failure, Postponed
from llmapp.core.foresight import foresee, patience
from llmapp.core.health import Breaker, Observation
from llmapp.core.learned import Learned
from llmapp.core.messages import ChatMessage
from llmapp.core.quota import quota_of
from llmapp.core.recovery import decide
from llmapp.core.stream import FinishReason, Reply

from .attempt import Attempt
from .base import Benched, Call, Ports
from .performing import Performer
from .progress import Progress
from .reading import Reader, failure_of
from .recording import entry
from .shown import Nobody, Shown

#: How often a look ahead may lead to something else than asking, for each model.
LOOKS = 8
#: Tokens that a summary may have, with the thinking before it.
SUMMARY_LIMIT = 4_096
#: Of the time that the run has left, what a summary may take.
SHARE_OF_SUMMARY = 0.25
#: Seconds: keys that are about to come back are not asked for without a pause.
SHORTEST_REST = 0.1


async def run_call(call: Call, ports: Ports) -> Reply:
    """Ask the call's models until one answers, and return its reply.

    `finish_reason` is STOP, LENGTH or TOOL_CALLS; `text` is all that was shown. Raises `CallFailed` when every
    recovery that the budget allows was tried; the sink keeps what was shown. Raises `Postponed` when it has to
    wait for longer than is worth a place in the worker. Cancellation passes through.
    """
    ended = _Ending()
    async with entry(ports.ledger.call_started(call), lambda id: ports.ledger.call_ended(id, ended.failure)) as call_id:
        with ended.noted():
            return await _Caller(call, ports, call_id).call_with_recovery()


class _Ending:
    """How the call ended."""

    def __init__(self) -> None:
        self.failure: Failure | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        try:
            yield
        except (CallFailed, Postponed) as error:
            self.failure = error.failure
            raise
        except asyncio.CancelledError:
            self.failure = Failure(kind=ErrorKind.CANCELLED)
            raise
        except Exception as error:
            self.failure = Failure(kind=ErrorKind.INVALID_REQUEST, detail=f"internal: {type(error).__name__}")
            raise


class _Caller:
    def __init__(self, call: Call, ports: Ports, call_id: int) -> None:
        self.call = call
        self.ports = ports
        self.call_id = call_id
        self.progress = Progress(call)
        self.shown = Shown(ports.sink)
        self.reader = Reader(ports.backends, ports.streams)
        self.performer = Performer(ports, self.progress, self.shown, self.summarise)
        self.clock = asyncio.get_running_loop().time

    async def call_with_recovery(self) -> Reply:
        number = self.ports.budget.take_attempt()
        if number is None:
            raise CallFailed(Failure(kind=ErrorKind.TIMEOUT, detail="the run has no attempt left"))
        while True:
            await self.look_ahead(number)
            outcome = await self.call_recorded(number)
            if isinstance(outcome, Reply):
                return outcome
            failure, action, number = outcome
            await self.performer.perform(action, failure, number)

    async def look_ahead(self, number: int) -> None:
        """Do what is better than asking this model now, until nothing speaks against it."""
        for _ in range(LOOKS * len(self.call.models)):
            await self.read_health()
            foreseen = foresee(self.progress.prospect(self.shown.text))
            if foreseen is None:
                return
            failure = Failure(kind=foreseen.kind, detail="foreseen", limit=self.progress.now.window)
            self.progress.now.waits += isinstance(foreseen.action, Wait)
            await self.performer.perform(foreseen.action, failure, number, foreseen=True)

    async def read_health(self) -> None:
        progress = self.progress
        progress.health = await self.ports.health.read(self.call.models, progress.estimate())
        if progress.health_now.breaker is not Breaker.CLOSED and progress.now.admitted is None:
            progress.now.admitted = await self.ports.health.admit(progress.model)

    # -- one attempt

    async def call_recorded(self, number: int) -> Reply | tuple[Failure, Action, int]:
        progress = self.progress
        secret = progress.secret or await self.ports.keys.pick(progress.model, progress.avoid)
        if isinstance(secret, Benched):
            await self.give_probe_back()
            wait = None if secret.seconds is None else max(secret.seconds, SHORTEST_REST)
            failure = Failure(kind=secret.kind, retry_after=wait, detail="no key can be used now")
            return await self.judge(failure, None, number)
        progress.secret = secret
        attempt = Attempt(number, progress.model, secret, progress.request(secret, self.shown.text), self.clock)
        async with self.recorded(attempt):
            await self.ask(attempt)
            await self.report(attempt)
            if attempt.failure is None:
                return self.whole(attempt)
            outcome = await self.judge(attempt.failure, attempt, number)
            if isinstance(outcome[1], GiveUp) and attempt.failure.kind is ErrorKind.OUTPUT_TRUNCATED:
                return self.whole(attempt)  # what there is of it, which says itself that it was cut
            return outcome

    def recorded(self, attempt: Attempt) -> AbstractAsyncContextManager[int]:
        ledger = self.ports.ledger
        return entry(
            ledger.attempt_started(self.call_id, attempt.number, attempt.model, attempt.secret, attempt.request),
            lambda id: ledger.attempt_ended(id, attempt.result()),
        )

    async def ask(self, attempt: Attempt) -> None:
        """Read the answer, and write down on the attempt how it failed, if it did."""
        timeouts = attempt.model.endpoint.timeouts
        first = patience(timeouts.first_token, attempt.model.first_token_is_set, self.progress.health_now)
        try:
            await self.reader.read_answer(
                attempt, self.shown, first_token=first, remaining=self.ports.budget.remaining()
            )
        except BackendError as error:
            attempt.fail(failure_of(error), error.facts)
        except asyncio.CancelledError:
            attempt.failure = Failure(kind=ErrorKind.CANCELLED)
            await self.give_probe_back()
            raise

    async def give_probe_back(self) -> None:
        """Where this call is the probe of a half-open breaker, and asks nobody after all: let the next one try."""
        if self.progress.now.admitted:
            self.progress.now.admitted = None
            await self.ports.health.report(self.progress.model, Observation(failure=ErrorKind.CANCELLED))

    def whole(self, attempt: Attempt) -> Reply:
        """Return the reply: the text of all attempts, and never a tool call that is not whole."""
        reply = replace(attempt.received.reply, text=self.shown.text)
        if attempt.failure is None:
            return reply
        return replace(reply, tool_calls=(), finish_reason=FinishReason.LENGTH)

    async def report(self, attempt: Attempt) -> None:
        """Tell the key pool and the health book how it ended, and keep what an answer has shown to be right."""
        failure, progress = attempt.failure, self.progress
        # An answer that reached its limit is a whole one, as far as the provider goes.
        trouble = None if failure is not None and failure.kind is ErrorKind.OUTPUT_TRUNCATED else failure
        if attempt.secret.id is not None:
            await self.ports.keys.report(attempt.model, attempt.secret, trouble, attempt.headers)
        kind, action = progress.before
        await self.ports.health.report(attempt.model, Observation(kind, action, str(trouble.kind) if trouble else ""))
        progress.now.admitted = None
        lesson = progress.now.lesson if trouble is None else Learned()
        allowed = quota_of(attempt.headers).tokens_per_minute
        if allowed is not None and allowed != attempt.model.learned.tokens_per_minute:
            lesson = lesson.and_also(Learned(tokens_per_minute=allowed))
        if lesson != Learned():
            await self.ports.notebook.learn(attempt.model, lesson)
            progress.now.lesson = Learned()

    # -- what to do next

    async def judge(self, failure: Failure, attempt: Attempt | None, taken: int) -> tuple[Failure, Action, int]:
        """Return what to do, and the number of the next attempt. `taken` was not used up where nobody was asked."""
        # The next attempt is taken before the decision, so that nobody waits for one that will not be.
        budget, progress = self.ports.budget, self.progress
        number = taken if attempt is None else budget.take_attempt()
        if self.shown.text and not output.spoken(self.shown.text).strip():
            await self.shown.withdraw()  # thoughts that a model wrote into its text are no beginning of an answer
        await progress.look_for_spare(self.ports.keys)
        await self.read_health()
        self.count(failure, attempt)
        state = progress.state(
            attempts_left=0 if number is None else 1,
            time_left=budget.remaining(),
            chance=random.random(),
            partial=self.shown.text,
            attempt=attempt,
        )
        action = decide(failure, state)
        progress.length_continuations += isinstance(action, Continue) and failure.kind is ErrorKind.OUTPUT_TRUNCATED
        progress.before = ("", "") if isinstance(action, SwitchModel) else (str(failure.kind), type(action).__name__)
        if attempt is not None:
            attempt.action = type(action).__name__
            attempt.waited = action.seconds if isinstance(action, Wait | Continue | Restart) else None
        await self.shown.end_thoughts()  # reasoning that leads to no answer
        return failure, action, number or 0

    def count(self, failure: Failure, attempt: Attempt | None) -> None:
        if attempt is None:
            return
        self.progress.count(failure, attempt, self.shown.has_grown, bool(self.shown.text))
        self.count_for_the_run(failure.kind)

    def count_for_the_run(self, kind: ErrorKind) -> None:
        if kind is ErrorKind.TIMEOUT:
            self.progress.timeouts = self.ports.budget.count(kind)
        elif kind is ErrorKind.CONTENT_POLICY:
            self.progress.violations = self.ports.budget.count(kind)

    # -- a summary

    async def summarise(self, messages: tuple[ChatMessage, ...]) -> str | None:
        """Ask for a summary, once and within the run's budget. None: it could not be had whole."""
        model = self.call.summary_model or self.progress.model
        number = self.ports.budget.take_attempt()
        secret = await self.ports.keys.pick(model, self.progress.avoid)
        if number is None or isinstance(secret, Benched):
            return None
        asked = Progress(replace(self.call, models=(model,), messages=messages, settings={}, tools=()))
        asked.lower_output(min(SUMMARY_LIMIT, asked.now.output_limit or SUMMARY_LIMIT), None)
        attempt = Attempt(number, model, secret, asked.request(secret, ""), self.clock)
        attempt.action = "Summarise"
        async with self.recorded(attempt):
            try:
                limits, left = model.endpoint.timeouts, self.ports.budget.remaining() * SHARE_OF_SUMMARY
                await self.reader.read_answer(attempt, Shown(Nobody()), first_token=limits.first_token, remaining=left)
            except BackendError as error:
                attempt.fail(failure_of(error), error.facts)
            except asyncio.CancelledError:
                attempt.failure = Failure(kind=ErrorKind.CANCELLED)
                raise
            if secret.id is not None:
                await self.ports.keys.report(model, secret, attempt.failure, attempt.headers)
        if attempt.failure is not None:
            self.count_for_the_run(attempt.failure.kind)
            return None
        return attempt.received.reply.text.strip() or None
