"""The figures of `/metrics`, collected for one request. Imported only where `prometheus-client` is installed.

Each has a name with its unit and a sentence. What is not known is left out: it is not zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet, Sum
from prometheus_client.core import GaugeMetricFamily

from llmapp.core.run_state import ENDS
from llmapp.models import Alarm, Attempt, Run
from llmapp.runs import now as now_
from llmapp.runs.clock import db_now

#: What is counted over time is counted over this.
WINDOW = timedelta(minutes=5)
#: Answers of which the time to the first token is looked at.
ANSWERS = 5000
QUANTILES = (0.5, 0.95)


class Figures:
    """What the database says at the moment of the request; what is spent, if the reader may see that."""

    def __init__(self, *, spending: bool) -> None:
        self._spending = spending

    def collect(self) -> Iterable[Any]:
        yield from _of_now()
        yield from _of_lately()
        if self._spending:
            yield from _spent_lately()


def _of_now() -> Iterator[Any]:
    found, _closely = now_.look()
    yield _labelled(
        "llmapp_runs", "Runs that have not ended.", "status",
        {"queued": found.runs_queued, "in_progress": found.runs_in_progress},
    )  # fmt: skip
    yield from _single(
        "llmapp_queue_lag_seconds", "For how long the oldest queued run has been due.", found.queue_lag_seconds
    )
    yield _labelled(
        "llmapp_workers", "Workers that hold a lease, by whether they take runs.", "state",
        {"taking_runs": found.workers_taking_runs, "unfit": found.workers_unfit, "silent": found.workers_silent},
    )  # fmt: skip
    yield from _single("llmapp_worker_places", "Runs that the workers take at a time.", found.places)
    text = "Since the worker that renewed its lease longest ago did so."
    yield from _single("llmapp_oldest_lease_seconds", text, found.oldest_lease_seconds)
    yield from _single("llmapp_last_sweep_seconds", "Since the last sweep.", found.last_sweep_seconds)
    yield from _single("llmapp_provider_streams", "Answers that providers are giving.", found.streams)
    text = "The longest silence of a provider in an answer."
    yield from _single("llmapp_provider_silence_seconds", text, found.longest_silence_seconds)
    yield from _single("llmapp_web_processes", "Web processes that are there.", found.web_processes)
    yield _labelled(
        "llmapp_sockets", "Connections that people have open.", "kind",
        {"websocket": found.websockets, "event_stream": found.event_streams},
    )  # fmt: skip
    yield from _single("llmapp_breakers_open", "Breakers of models and providers that are open.", found.breakers_open)
    alarms = Alarm.objects.exclude(told_at=None).order_by().values_list("signal").annotate(Count("pk"))
    yield _labelled("llmapp_alarms", "What is wrong now and was told.", "signal", dict(alarms))


def _of_lately() -> Iterator[Any]:
    since = db_now() - WINDOW
    ended = _ended(since)
    by_status: dict[str, Any] = {status.value: 0 for status in sorted(ENDS)}
    by_status |= dict(ended.values_list("status").annotate(Count("pk")))
    text = "Runs that ended in the last five minutes."
    yield _labelled("llmapp_runs_ended_5m", text, "status", by_status)
    attempts = Attempt.objects.filter(started_at__gt=since, ended_at__isnull=False).order_by()
    family = GaugeMetricFamily(
        "llmapp_attempts_5m",
        "Requests to models that began in the last five minutes and are over; error is empty for those answered.",
        labels=["model", "error"],
    )
    for model, kind, number in attempts.values_list("model_name", "error_kind").annotate(Count("pk")):
        family.add_metric([model, kind], number)
    yield family
    times = attempts.exclude(first_token=None).order_by("-started_at").values_list("first_token", flat=True)[:ANSWERS]
    text = "The time to the first token, of the requests of the last five minutes."
    known = sorted(seconds for seconds in times if seconds is not None)
    yield _labelled("llmapp_first_token_seconds_5m", text, "quantile", _quantiles(known))


def _spent_lately() -> Iterator[Any]:
    ended = _ended(db_now() - WINDOW)
    used = ended.aggregate(input=Sum("input_tokens"), output=Sum("output_tokens"), cost=Sum("cost"))
    tokens = {kind: used[kind] for kind in ("input", "output")}
    yield _labelled("llmapp_tokens_5m", "Tokens of the runs that ended in the last five minutes.", "kind", tokens)
    text = "The cost in USD of the runs that ended in the last five minutes, as far as it is known."
    yield from _single("llmapp_cost_usd_5m", text, used["cost"])


def _ended(since: datetime) -> QuerySet[Run]:
    return Run.objects.filter(compacted_at=None, ended_at__gt=since).order_by()


def _quantiles(ordered: list[float]) -> dict[str, float]:
    last = len(ordered) - 1
    return {f"{part:g}": ordered[round(part * last)] for part in QUANTILES if ordered}


def _single(name: str, text: str, value: Any) -> Iterator[Any]:
    if value is not None:
        yield GaugeMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, label: str, values: dict[str, Any]) -> Any:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([str(key)], float(value))
    return family
