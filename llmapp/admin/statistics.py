"""The figures of the overview. Added up by the database: a constant number of queries, whatever there is.

A sum with unknown parts is the sum of the known ones; how many are unknown is counted beside it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Floor

from llmapp.core.run_state import ENDS, RunStatus
from llmapp.models import Attempt, Run

from . import look
from .periods import Period

#: Rows of a table of agents, models or users.
TOP = 15

#: Seconds. The resolution of times to the first token.
STEP = 0.01

#: An attempt of which nobody counted a token.
USED_NOTHING = Q(input_tokens=None, output_tokens=None, first_token=None)

BAD = (RunStatus.FAILED, RunStatus.INCOMPLETE)


@dataclass(slots=True)
class Figures:
    """What some runs add up to. Times are seconds, cost is USD."""

    by_status: dict[str, int] = field(default_factory=dict)
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    #: Runs that ended and asked a model, but of which nobody knows the cost.
    unknown_cost: int = 0
    p50: float | None = None
    p95: float | None = None

    @property
    def runs(self) -> int:
        return sum(self.by_status.values())

    @property
    def bad(self) -> int:
        return sum(self.by_status.get(status, 0) for status in BAD)

    @property
    def ended(self) -> int:
        return sum(self.by_status.get(status, 0) for status in ENDS)

    def add(self, row: Any) -> None:
        """Add a row of a grouped query."""
        status = row.get("status")
        if status is not None:
            self.by_status[status] = self.by_status.get(status, 0) + row["runs"]
        for name in ("input_tokens", "output_tokens", "cost"):
            setattr(self, name, _plus(getattr(self, name), row[f"sum_{name}"]))
        self.unknown_cost += row["unknown"]


@dataclass(frozen=True, slots=True)
class Group:
    """An agent, a model or a user. `asked` counts runs, of a model attempts; `bad` those that went wrong.

    All visitors together are the user without a name.
    """

    name: str
    asked: int
    bad: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Statistics:
    total: Figures
    slots: list[Figures]
    failures: list[tuple[str, int]]
    agents: list[Group]
    models: list[Group]
    users: list[Group]


def statistics(period: Period) -> Statistics:
    """Return everything about a period. Eight queries."""
    runs = Run.objects.filter(created_at__gte=period.start)
    attempts = Attempt.objects.filter(started_at__gte=period.start)
    total, slots = _over_time(runs, period)
    _add_times(attempts, period, total, slots)
    return Statistics(
        total=total,
        slots=slots,
        failures=_failures(runs),
        agents=_agents(runs, attempts),
        models=_models(attempts),
        users=_groups(runs, f"user__{get_user_model().USERNAME_FIELD}"),
    )


# -- runs


def used(runs: QuerySet[Run]) -> Figures:
    """Return what these runs used, whenever they were. One query."""
    figures = Figures()
    for row in runs.order_by().values("status").annotate(runs=Count("pk"), **_sums()):
        figures.add(row)
    return figures


def used_by(runs: QuerySet[Run]) -> str:
    """Return what these runs used, to be read. A cost of which a part is unknown is said to be more than that."""
    figures = used(runs)
    return look.used(figures.input_tokens, figures.output_tokens, look.known(figures.cost, figures.unknown_cost))


def _sums() -> dict[str, Any]:
    return {f"sum_{name}": Sum(name) for name in ("input_tokens", "output_tokens", "cost")} | {
        "unknown": Count("pk", filter=Q(cost=None, attempts_used__gt=0, status__in=sorted(ENDS)))
    }


def _over_time(runs: QuerySet[Run], period: Period) -> tuple[Figures, list[Figures]]:
    total, slots = Figures(), [Figures() for _slot in period.slots]
    rows = runs.annotate(slot=period.slot_of("created_at")).order_by().values("slot", "status")
    for row in rows.annotate(runs=Count("pk"), **_sums()):
        total.add(row)
        slots[row["slot"]].add(row)
    return total, slots


def _failures(runs: QuerySet[Run]) -> list[tuple[str, int]]:
    rows = runs.filter(status__in=BAD).order_by().values("error_kind").annotate(number=Count("pk"))
    return [(row["error_kind"], row["number"]) for row in rows.order_by("-number", "error_kind")]


def _groups(runs: QuerySet[Run], by: str) -> list[Group]:
    rows = runs.order_by().values(by).annotate(runs=Count("pk"), bad=Count("pk", filter=Q(status__in=BAD)), **_sums())
    return [_group(str(row[by] or ""), row["runs"], row) for row in rows.order_by("-runs", by)[:TOP]]


def _agents(runs: QuerySet[Run], attempts: QuerySet[Attempt]) -> list[Group]:
    groups = _groups(runs, "agent_slug")
    return _with_times(groups, _histograms(attempts, F("call__run__agent_slug")))


# -- attempts: a run may ask several models, and each has its own part of the cost


def _models(attempts: QuerySet[Attempt]) -> list[Group]:
    sums = {f"sum_{name}": Sum(name) for name in ("input_tokens", "output_tokens", "cost")}
    rows = (
        attempts.order_by()
        .values("model_name")
        .annotate(
            asked=Count("pk"),
            bad=Count("pk", filter=~Q(error_kind="") & ~Q(error_kind="cancelled")),
            # One that failed may have been billed too, if it says that it used anything.
            unknown=Count("pk", filter=Q(cost=None, ended_at__isnull=False) & (Q(error_kind="") | ~USED_NOTHING)),
            **sums,
        )
    )
    groups = [_group(row["model_name"], row["asked"], row) for row in rows.order_by("-asked", "model_name")[:TOP]]
    return _with_times(groups, _histograms(attempts, F("model_name")))


def _group(name: str, asked: int, row: Any) -> Group:
    figures = Figures()
    figures.add(row)
    return Group(name, asked, row["bad"], figures)


# -- time to the first token


def _add_times(attempts: QuerySet[Attempt], period: Period, total: Figures, slots: list[Figures]) -> None:
    by_slot = _histograms(attempts, period.slot_of("started_at"))
    for place, histogram in by_slot.items():
        slots[place].p50, slots[place].p95 = _times(histogram)
    total.p50, total.p95 = _times(sum(by_slot.values(), Counter()))


def _with_times(groups: list[Group], histograms: dict[Any, Counter[float]]) -> list[Group]:
    for group in groups:
        group.figures.p50, group.figures.p95 = _times(histograms.get(group.name, Counter()))
    return groups


def _histograms(attempts: QuerySet[Attempt], by: Any) -> dict[Any, Counter[float]]:
    """Return for each group how many answers began after how long, in steps of 10 ms: what can be read of it."""
    # Floor, because databases do not agree on how a cast rounds.
    step = Floor(F("first_token") / STEP + 0.5)
    rows = attempts.exclude(first_token=None).order_by().annotate(place=by, step=step).values("place", "step")
    found: dict[Any, Counter[float]] = defaultdict(Counter)
    for place, at, number in rows.annotate(number=Count("pk")).values_list("place", "step", "number"):
        found[place][float(at)] += number
    return found


def _times(histogram: Counter[float]) -> tuple[float | None, float | None]:
    return _percentile(histogram, 0.5), _percentile(histogram, 0.95)


def _percentile(histogram: Counter[float], share: float) -> float | None:
    """Return the smallest time within which this share of answers had begun."""
    wanted, seen = share * histogram.total(), 0
    for step in sorted(histogram):
        seen += histogram[step]
        if seen >= wanted:
            return round(step * STEP, 2)
    return None


def _plus(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def largest(groups: Iterable[Group]) -> int:
    return max((group.asked for group in groups), default=0)
