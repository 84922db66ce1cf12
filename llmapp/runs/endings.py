"""How runs end, or go back to the queue: row and event in the caller's transaction.

The caller holds the run: its row is locked and no worker has its lease, or the caller has just
revoked that lease, or it is that worker's log writer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Now

from llmapp.core import events as ev
from llmapp.core import run_state
from llmapp.core.errors import ErrorKind, Failure
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.core.transcript import Transcript
from llmapp.core.usage import Usage
from llmapp.models import Attempt, Call, Conversation, Message, Run, Turn
from llmapp.signals import attempt_ended, run_ended, send_on_commit

from . import log, records, sentences, telemetry, thread
from .clock import db_now

#: Seconds.
WORTH_A_TIME = 60

COUNTS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


def end_run(run: Run, trigger: Trigger, kind: ErrorKind | None = None, facts: Mapping[str, Any] | None = None) -> None:
    """End a run that no worker holds: close what is open, keep the text that was shown, say how it ended."""
    transcript = log.transcript(run.pk)
    events = transcript.closing()
    keep_answers(run, transcript, complete=trigger is Trigger.COMPLETE)
    events.append(settle(run, trigger, kind, facts))
    log.append(run.pk, events)


def settle(
    run: Run, trigger: Trigger, kind: ErrorKind | None = None, facts: Mapping[str, Any] | None = None, model: str = ""
) -> ev.Event:
    """Write the end of a run into its row, and return the terminal event that says the same.

    `facts` are those of `sentences.ending`.
    """
    now = db_now()
    close_spans(run, now, kind)
    status = run_state.after(run.status, trigger)
    _add_up(run)
    run.status, run.worker, run.ended_at = status, None, now
    run.model_name = model or run.model_name
    run.error_kind = str(kind or "")
    run.error_facts = dict(facts or {}) if kind else {}
    run.error_message = sentences.ending(status, kind, run.error_facts) if kind else ""
    error = ["error_kind", "error_message", "error_facts"]
    run.save(update_fields=["status", "worker", "ended_at", "model_name", "summarised", *error, "cost", *COUNTS])
    _tell(run)
    telemetry.closed(Run, run.pk)
    return terminal_of(run)


def facts_of(failure: Failure) -> dict[str, Any]:
    """Return what a failure lets us say beside its kind: the facts of `sentences.ending`."""
    facts: dict[str, Any] = {"limit": failure.limit, "needed": failure.needed}
    # What is over in a moment is not told as a time of the day.
    if (failure.retry_after or 0) >= WORTH_A_TIME and failure.kind in sentences.RESETTING:
        reset = datetime.now(UTC) + timedelta(seconds=failure.retry_after or 0)
        facts["reset_at"] = reset.isoformat(timespec="seconds")
    return {name: value for name, value in facts.items() if value is not None}


def _tell(run: Run) -> None:
    went_wrong = run.status in (RunStatus.FAILED, RunStatus.INCOMPLETE)
    level = logging.WARNING if went_wrong else logging.INFO
    facts = {"kind": run.error_kind, "model": run.model_name, "seconds": _seconds(run)}
    records.run_changed(run, f"run_{run.status}", str(run.status), level, **facts)
    records.run_cost(run)
    send_on_commit(run_ended, Run, run_id=run.pk, status=str(run.status), kind=run.error_kind)


def terminal_of(run: Run) -> ev.Event:
    """Return the terminal event that says what the row of an ended run says."""
    usage = Usage(**{name: getattr(run, name) for name in COUNTS})
    return ev.terminal(
        RunStatus(run.status),
        run.conversation.thread_id,
        run.public_id,
        code=run.error_kind,
        message=run.error_message,
        usage=[ev.usage_entry(usage, model=run.model_name)] if usage != Usage() else [],
        seconds=_seconds(run),
        cost=run.cost,
        model=run.model_name,
        facts=run.error_facts,
        summarised=run.summarised,
    )


def _seconds(run: Run) -> float:
    assert run.ended_at is not None
    return (run.ended_at - (run.started_at or run.created_at)).total_seconds()


def _add_up(run: Run) -> None:
    """Add the usage of all attempts up, failed ones that were billed included."""
    # Unknown is not zero: an attempt that used tokens whose price nobody knows makes the sum unknown, and so does one
    # that brought something and broke before its usage came.
    used = ~Q(input_tokens=None, output_tokens=None) | Q(first_token__isnull=False)
    unknown = Count("pk", filter=Q(cost=None) & used)
    sums = {name: Sum(name) for name in (*COUNTS, "cost")}
    found = Attempt.objects.filter(call__run=run).aggregate(unknown=unknown, **sums)
    for name in COUNTS:
        setattr(run, name, found[name])
    run.cost = None if found["unknown"] else found["cost"]


def keep_answers(run: Run, transcript: Transcript, *, complete: bool, html: str = "") -> None:
    """Store what a run that ends has said. `html` is that of its last message, where it is known."""
    for id, text in transcript.texts.items():
        keep_answer(run, id, text, complete=complete, html=html, reasoning=reasoning_of(transcript))


def reasoning_of(transcript: Transcript) -> str:
    return "\n\n".join(transcript.reasoning.values())


def keep_answer(run: Run, id: str, text: str, *, complete: bool, html: str = "", reasoning: str = "") -> None:
    """Store an assistant message of a run, rendered, and make it the end of the conversation's path."""
    if (message := keep_message(run, id, text, reasoning=reasoning)) is None:
        return
    # Forty milliseconds that every management command would pay, and hardly any needs.
    from llmapp.rendering.markdown import render

    message.html, message.complete = html or render(text), complete
    message.save(update_fields=["html", "complete"])
    Conversation.objects.filter(pk=run.conversation_id).update(leaf=message, updated_at=Now())
    records.said(run, str(message.role), text)


