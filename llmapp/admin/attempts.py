"""The calls and attempts of a run, as one table: who was asked, how it ended, what was done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmapp.models import Attempt, Call, Run

from . import look


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt, ready to be read. `call` is set on the first attempt of each call, for how many rows it stands."""

    call: Call
    rows_of_call: int
    attempt: Attempt | None
    cells: dict[str, Any]


def rows_of(run: Run) -> list[Row]:
    """Return a row for each attempt, and one for a call without any. Three queries, however many there are."""
    calls = Call.objects.filter(run=run).order_by("pk").prefetch_related("attempts__credential")
    rows: list[Row] = []
    for call in calls:
        made = sorted(call.attempts.all(), key=lambda attempt: attempt.number)
        attempts: list[Attempt | None] = [*made] or [None]
        for at, attempt in enumerate(attempts):
            rows.append(Row(call, len(attempts) if at == 0 else 0, attempt, _cells(attempt) if attempt else {}))
    return rows


def _cells(attempt: Attempt) -> dict[str, Any]:
    took = (attempt.ended_at - attempt.started_at).total_seconds() if attempt.ended_at else None
    return {
        "state": look.badge(*_state(attempt)),
        "first_token": look.seconds(attempt.first_token),
        "took": look.seconds(took),
        "tokens": f"{look.count(attempt.input_tokens)} / {look.count(attempt.output_tokens)}",
        "cost": look.money(attempt.cost),
    }


def _state(attempt: Attempt) -> tuple[str, str]:
    if attempt.error_kind:
        return ("cancelled" if attempt.error_kind == "cancelled" else "failed"), attempt.error_kind
    if attempt.ended_at is None:
        return "running", "…"
    return "ok", attempt.finish_reason or "ok"
