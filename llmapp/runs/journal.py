"""The step journal of a run: which of its turns are finished, and from where a takeover goes on.

A finished turn is a `Turn` row, its message and its `STEP_FINISHED`, in one durable transaction. It is never asked
for again: whoever takes the run over goes on behind it, and ends the run where it was the last one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now

from llmapp.core import events as ev
from llmapp.core.conclusion import Conclusion, conclude
from llmapp.core.events import Event
from llmapp.core.stream import FinishReason, Reply
from llmapp.core.transcript import Transcript
from llmapp.models import Attempt, Run, Turn

from . import endings, telemetry
from .writer import RunLog


class RunJournal:
    """The `Journal` of one execution of a run."""

    def __init__(self, log: RunLog, hold: Callable[[], Run]) -> None:
        """`hold` locks the run's row in the writer's transaction, or raises `LeaseLost`."""
        self._log = log
        self._hold = hold

    async def finish(self, step: str, message_id: str, reply: Reply) -> None:
        """Keep a finished turn. Returns once that is durable; raises `LeaseLost`."""
        await self._log.commit(partial(self._finish, step, message_id, reply))

    def _finish(self, step: str, message_id: str, reply: Reply) -> list[Event]:
        """In the writer's transaction, which may come twice: the second time the first one left nothing."""
        run = self._hold()
        transcript = self._log.transcript
        text = transcript.texts.get(message_id, "")
        message = endings.keep_message(run, message_id, text, reasoning=endings.reasoning_of(transcript))
        reason = str(reply.finish_reason or FinishReason.STOP)
        turn = open_turn(run.pk)
        Turn.objects.filter(pk=turn).update(ended_at=Now(), finish_reason=reason, message=message)
        telemetry.closed(Turn, turn)
        event = ev.step_finished(step)
        if step in transcript.open_steps:
            transcript.apply(event)
        return [event]


def open_turn(run_id: uuid.UUID) -> int:
    """Return the key of the turn that goes on, which begins now if none does. The caller holds the run."""
    with transaction.atomic():
        turns = Turn.objects.filter(run_id=run_id)
        # Those of earlier executions were closed when the run was taken away from them.
        if (row := turns.filter(ended_at=None).values_list("pk", flat=True).first()) is not None:
            return row
        number = (turns.aggregate(last=Max("number"))["last"] or 0) + 1
        return Turn.objects.create(run_id=run_id, number=number, started_at=Now()).pk


def conclusion(run: Run, transcript: Transcript) -> Conclusion | None:
    """Return how a run ends whose answer is finished, whatever has happened to its worker since; None: it is not.

    Tools come in here later: until then no turn follows a finished one.
    """
    finished = Turn.objects.filter(run=run).order_by("-number").select_related("message").first()
    if finished is None or not finished.finish_reason:
        return None
    text = finished.message.text if finished.message else ""
    thought = any(transcript.reasoning.values()) or _has_thought(run)
    # A word of a newer version's is taken for an end like any other.
    known = finished.finish_reason in set(FinishReason)
    reason = FinishReason(finished.finish_reason) if known else FinishReason.STOP
    return conclude(reason, text, shown=transcript.text_was_shown, thought=thought)


def _has_thought(run: Run) -> bool:
    """Say whether a provider counted thinking, shown or not."""
    return Attempt.objects.filter(call__run=run, reasoning_tokens__gt=0).exists()