def keep_message(run: Run, id: str, text: str, *, reasoning: str = "") -> Message | None:
    """Store an assistant message of a run behind what it has said before. None: there is no text.

    It is on no path and not rendered until `keep_answer` has it. The run is held, so nobody else adds it meanwhile;
    its finished turn has, and may have been another worker's.
    """
    if not text:
        return None
    if (message := Message.objects.filter(pk=id).first()) is not None:
        return message
    return Message.objects.create(
        pk=id,
        conversation_id=run.conversation_id,
        parent_id=thread.tip(run),
        role=Message.Role.ASSISTANT,
        text=text,
        reasoning=reasoning,
        run=run,
    )


def close_spans(run: Run, now: datetime, kind: ErrorKind | None, detail: str = "") -> None:
    """Close the turns, calls and attempts that a dead or stopped worker left open, with the reason.

    Their worker may be closing them at this moment: each row is closed, and told of, by one of the two.
    """
    why = {"ended_at": now, "error_kind": str(kind or ErrorKind.CANCELLED)}
    if attempts := _close(Attempt.objects.filter(call__run=run), **why, error_detail=detail):
        _tell_of_attempts(Attempt.objects.filter(pk__in=attempts), run)
    _close(Call.objects.filter(run=run), **why)
    _close(Turn.objects.filter(run=run), **why)


def _close(rows: QuerySet[Any], **why: Any) -> list[int]:
    """Close those of the rows that are open. Returns their keys."""
    opened = list(rows.filter(ended_at=None).select_for_update(of=("self",)).values_list("pk", flat=True))
    if opened:
        rows.model._default_manager.filter(pk__in=opened).update(**why)
        telemetry.closed(rows.model, *opened)
    return opened


def _tell_of_attempts(attempts: QuerySet[Attempt], run: Run) -> None:
    """Tell of attempts that nobody was left to tell of. What they used is not known."""
    for attempt in attempts.defer("request").select_related("model__provider"):
        kind, provider = attempt.error_kind, attempt.model.provider.name if attempt.model else ""
        about = {"run": run.pk, "attempt": attempt.pk, "number": attempt.number, "model": attempt.model_name}
        about |= {"provider": provider, "credential": attempt.credential_id, "kind": kind}
        text = f"attempt {attempt.pk} {kind}"
        records.write_on_commit(records.calls, logging.WARNING, "attempt_ended", text, **about)
        send_on_commit(attempt_ended, Attempt, attempt_id=attempt.pk, run_id=run.pk, kind=kind, action="")


def requeue(run: Run, trigger: Trigger, reason: str) -> list[ev.Event]:
    """Put a run back into the queue, its worker gone or giving it back. Returns the events that say so."""
    # Nobody is to blame but us: the provider was not heard to the end.
    _put_back(run, trigger, reason, ErrorKind.CANCELLED)
    return [ev.run_status(RunStatus.QUEUED, reason=reason)]


def postpone(run: Run, kind: ErrorKind, seconds: float) -> list[ev.Event]:
    """Put a run back into the queue that must wait before it can go on. Returns the events that say so."""
    run.not_before = db_now() + timedelta(seconds=seconds)
    _put_back(run, Trigger.YIELD, "waiting", kind)
    run.save(update_fields=["not_before"])
    return [ev.run_status(RunStatus.QUEUED, reason="waiting", kind=str(kind), seconds=round(seconds, 1))]


def _put_back(run: Run, trigger: Trigger, reason: str, kind: ErrorKind) -> None:
    now = db_now()
    close_spans(run, now, kind, reason)
    run.status = run_state.after(run.status, trigger)
    run.worker = None
    run.enqueued_at = now
    if trigger is Trigger.YIELD:
        # Given back in good order: it does not count as one of the executions that failed.
        # Its neighbour may have spared it already (`watchdog`).
        run.executions = max(run.executions - 1, 0)
    run.save(update_fields=["status", "worker", "enqueued_at", "executions"])
    records.run_changed(run, "run_requeued", "queued again", reason=reason)


def withdrawal(run: Run, transcript: Transcript) -> list[ev.Event]:
    """Return the events that undo what an earlier execution left: parts closed, text of unfinished turns withdrawn."""
    events = transcript.closing()
    kept = thread.snapshot(thread.tip(run))
    if any(transcript.texts[id] for id in transcript.texts.keys() - {message["id"] for message in kept}):
        events.append(ev.messages_snapshot(kept))
    return events
