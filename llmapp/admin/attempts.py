"""The calls and attempts of a run, as one table: who was asked, how it ended, what was done about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch
from django.utils.translation import gettext as _

from llmapp.models import Attempt, Call, Run

from . import look

#: Of these nobody tells us: we see them ourselves.
NOTICED = frozenset({"connection", "stream_interrupted", "timeout", "cancelled"})


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt, ready to be read. The first one of each call says for how many attempts that stands."""

    call: Call
    rows_of_call: int
    #: Rows of the table: what the provider said has one of its own.
    lines_of_call: int
    attempt: Attempt | None
    cells: dict[str, Any]


def calls_of(run: Run) -> list[Call]:
    """Return a run's calls with their turns and attempts. Two queries, however many there are."""
    # What was sent may be long: it has a page of its own.
    attempts_of_calls = Prefetch("attempts", Attempt.objects.defer("request").select_related("credential"))
    calls = Call.objects.filter(run=run).select_related("turn")
    return list(calls.order_by("pk").prefetch_related(attempts_of_calls))


def rows_of(calls: Iterable[Call]) -> list[Row]:
    """Return a row for each attempt, and one for a call without any."""
    rows: list[Row] = []
    for call in calls:
        made = sorted(call.attempts.all(), key=lambda attempt: attempt.number)
        attempts: list[Attempt | None] = [*made] or [None]
        for at, attempt in enumerate(attempts):
            first = at == 0
            lines = len(attempts) + sum(1 for one in made if one.error_detail)
            cells = _cells(attempt) if attempt else {}
            rows.append(Row(call, len(attempts) if first else 0, lines if first else 0, attempt, cells))
    return rows


def _cells(attempt: Attempt) -> dict[str, Any]:
    took = (attempt.ended_at - attempt.started_at).total_seconds() if attempt.ended_at else None
    return {
        "state": look.badge(*_state(attempt)),
        "finish": attempt.finish_reason if attempt.error_kind else "",
        "then": attempt.action or look.DASH,
        "waited": look.seconds(attempt.waited),
        "first_token": look.seconds(attempt.first_token),
        "took": look.seconds(took),
        "tokens": f"{look.count(attempt.input_tokens)} / {look.count(attempt.output_tokens)}",
        "of_them": _of_them(attempt),
        "whose_words": _("What was noticed") if attempt.error_kind in NOTICED else _("The provider's words"),
        "cost": look.money(attempt.cost),
    }


def _of_them(attempt: Attempt) -> str:
    """Return which of the tokens were cached, written to a cache or thought, where that is known."""
    parts = [
        (attempt.cached_input_tokens, _("%(count)s cached")),
        (attempt.cache_write_tokens, _("%(count)s to the cache")),
        (attempt.reasoning_tokens, _("%(count)s thought")),
    ]
    return ", ".join(text % {"count": look.count(number)} for number, text in parts if number)


def _state(attempt: Attempt) -> tuple[str, str]:
    if attempt.error_kind:
        return ("cancelled" if attempt.error_kind == "cancelled" else "failed"), attempt.error_kind
    if attempt.ended_at is None:
        return "running", "…"
    return "ok", attempt.finish_reason or "ok"
