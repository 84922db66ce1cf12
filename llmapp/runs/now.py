"""What goes on at this moment, on the whole site: asked of the database alone, so that any process can say it.

Workers write each second what they have open, web processes every ten: ages go on from there.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, DateTimeField, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Greatest

from llmapp.conf import app_settings
from llmapp.core.run_state import RunStatus
from llmapp.models import Breaker, Duty, Run, RunEvent, WebProcess, Worker
from llmapp.models.runs import ACTIVE_RUNS

from . import lease, presence
from .clock import db_now
from .sweeper import DUTY, PART


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that a provider is giving. Times are seconds; `tokens` is an estimate until the provider says it."""

    run: uuid.UUID
    model: str
    worker: str
    age: float
    silence: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Socket:
    kind: str
    web: str
    age: float
    silence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """None where there is nothing that could have an age."""

    runs_queued: int
    runs_in_progress: int
    #: For how long the run that has waited longest has been due.
    queue_lag_seconds: float | None
    #: Since the worker that renewed its lease longest ago did so.
    oldest_lease_seconds: float | None
    last_sweep_seconds: float | None
    workers_taking_runs: int
    workers_unfit: int
    #: They hold a lease and were not heard of just now, or do not hear their broker.
    workers_silent: int
    #: Runs that the workers take at a time.
    places: int
    streams: int
    longest_silence_seconds: float | None
    web_processes: int
    websockets: int
    event_streams: int
    people: int
    breakers_open: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Closely:
    """The streams and sockets that have been silent for the longest time, the most silent first."""

    streams: list[Stream]
    sockets: list[Socket]


def look() -> tuple[Now, Closely]:
    """Return the figures, and the most silent of what is open."""
    now = db_now()
    workers, webs = list(lease.registered_workers()), list(presence.present_webs())
    streams = _sorted(stream for worker in workers for stream in _streams(worker, now))
    sockets = _sorted(one for web in webs for one in _sockets(web, now))
    fit = [worker for worker in workers if not worker.unfit]
    heard = now - timedelta(seconds=3 * app_settings.HEARTBEAT_SECONDS)
    present = [worker for worker in fit if worker.heartbeat_at > heard]
    figures = Now(
        **_runs(now),
        oldest_lease_seconds=max((_since(_written_at(worker), now) for worker in workers), default=None),
        last_sweep_seconds=_last_sweep(now),
        workers_taking_runs=len(present),
        workers_unfit=len(workers) - len(fit),
        workers_silent=len(fit) - len(present),
        places=sum(worker.concurrency for worker in present),
        streams=sum(worker.open.get("streams", 0) for worker in workers),
        longest_silence_seconds=streams[0].silence if streams else None,
        web_processes=len(webs),
        **{name: sum(web.open.get(name, 0) for web in webs) for name in ("websockets", "event_streams", "people")},
        breakers_open=Breaker.objects.exclude(until=None).count(),
    )
    return figures, Closely(streams, sockets)


def _runs(now: datetime) -> dict[str, Any]:
    active = Run.objects.filter(ACTIVE_RUNS)
    counted = active.aggregate(
        queued=Count("pk", filter=Q(status=RunStatus.QUEUED)),
        in_progress=Count("pk", filter=Q(status=RunStatus.IN_PROGRESS)),
    )
    oldest = due_since(active.filter(status=RunStatus.QUEUED)).filter(due__lte=now).order_by("due")
    first = oldest.values_list("due", flat=True).first() if counted["queued"] else None
    return {
        "runs_queued": counted["queued"],
        "runs_in_progress": counted["in_progress"],
        "queue_lag_seconds": None if first is None else _since(first, now),
    }


def due_since(queued: Any) -> Any:
    """Let each queued run know since when it could be taken: by its last entry in the log, or the end of its wait."""
    said = RunEvent.objects.filter(run=OuterRef("pk"), status=RunStatus.QUEUED).order_by("-seq")
    put = Coalesce(Subquery(said.values("created_at")[:1]), F("created_at"), output_field=DateTimeField())
    return queued.annotate(due=Greatest(put, Coalesce(F("not_before"), F("created_at"))))


def _last_sweep(now: datetime) -> float | None:
    until = Duty.objects.filter(name=DUTY).values_list("until", flat=True).first()
    # A round takes the duty for a part of the time until the next one.
    return None if until is None else _since(until - timedelta(seconds=app_settings.SWEEP_SECONDS * PART), now)


def _written_at(worker: Worker) -> datetime:
    """Return when a worker wrote its row last: one that does not hear its broker renews its lease all the same."""
    return max(worker.heartbeat_at, worker.lease_until - timedelta(seconds=app_settings.LEASE_SECONDS))


def _streams(worker: Worker, now: datetime) -> list[Stream]:
    more = _since(_written_at(worker), now)
    return [
        Stream(uuid.UUID(one["run"]), one["model"], str(worker), *_later(one, more), one["tokens"])
        for one in worker.open.get("named", [])
    ]


def _later(one: Mapping[str, Any], more: float) -> tuple[float, float]:
    return round(one["age"] + more, 1), round(one["silence"] + more, 1)


def _sockets(web: WebProcess, now: datetime) -> list[Socket]:
    more = _since(web.heartbeat_at, now)
    named = web.open.get("sockets", [])
    return [Socket(kind, str(web), round(age + more, 1), round(silence + more, 1)) for kind, age, silence in named]


def _sorted(found: Any) -> list[Any]:
    return sorted(found, key=lambda one: one.silence, reverse=True)


def _since(moment: datetime, now: datetime) -> float:
    return round(max((now - moment).total_seconds(), 0.0), 3)
