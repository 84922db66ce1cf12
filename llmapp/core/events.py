"""The vocabulary of a run's log: AG-UI 1.0 events as plain dicts, and our own facts as `CUSTOM` ones.

Plain dicts, because a busy worker builds thousands a second; the tests validate every one of them
against the models of `ag-ui-protocol`. Keys without a value are left out, never null.

Our own events are named `llmapp.*`:

    llmapp.run      the run's status changed        {"status", "execution"?, "reason"?, "seconds"?, "kind"?}
    llmapp.block    rendered Markdown               {"messageId", "index", "mode", "html", "end", "settled"}
    llmapp.render   the whole answer, rendered anew {"messageId", "html"}
    llmapp.notice   the live status line            {"kind", "action", "model"?, "seconds"?, "attempt"?, "count"?}

A terminal event says more in its metadata, each where it is known: `llmapp.status`, `llmapp.seconds`, `llmapp.cost`,
`llmapp.model`, `llmapp.facts` (what belongs to the error, see `runs.sentences`) and `llmapp.summarised` (how many
messages a summary stood for).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from .run_state import RunStatus
from .usage import Usage, spell

Event = dict[str, Any]

RUN_STARTED = "RUN_STARTED"
RUN_FINISHED = "RUN_FINISHED"
RUN_ERROR = "RUN_ERROR"
TEXT_MESSAGE_START = "TEXT_MESSAGE_START"
TEXT_MESSAGE_CONTENT = "TEXT_MESSAGE_CONTENT"
TEXT_MESSAGE_END = "TEXT_MESSAGE_END"
REASONING_START = "REASONING_START"
REASONING_MESSAGE_START = "REASONING_MESSAGE_START"
REASONING_MESSAGE_CONTENT = "REASONING_MESSAGE_CONTENT"
REASONING_MESSAGE_END = "REASONING_MESSAGE_END"
REASONING_END = "REASONING_END"
STEP_STARTED = "STEP_STARTED"
STEP_FINISHED = "STEP_FINISHED"
MESSAGES_SNAPSHOT = "MESSAGES_SNAPSHOT"
CUSTOM = "CUSTOM"

TERMINAL = frozenset({RUN_FINISHED, RUN_ERROR})
#: Events whose `delta` may be joined with the next one's of the same message.
JOINABLE = frozenset({TEXT_MESSAGE_CONTENT, REASONING_MESSAGE_CONTENT})

#: The outcomes that AG-UI has for an end that is not an error.
OUTCOMES = {
    RunStatus.COMPLETED: "success",
    RunStatus.CANCELLED: "cancelled",
    RunStatus.REQUIRES_ACTION: "interrupt",
}


def run_started(thread_id: str, run_id: str, user_message: Mapping[str, Any], parent_run_id: str = "") -> Event:
    """The first event of every run: `user_message` is what the person said, with its id."""
    start = {"threadId": thread_id, "runId": run_id}
    event: Event = {"type": RUN_STARTED, **start, "input": {**start, "messages": [dict(user_message)]}}
    if parent_run_id:
        event["parentRunId"] = parent_run_id
    return event


def run_status(status: RunStatus, **facts: Any) -> Event:
    return custom("llmapp.run", status=str(status), **facts)


def custom(name: str, **value: Any) -> Event:
    return {"type": CUSTOM, "name": name, "value": {k: v for k, v in value.items() if v is not None}}


def text_start(message_id: str) -> Event:
    return {"type": TEXT_MESSAGE_START, "messageId": message_id, "role": "assistant"}


def text_content(message_id: str, delta: str) -> Event:
    return {"type": TEXT_MESSAGE_CONTENT, "messageId": message_id, "delta": delta}


def text_end(message_id: str) -> Event:
    return {"type": TEXT_MESSAGE_END, "messageId": message_id}


def reasoning_start(message_id: str) -> list[Event]:
    return [
        {"type": REASONING_START, "messageId": message_id},
        {"type": REASONING_MESSAGE_START, "messageId": message_id, "role": "reasoning"},
    ]


def reasoning_content(message_id: str, delta: str) -> Event:
    return {"type": REASONING_MESSAGE_CONTENT, "messageId": message_id, "delta": delta}


def reasoning_end(message_id: str) -> list[Event]:
    return [
        {"type": REASONING_MESSAGE_END, "messageId": message_id},
        {"type": REASONING_END, "messageId": message_id},
    ]


def step_started(name: str) -> Event:
    return {"type": STEP_STARTED, "stepName": name}


def step_finished(name: str) -> Event:
    return {"type": STEP_FINISHED, "stepName": name}


def messages_snapshot(messages: Iterable[Mapping[str, Any]]) -> Event:
    """Every message of the thread: what a client holds is replaced by it."""
    return {"type": MESSAGES_SNAPSHOT, "messages": [dict(message) for message in messages]}


def usage_entry(usage: Usage, provider: str = "", model: str = "") -> dict[str, Any]:
    """One `TokenUsage` of AG-UI. Counts that nobody told us are left out."""
    counts = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    entry = {"provider": provider or None, "model": model or None, **counts}
    return {key: value for key, value in entry.items() if value is not None}


def terminal(
    status: RunStatus,
    thread_id: str,
    run_id: str,
    *,
    code: str = "",
    message: str = "",
    usage: Iterable[Mapping[str, Any]] = (),
    interrupts: Iterable[Mapping[str, Any]] = (),
    seconds: float | None = None,
    cost: Decimal | None = None,
    model: str = "",
    facts: Mapping[str, Any] | None = None,
    summarised: int | None = None,
) -> Event:
    """The last event of a run that ended with `status`.

    `code` is the `ErrorKind` and `message` our sentence; both are needed for `incomplete` and
    `failed`, which clients would read as a success if they came as a finish.
    """
    metadata: dict[str, Any] = {"llmapp.status": str(status)}
    if seconds is not None:
        metadata["llmapp.seconds"] = round(seconds, 3)
    if cost is not None:
        metadata["llmapp.cost"] = spell(cost)
    if model:
        metadata["llmapp.model"] = model
    if facts:
        metadata["llmapp.facts"] = dict(facts)
    if summarised:
        metadata["llmapp.summarised"] = summarised
    if (outcome := OUTCOMES.get(status)) is None:
        event: Event = {"type": RUN_ERROR, "message": message, "code": code}
    else:
        event = {"type": RUN_FINISHED, "threadId": thread_id, "runId": run_id, "outcome": {"type": outcome}}
        if outcome == "interrupt":
            event["outcome"]["interrupts"] = [dict(interrupt) for interrupt in interrupts]
    if entries := [dict(entry) for entry in usage if entry]:
        event["usage"] = entries
    return {**event, "metadata": metadata}


def joined(events: Iterable[Event]) -> list[Event]:
    """Join neighbouring deltas of one message: what a batch writes as one row."""
    result: list[Event] = []
    parts: list[str] = []
    for event in events:
        last = result[-1] if result else None
        if last is not None and _continues(last, event):
            parts.append(event["delta"])
            continue
        _close(result, parts)
        result.append(event)
        parts = [event["delta"]] if event["type"] in JOINABLE else []
    _close(result, parts)
    return result


def _continues(last: Event, event: Event) -> bool:
    kind = event["type"]
    return kind in JOINABLE and last["type"] == kind and last["messageId"] == event["messageId"]


def _close(result: list[Event], parts: list[str]) -> None:
    if len(parts) > 1:
        result[-1] = {**result[-1], "delta": "".join(parts)}
