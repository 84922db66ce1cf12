"""Carries out what was decided about a failure, or about what is foreseen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from llmapp.core.actions import (
    Action,
    Compress,
    Continue,
    DisableStreaming,
    DropParameter,
    GiveUp,
    LowerEffort,
    LowerOutputLimit,
    LowerWindow,
    RaiseOutputLimit,
    RenameParameter,
    RepairHistory,
    Restart,
    RotateCredential,
    StripThinking,
    SwitchModel,
    Wait,
)
from llmapp.core.errors import CallFailed, ErrorKind, Failure, Postponed
from llmapp.core.foresight import FILL, reserve
from llmapp.core.learned import Learned
from llmapp.core.messages import ChatMessage
from llmapp.core.recovery import LONGEST_WAIT_IN_PLACE

from .base import Notice, Ports
from .compressor import compress
from .progress import Progress
from .shown import Shown

Summarise = Callable[[tuple[ChatMessage, ...]], Awaitable[str | None]]


class Performer:
    """Does to a call what an action says. `summarise` asks a model for a summary; None: it could not be had."""

    def __init__(self, ports: Ports, progress: Progress, shown: Shown, summarise: Summarise) -> None:
        self._ports = ports
        self._progress = progress
        self._shown = shown
        self._summarise = summarise

    async def perform(self, action: Action, failure: Failure, number: int, *, foreseen: bool = False) -> None:
        """`number` is the next attempt's. Raises `CallFailed`, and `Postponed` for a wait that is too long here."""
        progress = self._progress
        self._tell(action, "" if foreseen else failure.kind.value, number)
        match action:
            case Wait(seconds) | Continue(_, seconds):
                await self._wait(seconds, failure)
            case Restart(seconds):
                await self._shown.withdraw()
                await self._wait(seconds, failure)
            case RotateCredential():
                progress.rotate()
            case SwitchModel():
                progress.switch()
            case Compress(tokens):
                await self._compress(tokens, number)
            case LowerWindow(tokens):
                await self._lower_window(tokens, number)
            case LowerOutputLimit(tokens):
                await self._lower_output(tokens, failure)
            case RaiseOutputLimit(tokens):
                progress.raise_output(tokens)
            case LowerEffort():
                progress.lower_effort()
            case DropParameter(name):
                progress.drop(name, for_good=not failure.conditional)
            case RenameParameter(name, other):
                progress.rename(name, other)
            case DisableStreaming():
                progress.now.streaming = False
            case StripThinking():
                progress.strip_thinking()
            case RepairHistory():
                progress.repair()
            case GiveUp():
                raise CallFailed(progress.explained(failure, self._shown.text))

    def _tell(self, action: Action, kind: str, number: int) -> None:
        # A compression is told when a summary is asked for, and when it is known of how many messages.
        if not isinstance(action, GiveUp | Compress | LowerWindow):
            following = self._progress.next_model if isinstance(action, SwitchModel) else None
            model = (following or self._progress.model).name
            seconds = action.seconds if isinstance(action, Wait | Continue | Restart) else None
            notice = Notice(kind, type(action).__name__, model, seconds or None, number)
            self._ports.sink.notice(notice)

    async def _wait(self, seconds: float, failure: Failure) -> None:
        if seconds > LONGEST_WAIT_IN_PLACE and not self._shown.text:
            raise Postponed(failure, seconds)
        await asyncio.sleep(seconds)

    async def _lower_output(self, tokens: int, failure: Failure) -> None:
        self._progress.lower_output(tokens, failure.output_limit)
        if tokens == failure.output_limit and not failure.conditional:
            await self._ports.notebook.learn(self._progress.model, Learned(output_limit=tokens))

    async def _lower_window(self, tokens: int, number: int) -> None:
        """Believe the provider, and make the conversation fit. Our estimate of its size may have been too low."""
        progress = self._progress
        await self._ports.notebook.learn(progress.model, Learned(window=tokens))
        progress.lower_window(tokens)
        if progress.fits_with_less_output(tokens):
            return
        room = tokens - reserve(tokens, progress.now.output_limit)
        await self._compress(max(min(int(room * FILL), progress.estimate() // 2), 1), number)

    async def _compress(self, target: int, number: int) -> None:
        """Have a summary stand for the beginning of the conversation. What is stored stays as it is."""
        progress, notebook = self._progress, self._ports.notebook
        known = await notebook.summary([message.ref for message in progress.call.messages if message.ref])
        ask = partial(self._ask_for_summary, number)
        done = await compress(progress.now.messages, target, progress.measure, known, ask)
        progress.now.compressions += 1
        if done is None:
            progress.now.compressible = False
            return
        progress.now.messages = done.messages
        if done.summary is not None and done.summary.upto and done.summary != known:
            await notebook.keep_summary(done.summary)
        self._tell_of_summary(number, done.count)

    async def _ask_for_summary(self, number: int, messages: tuple[ChatMessage, ...]) -> str | None:
        # It takes as long as an answer: who waits is told beforehand.
        self._tell_of_summary(number, None)
        return await self._summarise(messages)

    def _tell_of_summary(self, number: int, count: int | None) -> None:
        kind = ErrorKind.CONTEXT_OVERFLOW.value
        self._ports.sink.notice(Notice(kind, "Compress", self._progress.model.name, None, number, count))
