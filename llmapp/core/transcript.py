"""What a run's events add up to: the texts shown, and what is still open.

The same fold as `static/llmapp/js/run_state.js`; both are held to the same fixtures. A worker that
takes a run over, and the sweeper that ends one, learn from it what they have to close. What belongs to
something that never started is left alone: of a log with a hole the rest still counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import events as ev
from .events import Event


class Transcript:
    """The state of one run after the events that were applied so far."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        #: Assistant messages of this run that are not withdrawn: id -> text.
        self.texts: dict[str, str] = {}
        #: Reasoning of this run: id -> text.
        self.reasoning: dict[str, str] = {}
        self.open_texts: list[str] = []
        self.open_reasoning: list[str] = []
        self.open_steps: list[str] = []
        #: How many steps were started, in all executions.
        self.steps = 0
        self.ended = False
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        match event["type"]:
            case ev.TEXT_MESSAGE_START:
                self.texts[event["messageId"]] = ""
                self.open_texts.append(event["messageId"])
            case ev.TEXT_MESSAGE_CONTENT:
                _grow(self.texts, event)
            case ev.TEXT_MESSAGE_END:
                _close(self.open_texts, event["messageId"])
            case ev.REASONING_MESSAGE_START:
                self.reasoning[event["messageId"]] = ""
                self.open_reasoning.append(event["messageId"])
            case ev.REASONING_MESSAGE_CONTENT:
                _grow(self.reasoning, event)
            case ev.REASONING_MESSAGE_END:
                _close(self.open_reasoning, event["messageId"])
            case ev.STEP_STARTED:
                self.steps += 1
                self.open_steps.append(event["stepName"])
            case ev.STEP_FINISHED:
                _close(self.open_steps, event["stepName"])
            case ev.MESSAGES_SNAPSHOT:
                kept = {message["id"]: message for message in event["messages"]}
                self.texts = {id: kept[id].get("content") or "" for id in self.texts if id in kept}
            case ev.RUN_FINISHED | ev.RUN_ERROR:
                self.ended = True

    @property
    def text_was_shown(self) -> bool:
        return any(self.texts.values())

    def closing(self) -> list[Event]:
        """Return the events that close whatever is open, innermost first."""
        events = [event for id in self.open_reasoning for event in ev.reasoning_end(id)]
        events += [ev.text_end(id) for id in self.open_texts]
        events += [ev.step_finished(name) for name in reversed(self.open_steps)]
        return events


def _grow(texts: dict[str, str], event: Event) -> None:
    if (id := event["messageId"]) in texts:
        texts[id] += event["delta"]


def _close(opened: list[str], name: str) -> None:
    if name in opened:
        opened.remove(name)
