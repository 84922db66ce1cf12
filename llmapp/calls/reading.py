"""Reads the answer of one attempt: in time, to its end, and judged whether it is an answer at all."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

from llmapp.core.classify import classify
from llmapp.core.errors import BackendError, ErrorFacts, ErrorKind, Failure
from llmapp.core.output import Flaw, is_an_end, judge
from llmapp.core.stream import Delta, Finish, FinishReason

from .attempt import Attempt
from .base import BackendPool
from .deadline import Deadline
from .shown import Shown

logger = logging.getLogger("llmapp.calls")

#: Seconds that the usage and the end marker may take after the finish reason. The answer is whole without them.
ENDING = 5.0

#: What an answer that came and is none is called.
FLAWS: dict[Flaw, tuple[ErrorKind, str]] = {
    Flaw.LENGTH: (ErrorKind.OUTPUT_TRUNCATED, "the answer reached its length limit"),
    Flaw.THOUGHT_TOO_LONG: (ErrorKind.OUTPUT_TRUNCATED, "thinking used the whole length limit"),
    Flaw.BROKEN_CALL: (ErrorKind.INVALID_RESPONSE, "the arguments of a tool call are not whole"),
    Flaw.EMPTY: (ErrorKind.INVALID_RESPONSE, "the answer is empty"),
}


class Reader:
    """Reads the answers of one call."""

    def __init__(self, backends: BackendPool, streams: set[Attempt]) -> None:
        self._backends = backends
        self._streams = streams

    async def read_answer(self, attempt: Attempt, shown: Shown, *, first_token: float, remaining: float) -> None:
        """Read until the provider ended its answer. Raises `BackendError` for all that is no whole answer."""
        shown.begin()
        await self.read_in_time(attempt, shown, first_token=first_token, remaining=remaining)
        received = attempt.received.reply
        if received.finish_reason is None:
            raise _error(attempt, ErrorKind.STREAM_INTERRUPTED, "the answer stopped without an end")
        if received.finish_reason is FinishReason.CONTENT_FILTER:
            raise _error(attempt, ErrorKind.CONTENT_POLICY, "the provider's filter stopped the answer")
        flaw = judge(received, attempt.request.max_output_tokens)
        if flaw is Flaw.EMPTY and shown.had_text:
            # It has nothing to add. That is believed where what was shown sounds like an end.
            if not is_an_end(shown.text):
                raise _error(attempt, ErrorKind.STREAM_INTERRUPTED, "nothing followed what was cut off")
        elif flaw is not None:
            raise _flawed(attempt, flaw)

    async def read_in_time(self, attempt: Attempt, shown: Shown, *, first_token: float, remaining: float) -> None:
        """Read until the provider ends, or a timeout does. `remaining` is what is left of the run, in seconds."""
        clock, limits = attempt.clock, attempt.model.endpoint.timeouts
        end = min(clock() + limits.total, clock() + remaining)
        # An answer in one piece has no first token.
        first = end if not attempt.request.streaming else min(clock() + first_token, end)
        self._streams.add(attempt)
        try:
            async with Deadline(first) as deadline, aclosing(self._stream(attempt)) as deltas:
                async for delta in deltas:
                    is_life = attempt.note(delta)
                    await shown.pass_on(delta)
                    if is_life:
                        patience = ENDING if isinstance(delta, Finish) else limits.idle
                        deadline.move(min(clock() + patience, end))
        except TimeoutError:
            if not attempt.received.finished:
                raise _error(attempt, ErrorKind.TIMEOUT, attempt.silence(end)) from None
        except BackendError:
            if not attempt.received.finished:
                raise
        finally:
            self._streams.discard(attempt)

    async def _stream(self, attempt: Attempt) -> AsyncGenerator[Delta]:
        try:
            backend = self._backends.get(attempt.model.endpoint)
            async with aclosing(backend.stream(attempt.request)) as deltas:
                async for delta in deltas:
                    yield delta
        except (BackendError, TimeoutError):
            raise
        except Exception as error:
            # A backend that breaks its contract is a bug, and its text might quote the request.
            logger.error("backend %s raised %s", attempt.model.endpoint.backend, type(error).__qualname__)
            raise _error(attempt, ErrorKind.INVALID_RESPONSE, f"internal: {type(error).__qualname__}") from None


def failure_of(error: BackendError) -> Failure:
    """Return what an attempt's error means. What the backend knows for sure is not guessed from its words."""
    failure = classify(error.facts, datetime.now(UTC))
    return failure if error.kind is None else replace(failure, kind=error.kind)


def _flawed(attempt: Attempt, flaw: Flaw) -> BackendError:
    kind, text = FLAWS[flaw]
    if flaw is Flaw.BROKEN_CALL and attempt.received.reply.finish_reason is FinishReason.LENGTH:
        kind = ErrorKind.OUTPUT_TRUNCATED
    return _error(attempt, kind, text)


def _error(attempt: Attempt, kind: ErrorKind, text: str) -> BackendError:
    return BackendError(ErrorFacts(provider=attempt.model.endpoint.name, status=attempt.status, exception=text), kind)
