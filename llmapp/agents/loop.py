"""The turns of a run: ask the model, hand on what it says, stop when it is done.

Pure of storage: events go to `emit`, a finished turn to the journal. Tools come in here later; a run has one turn
until then.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from llmapp.calls.base import Call, Notice, Ports
from llmapp.calls.executor import run_call
from llmapp.core import events as ev
from llmapp.core.errors import ErrorKind
from llmapp.core.events import Event
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Delta, ReasoningDelta, Reply, TextDelta

from .definition import AgentSpec

Emit = Callable[[Event], None]
#: Gives every message of the thread that is stored, as AG-UI clients hold it.
Thread = Callable[[], Awaitable[list[dict[str, Any]]]]


class Journal(Protocol):
    """Keeps what is finished: what is in it outlives this process, and is never asked for again."""

    async def finish(self, step: str, message_id: str, reply: Reply) -> None:
        """Keep a turn, and say in the log that its step is finished. Returns once that is durable."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The run's last message. `id` is the one that its events carried."""

    id: str
    reply: Reply


class Narrator:
    """Tells a call as events: the `Sink` of one turn. What it opens, it closes."""

    def __init__(self, emit: Emit, thread: Thread) -> None:
        self._emit = emit
        self._thread = thread
        self._reasoning_id = ""
        self.message_id = ""

    def delta(self, delta: Delta) -> None:
        match delta:
            case TextDelta(text) if text:
                self._say(text)
            case ReasoningDelta(text) if text:
                self._think(text)

    def notice(self, notice: Notice) -> None:
        self._emit(
            ev.custom(
                "llmapp.notice",
                kind=notice.kind or None,
                action=notice.action,
                model=notice.model or None,
                seconds=None if notice.seconds is None else round(notice.seconds, 1),
                attempt=notice.attempt or None,
                count=notice.count,
            )
        )

    async def withdraw(self) -> None:
        """Take the text back: its message is closed, and a snapshot of the thread without it follows."""
        self._stop_thinking()
        if self.message_id:
            thread = await self._thread()
            self._emit(ev.text_end(self.message_id))
            self._emit(ev.messages_snapshot(thread))
            self.message_id = ""

    def close(self) -> None:
        self._stop_thinking()
        if self.message_id:
            self._emit(ev.text_end(self.message_id))

    def _say(self, text: str) -> None:
        self._stop_thinking()
        if not self.message_id:
            self.message_id = str(uuid.uuid4())
            self._emit(ev.text_start(self.message_id))
        self._emit(ev.text_content(self.message_id, text))

    def _think(self, text: str) -> None:
        if not self._reasoning_id:
            self._reasoning_id = str(uuid.uuid4())
            self._emit_all(ev.reasoning_start(self._reasoning_id))
        self._emit(ev.reasoning_content(self._reasoning_id, text))

    def _stop_thinking(self) -> None:
        if self._reasoning_id:
            self._emit_all(ev.reasoning_end(self._reasoning_id))
            self._reasoning_id = ""

    def _emit_all(self, events: list[Event]) -> None:
        for event in events:
            self._emit(event)


async def run_agent(
    agent: AgentSpec,
    history: tuple[ChatMessage, ...],
    ports: Ports,
    emit: Emit,
    step: str,
    thread: Thread,
    journal: Journal,
) -> Answer:
    """Answer the last message of `history`. `step` names the turn in the log.

    Raises `CallFailed` and `Postponed`. What was open in the log then stays open: who ends the run closes it.
    `ports.sink` is replaced by the turn's own.
    """
    emit(ev.step_started(step))
    narrator = Narrator(emit, thread)
    for name in agent.skipped:
        narrator.notice(Notice(ErrorKind.MODEL_NOT_FOUND, "Skipped", name))
    call = Call(
        models=agent.models,
        messages=_with_instructions(agent, history),
        settings=agent.settings,
        switch_after=agent.switch_after,
        timeout_limit=agent.timeout_limit,
        violation_limit=agent.violation_limit,
        summary_model=agent.summary_model,
    )
    reply = await run_call(call, replace(ports, sink=narrator))
    narrator.close()
    answer = Answer(narrator.message_id or str(uuid.uuid4()), reply)
    await journal.finish(step, answer.id, reply)
    return answer


def _with_instructions(agent: AgentSpec, history: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    if not agent.instructions:
        return history
    return (ChatMessage(Role.SYSTEM, agent.instructions), *history)
