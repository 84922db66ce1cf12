"""The turns of a run: ask the model, hand on what it says, stop when it is done.

Pure of storage: events go to `emit`, a finished message to `finished`. Tools come in here later; a run
has one turn until then.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmapp.calls.base import Call, Notice, Ports
from llmapp.calls.executor import run_call
from llmapp.core import events as ev
from llmapp.core.events import Event
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Delta, ReasoningDelta, Reply, TextDelta

from .definition import AgentSpec

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """The run's last message. `id` is the one that its events carried."""

    id: str
    reply: Reply


class Narrator:
    """Tells a call as events: the `Sink` of one turn. What it opens, it closes."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
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
                kind=notice.kind,
                action=notice.action,
                model=notice.model or None,
                seconds=None if notice.seconds is None else round(notice.seconds, 1),
                attempt=notice.attempt or None,
            )
        )

    def withdraw(self) -> None:
        """Nothing was shown yet whenever this version repeats an attempt: only thoughts have to be closed."""
        self._stop_thinking()

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


async def run_agent(agent: AgentSpec, history: tuple[ChatMessage, ...], ports: Ports, emit: Emit, step: str) -> Answer:
    """Answer the last message of `history`. `step` names the turn in the log.

    Raises `CallFailed`. What was open in the log then stays open: who ends the run closes it.
    `ports.sink` is replaced by the turn's own.
    """
    emit(ev.step_started(step))
    narrator = Narrator(emit)
    call = Call(
        models=agent.models,
        messages=_with_instructions(agent, history),
        settings=agent.settings,
        switch_after=agent.switch_after,
        timeout_limit=agent.timeout_limit,
        violation_limit=agent.violation_limit,
    )
    reply = await run_call(call, replace(ports, sink=narrator))
    narrator.close()
    emit(ev.step_finished(step))
    return Answer(narrator.message_id or str(uuid.uuid4()), reply)


def _with_instructions(agent: AgentSpec, history: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    if not agent.instructions:
        return history
    return (ChatMessage(Role.SYSTEM, agent.instructions), *history)
