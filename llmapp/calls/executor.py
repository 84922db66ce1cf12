"""Carries a call out: asks a model, and does what `core.recovery` decides about each failure.

Each layer adds one concern:

    run_call             the call's entry in the ledger
    call_with_recovery   what to do about a failure: wait, another key, another model, or give up
    call_recorded        the attempt's entry in the ledger, and the key pool's report
    call_once            what counts as an answer
    read_in_time         the timeouts
    backend.stream       the provider

Before the first visible token failures are silent, but for the status line. After it the text is kept
and the call ends with the failure that broke it. Cancelling closes the socket at once; what was opened
in the ledger is closed nevertheless.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from llmapp.core.classify import classify
from llmapp.core.errors import BackendError, CallFailed, ErrorFacts, ErrorKind, Failure
from llmapp.core.recovery import Action, DisableStreaming, GiveUp, RotateCredential, SwitchModel, Wait, decide
from llmapp.core.stream import Delta, Finish, FinishReason, Reply, UsageDelta

from .attempt import Attempt, Progress
from .base import Call, Notice, Ports
from .deadline import Deadline
from .recording import entry

logger = logging.getLogger("llmapp.calls")

#: Seconds that the usage and the end marker may take after the finish reason. The answer is whole without them.
ENDING = 5.0

NO_KEY = Failure(kind=ErrorKind.AUTH, detail="no key of this provider can be used")


async def run_call(call: Call, ports: Ports) -> Reply:
    """Ask the call's models until one answers, and return its reply.

    `finish_reason` is STOP, LENGTH or TOOL_CALLS. Raises `CallFailed` when every recovery that the budget
    allows was tried, or after visible text, which the sink keeps. Cancellation passes through.
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
        except CallFailed as error:
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

    async def call_with_recovery(self) -> Reply:
        number = self.ports.budget.take_attempt()
        if number is None:
            raise CallFailed(Failure(kind=ErrorKind.TIMEOUT, detail="the run has no attempt left"))
        while True:
            outcome = await self.call_recorded(number)
            if isinstance(outcome, Reply):
                return outcome
            failure, action, number = outcome
            await self.perform(action, failure, number)

    async def perform(self, action: Action, failure: Failure, number: int) -> None:
        self.tell(action, failure, number)
        match action:
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case RotateCredential():
                self.progress.rotate()
            case SwitchModel():
                self.progress.switch()
            case DisableStreaming():
                self.progress.streaming = False
            case GiveUp():
                raise CallFailed(failure)

    def tell(self, action: Action, failure: Failure, number: int) -> None:
        if isinstance(action, GiveUp):
            return
        following = self.progress.next_model if isinstance(action, SwitchModel) else None
        self.ports.sink.notice(
            Notice(
                kind=failure.kind.value,
                action=type(action).__name__,
                model=(following or self.progress.model).name,
                seconds=action.seconds if isinstance(action, Wait) else None,
                attempt=number,
            )
        )

    # -- one attempt

    async def call_recorded(self, number: int) -> Reply | tuple[Failure, Action, int]:
        model = self.progress.model
        secret = self.progress.secret or await self.ports.keys.pick(model, self.progress.avoid)
        if secret is None:
            return await self.judge(NO_KEY, None)
        self.progress.secret = secret
        attempt = Attempt(number, model, secret, asyncio.get_running_loop().time)
        ledger = self.ports.ledger
        async with entry(
            ledger.attempt_started(self.call_id, number, model, secret),
            lambda id: ledger.attempt_ended(id, attempt.result()),
        ):
            try:
                reply = await self.call_once(attempt)
            except BackendError as error:
                attempt.failure = _failure(error)
                attempt.status = error.facts.status
            except asyncio.CancelledError:
                attempt.failure = Failure(kind=ErrorKind.CANCELLED)
                raise
            if secret.id is not None:
                await self.ports.keys.report(secret, attempt.failure)
            if attempt.failure is None:
                return reply
            return await self.judge(attempt.failure, attempt)

    async def judge(self, failure: Failure, attempt: Attempt | None) -> tuple[Failure, Action, int]:
        # The next attempt is taken before the decision, so that nobody waits for one that will not be.
        number = self.ports.budget.take_attempt()
        await self.progress.look_for_spare(self.ports.keys)
        self.progress.count(failure, attempt)
        state = self.progress.state(
            attempts_left=0 if number is None else 1,
            time_left=self.ports.budget.remaining(),
            chance=random.random(),
            text_shown=attempt is not None and attempt.received.visible,
        )
        action = decide(failure, state)
        if attempt is not None:
            attempt.action = type(action).__name__
            if attempt.shown and not attempt.received.visible:
                self.ports.sink.withdraw()  # reasoning that leads to no answer
        return failure, action, number or 0

    async def call_once(self, attempt: Attempt) -> Reply:
        """Return the reply of an attempt that the provider ended. Raises `BackendError` for all others."""
        await self.read_in_time(attempt)
        reply = attempt.received.reply
        if reply.finish_reason is None:
            raise _error(attempt, ErrorKind.STREAM_INTERRUPTED, "the answer stopped without an end")
        if reply.finish_reason is FinishReason.CONTENT_FILTER:
            raise _error(attempt, ErrorKind.CONTENT_POLICY, "the provider's filter stopped the answer")
        return reply

    async def read_in_time(self, attempt: Attempt) -> None:
        clock, limits = asyncio.get_running_loop().time, attempt.model.endpoint.timeouts
        end = min(clock() + limits.total, clock() + self.ports.budget.remaining())
        # An answer in one piece has no first token.
        first = end if not self.progress.streaming else min(clock() + limits.first_token, end)
        try:
            async with Deadline(first) as deadline, aclosing(self.stream(attempt)) as deltas:
                async for delta in deltas:
                    attempt.received.feed(delta)
                    self.ports.sink.delta(delta)
                    if not isinstance(delta, UsageDelta):
                        attempt.note_token()
                        patience = ENDING if isinstance(delta, Finish) else limits.idle
                        deadline.move(min(clock() + patience, end))
        except TimeoutError:
            if not attempt.received.finished:
                raise _error(attempt, ErrorKind.TIMEOUT, attempt.silence(end)) from None
        except BackendError:
            if not attempt.received.finished:
                raise

    async def stream(self, attempt: Attempt) -> AsyncGenerator[Delta]:
        try:
            backend = self.ports.backends.get(attempt.model.endpoint)
            async with aclosing(backend.stream(self.progress.request(attempt))) as deltas:
                async for delta in deltas:
                    yield delta
        except (BackendError, TimeoutError):
            raise
        except Exception as error:
            # A backend that breaks its contract is a bug, and its text might quote the request.
            logger.error("backend %s raised %s", attempt.model.endpoint.backend, type(error).__qualname__)
            raise _error(attempt, ErrorKind.INVALID_RESPONSE, f"internal: {type(error).__qualname__}") from None


def _failure(error: BackendError) -> Failure:
    failure = classify(error.facts, datetime.now(UTC))
    return failure if error.kind is None else replace(failure, kind=error.kind)


def _error(attempt: Attempt, kind: ErrorKind, text: str) -> BackendError:
    return BackendError(ErrorFacts(provider=attempt.model.endpoint.name, exception=text), kind)
