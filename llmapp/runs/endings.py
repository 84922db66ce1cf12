"""How runs end, or go back to the queue: row and event in the caller's transaction.

The caller holds the run: its row is locked and no worker has its lease, or the caller has just
revoked that lease, or it is that worker's log writer.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, Sum
from django.db.models.functions import Now

from llmapp.core import events as ev
from llmapp.core import run_state
from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.core.transcript import Transcript
from llmapp.core.usage import Usage
from llmapp.models import Attempt, Call, Conversation, Message, Run

from . import log, sentences
from .clock import db_now

logger = logging.getLogger("llmapp.runs")

COUNTS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


def end_run(run: Run, trigger: Trigger, kind: ErrorKind | None = None) -> None:
    """End a run that no worker holds: close what is open, keep the text that was shown, say how it ended."""
    transcript = log.transcript(run.pk)
    events = transcript.closing()
    for id, text in transcript.texts.items():
        keep_answer(run, id, text, complete=False)
    events.append(settle(run, trigger, kind))
    log.append(run.pk, events)


def settle(run: Run, trigger: Trigger, kind: ErrorKind | None = None, model: str = "") -> ev.Event:
    """Write the end of a run into its row, and return the terminal event that says the same."""
    now = db_now()
    close_spans(run, now, kind)
    status = run_state.after(run.status, trigger)
    _add_up(run)
    run.status, run.worker, run.ended_at = status, None, now
    run.model_name = model or run.model_name
    run.error_kind = str(kind or "")
    run.error_message = sentences.ending(status, kind) if kind else ""
    run.save(
        update_fields=["status", "worker", "ended_at", "model_name", "error_kind", "error_message", "cost", *COUNTS]
    )
    logger.info(
        "run %s %s", run.pk, status, extra={"action": f"run_{status}", "run": str(run.pk), "kind": run.error_kind}
    )
    return terminal_of(run)


def terminal_of(run: Run) -> ev.Event:
    """Return the terminal event that says what the row of an ended run says."""
    assert run.ended_at is not None
    usage = Usage(**{name: getattr(run, name) for name in COUNTS})
    return ev.terminal(
        RunStatus(run.status),
        run.conversation.thread_id,
        run.public_id,
        code=run.error_kind,
        message=run.error_message,
        usage=[ev.usage_entry(usage, model=run.model_name)] if usage != Usage() else [],
        seconds=(run.ended_at - (run.started_at or run.created_at)).total_seconds(),
        cost=run.cost,
        model=run.model_name,
    )


def _add_up(run: Run) -> None:
    """Add the usage of all attempts up, failed ones that were billed included."""
    # Unknown is not zero: an attempt that used tokens whose price nobody knows makes the sum unknown.
    unknown = Count("pk", filter=Q(cost=None) & ~Q(input_tokens=None, output_tokens=None))
    sums = {name: Sum(name) for name in (*COUNTS, "cost")}
    found = Attempt.objects.filter(call__run=run).aggregate(unknown=unknown, **sums)
    for name in COUNTS:
        setattr(run, name, found[name])
    run.cost = None if found["unknown"] else found["cost"]


def keep_answer(run: Run, id: str, text: str, *, complete: bool, **fields: Any) -> None:
    """Store an assistant message of a run and make it the end of the conversation's path."""
    if not text:
        return
    # The run is held, so nobody else adds it meanwhile: a run that was taken over may find it.
    if Message.objects.filter(pk=id).exists():
        return
    # Forty milliseconds that every management command would pay, and hardly any needs.
    from llmapp.rendering.markdown import render

    message = Message.objects.create(
        pk=id,
        conversation_id=run.conversation_id,
        parent_id=run.message_id,
        role=Message.Role.ASSISTANT,
        text=text,
        html=fields.pop("html", None) or render(text),
        complete=complete,
        run=run,
        **fields,
    )
    Conversation.objects.filter(pk=run.conversation_id).update(leaf=message, updated_at=Now())


def close_spans(run: Run, now: datetime, kind: ErrorKind | None) -> None:
    """Close the calls and attempts that a dead or stopped worker left open."""
    reason = str(kind or ErrorKind.CANCELLED)
    Attempt.objects.filter(call__run=run, ended_at=None).update(ended_at=now, error_kind=reason)
    Call.objects.filter(run=run, ended_at=None).update(ended_at=now, error_kind=reason)


def requeue(run: Run, trigger: Trigger, reason: str) -> list[ev.Event]:
    """Put a run back into the queue, its worker gone or giving it back. Returns the events that say so."""
    now = db_now()
    close_spans(run, now, ErrorKind.CONNECTION)
    run.status = run_state.after(run.status, trigger)
    run.worker = None
    run.enqueued_at = now
    if trigger is Trigger.YIELD:
        # Given back in good order: it does not count as one of the executions that failed.
        run.executions -= 1
    run.save(update_fields=["status", "worker", "enqueued_at", "executions"])
    logger.info("run %s queued again", run.pk, extra={"action": "run_requeued", "run": str(run.pk), "reason": reason})
    return [ev.run_status(RunStatus.QUEUED, reason=reason)]


def withdrawal(run: Run, transcript: Transcript, thread: list[dict[str, Any]]) -> list[ev.Event]:
    """Return the events that undo what an earlier execution left: open parts closed, its text withdrawn."""
    events = transcript.closing()
    if transcript.text_was_shown:
        events.append(ev.messages_snapshot(thread))
    return events
