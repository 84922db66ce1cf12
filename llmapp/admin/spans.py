"""What a run's waterfall shows: the run, its turns, calls and attempts, each with how it went, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from llmapp.core import events as ev
from llmapp.core.run_state import RunStatus
from llmapp.models import Attempt, Call, Run, RunEvent, Turn

from . import look, waterfall
from .waterfall import Scale, Span, Stretch, Waterfall

#: Seconds: a gap between two attempts that is worth drawing.
A_WAIT = 0.05
#: Seconds from which on minutes are counted.
LONG = 120
#: Characters of a model's name: what a telephone has room for.
LONGEST_NAME = 22

#: How it went -> its sign: nobody has to tell colours apart.
SIGNS = {"good": "✓", "bad": "✗", "warn": "!", "quiet": "–", "busy": "…"}

#: How entries of the log begin that a model's words make.
WORDS = [f'{{"type":"{name}"' for name in (ev.TEXT_MESSAGE_CONTENT, ev.REASONING_MESSAGE_CONTENT)]


@dataclass(frozen=True, slots=True)
class Drawing:
    title: str
    sentence: str
    picture: Waterfall
    #: What is drawn how: (kind, word).
    legend: list[tuple[str, str]]


def drawing_of(run: Run, calls: Sequence[Call], now: datetime) -> Drawing:
    """Return the waterfall of a run. What is not over goes on until `now`. One query, two while a model is asked."""
    return _Drawer(run, calls, now).drawing()


class _Drawer:
    def __init__(self, run: Run, calls: Sequence[Call], now: datetime) -> None:
        self._run = run
        self._calls = calls
        self._end = max(run.ended_at or now, run.created_at)

    def drawing(self) -> Drawing:
        phases = self._phases()
        idle = [(phase.begin, phase.end) for phase in phases if phase.kind == "queued"]
        scale = Scale(self._since(self._end), idle)
        spans = [self._run_span(phases), *self._inner()]
        return Drawing(_("Where the time went"), self._sentence(), waterfall.draw(spans, scale), self._legend(spans))

    # -- the run

    def _phases(self) -> list[Stretch]:
        """Return when the run was queued and when it was at work: by its log, as long as that is whole."""
        run = self._run
        statuses = RunEvent.objects.filter(run=run).exclude(status="").order_by("seq")
        changes = [(status, self._since(at)) for status, at in statuses.values_list("status", "created_at")]
        if run.started_at and not any(status == RunStatus.IN_PROGRESS for status, _at in changes):
            changes = [(RunStatus.IN_PROGRESS, self._since(run.started_at))]
        known = [(RunStatus.QUEUED, 0.0), *changes, ("", self._since(self._end))]
        return [
            self._phase(status, begin, max(begin, end))
            for (status, begin), (_next, end) in pairwise(known)
            if end > begin and status in (RunStatus.QUEUED, RunStatus.IN_PROGRESS)
        ]

    def _phase(self, status: str, begin: float, end: float) -> Stretch:
        queued = status == RunStatus.QUEUED
        text = _("In the queue for %(time)s") if queued else _("At work for %(time)s")
        return Stretch(begin, end, "queued" if queued else "busy", text % {"time": _time(end - begin)})

    def _run_span(self, phases: list[Stretch]) -> Span:
        run = self._run
        colour = look.COLOURS.get(run.status, "quiet")
        why = f"{run.get_status_display()} {run.error_kind}".strip()
        label = " · ".join([_("Run"), f"{SIGNS[colour]} {why}"])
        return Span(0, label, _time(self._since(self._end)), phases)

    # -- what is in it

    def _inner(self) -> Iterator[Span]:
        turn = None
        for call in self._calls:
            if call.turn is not None and call.turn != turn:
                yield self._span_of(call.turn, 1, _("Turn %(number)d") % {"number": call.turn.number})
            turn = call.turn
            yield self._span_of(call, 2, _("Call"))
            attempts = sorted(call.attempts.all(), key=lambda attempt: attempt.number)
            for attempt, following in zip(attempts, [*attempts[1:], None], strict=True):
                yield self._span_of_attempt(attempt, following)

    def _span_of(self, row: Turn | Call, depth: int, name: str) -> Span:
        begin, end = self._times(row)
        colour = self._colour(row)
        # What did not go well, by its name; the rest is said by the sign.
        label = f"{name} · {SIGNS[colour]} {row.error_kind}".rstrip()
        took = _time(end - begin)
        return Span(depth, label, took, [Stretch(begin, end, f"{colour} thin", f"{label}: {took}")])

    def _span_of_attempt(self, attempt: Attempt, following: Attempt | None) -> Span:
        begin, end = self._times(attempt)
        colour = self._colour(attempt)
        took = _time(end - begin)
        then = f"→ {attempt.action}" if attempt.action else ""
        how = " ".join(filter(None, [SIGNS[colour], attempt.error_kind, then]))
        name = _("Attempt %(number)d") % {"number": attempt.number}
        title = f"{name} · {attempt.model_name} · {how}: {took}"
        first, marks = None, []
        if (waited := self._first_token(attempt)) is not None:
            first = min(begin + waited, end)
            marks = [(first, _("First token after %(time)s") % {"time": _time(waited)})]
        # Until its first token it may still become anything; one that ended without any was never more.
        until = first if first is not None else end if attempt.ended_at is None else begin
        stretches = [Stretch(begin, until, f"{colour} pale", title)] if until > begin else []
        if until < end or not stretches:
            stretches.append(Stretch(until, end, colour, title))
        if following is not None and (gap := self._since(following.started_at) - end) > A_WAIT:
            text = _("Waited %(time)s before the next attempt") % {"time": _time(gap)}
            stretches.append(Stretch(end, end + gap, "wait", text))
        return Span(3, f"{name} · {_short(attempt.model_name)} · {how}", took, stretches, marks)

    def _first_token(self, attempt: Attempt) -> float | None:
        """Return its seconds. The row has them when the attempt is over; until then the log knows, to a batch."""
        if attempt.first_token is not None or attempt.ended_at is not None:
            return attempt.first_token
        words = Q()
        for beginning in WORDS:
            words |= Q(data__startswith=beginning)
        said = RunEvent.objects.filter(words, run=self._run, created_at__gte=attempt.started_at).order_by("seq")
        at = said.values_list("created_at", flat=True).first()
        return None if at is None else (at - attempt.started_at).total_seconds()

    # -- in words

    def _sentence(self) -> str:
        made = sum(len(call.attempts.all()) for call in self._calls)
        text = ngettext(
            "%(time)s from the submit to the end, %(count)d attempt. The table says the same.",
            "%(time)s from the submit to the end, %(count)d attempts. The table says the same.",
            made,
        )
        if self._run.ended_at is None:
            text = ngettext(
                "%(time)s since the submit, %(count)d attempt so far. The table says the same.",
                "%(time)s since the submit, %(count)d attempts so far. The table says the same.",
                made,
            )
        return text % {"time": _time(self._since(self._end)), "count": made}

    def _legend(self, spans: Sequence[Span]) -> list[tuple[str, str]]:
        """Name what is drawn, and nothing else."""
        drawn = {kind for span in spans for stretch in span.stretches for kind in stretch.kind.split()}
        words = {
            "queued": _("in the queue"),
            "busy": _("at work"),
            "pale": _("until the first token"),
            "good": _("answered"),
            "bad": _("failed"),
            "quiet": _("cancelled"),
            "wait": _("wait before the next attempt"),
        }
        return [(kind, word) for kind, word in words.items() if kind in drawn]

    def _colour(self, row: Turn | Call | Attempt) -> str:
        if row.ended_at is None:
            return "busy"
        return "quiet" if row.error_kind == "cancelled" else "bad" if row.error_kind else "good"

    def _times(self, row: Turn | Call | Attempt) -> tuple[float, float]:
        begin = self._since(row.started_at)
        return begin, max(begin, self._since(row.ended_at or self._end))

    def _since(self, moment: datetime) -> float:
        return max((moment - self._run.created_at).total_seconds(), 0.0)


def _time(seconds: float) -> str:
    """Return how long, as the axis says it: in seconds, and from two minutes on as on a clock."""
    return look.seconds(seconds) if seconds < LONG else waterfall.clock(seconds, fine=False)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
