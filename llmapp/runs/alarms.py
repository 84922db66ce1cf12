"""Looks for what is wrong, and tells it once an occasion, whichever process finds it: by a signal, and by mail.

The rules are in `core.alarms`. An occasion has a row from when it is first seen until it is over, and whoever makes
the row, or writes into it that it was told, is the one that tells.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import Count, OuterRef, Q, Subquery
from django.utils import translation

from llmapp import signals
from llmapp.conf import app_settings
from llmapp.core.alarms import is_down, is_slow, too_many_failed, why_stuck
from llmapp.core.run_state import RunStatus
from llmapp.models import Alarm, Breaker, Duty, LanguageModel, Provider, Run, RunEvent
from llmapp.models.runs import ACTIVE_RUNS

from . import mails, records

DUTY = "watch"
#: Seconds between two looks.
EVERY = timedelta(seconds=5)
#: For so long after its end a run is still found slow: several looks.
AFTER_THE_END = timedelta(seconds=60)
#: Runs that one look judges.
AT_ONCE = 500

NO_TIME = timedelta()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now. `facts` are asked for once, when it is told."""

    signal: str
    #: Of what: an id.
    of: str
    facts: Callable[[], dict[str, Any]]
    #: How long it has to last until it is told.
    after: timedelta = NO_TIME

    @property
    def name(self) -> str:
        return f"{self.signal}:{self.of}"


def watch(now: datetime) -> None:
    """Look for everything, if nobody did so a moment ago."""
    if not _take_turn(now):
        return
    found = [*_stuck_runs(now), *_providers_down(), *_slow_runs(now), *_failures(now)]
    notice(found, now)
    Alarm.objects.filter(seen_at__lt=now).exclude(name__in=[trouble.name for trouble in found]).delete()


def _take_turn(now: datetime) -> bool:
    Duty.objects.get_or_create(name=DUTY, defaults={"until": now - EVERY})
    return bool(Duty.objects.filter(name=DUTY, until__lte=now).update(until=now + EVERY))


def notice(troubles: Iterable[Trouble], now: datetime) -> None:
    """Remember them, and tell each when it has lasted long enough, once."""
    found = {trouble.name: trouble for trouble in troubles}
    if not found:
        return
    # What lasts costs two questions altogether, however much it is.
    known = Alarm.objects.filter(name__in=found)
    known.update(seen_at=now)
    alarms = {alarm.name: alarm for alarm in known}
    for name, trouble in found.items():
        alarm = alarms.get(name) or _remember(trouble, now)
        if alarm.told_at is None and now - alarm.since >= trouble.after:
            _tell_once(trouble, alarm, now)


def _remember(trouble: Trouble, now: datetime) -> Alarm:
    # Another process may have met it in the same moment.
    defaults = {"signal": trouble.signal, "since": now, "seen_at": now}
    return Alarm.objects.get_or_create(name=trouble.name, defaults=defaults)[0]


def _tell_once(trouble: Trouble, alarm: Alarm, now: datetime) -> None:
    facts = trouble.facts() | ({"seconds": _seconds(now - alarm.since)} if trouble.after else {})
    if Alarm.objects.filter(pk=alarm.pk, told_at=None).update(told_at=now, facts=facts):
        _tell(trouble.signal, facts, now)


# --- what is wrong ------------------------------------------------------------------------------


def stuck(run_id: uuid.UUID, reason: str, seconds: float) -> Trouble:
    return Trouble("run_stuck", str(run_id), lambda: {"run_id": str(run_id), "reason": reason, "seconds": seconds})


def past_their_time(runs: Iterable[tuple[uuid.UUID, datetime | None]], now: datetime) -> None:
    """Notice runs that the sweeper is about to end: afterwards they are not stuck any more."""
    notice([stuck(run_id, "past_timeout", _seconds(now - (until or now))) for run_id, until in runs], now)


def _stuck_runs(now: datetime) -> Iterator[Trouble]:
    if not (silence := app_settings.RUN_SILENT_SECONDS):
        return
    last = RunEvent.objects.filter(run=OuterRef("pk")).order_by("-seq").values("created_at")[:1]
    old = now - timedelta(seconds=silence)
    rows = Run.objects.filter(ACTIVE_RUNS, status=RunStatus.IN_PROGRESS, started_at__lt=old)
    found = rows.annotate(heard=Subquery(last)).values_list("pk", "run_until", "heard")[:AT_ONCE]
    for run_id, until, heard in found:
        reason = why_stuck(
            now.timestamp(),
            ends=until.timestamp() if until else None,
            heard=heard.timestamp() if heard else old.timestamp(),
            grace=app_settings.GRACE_SECONDS,
            silence=silence,
        )
        if reason:
            since = until if reason == "past_timeout" else heard
            yield stuck(run_id, reason, _seconds(now - (since or now)))


def _providers_down() -> Iterator[Trouble]:
    """By breakers that are not closed: also while a single call tries, for it has not been answered."""
    after = timedelta(seconds=app_settings.PROVIDER_DOWN_AFTER)
    if not after:
        return
    opened = list(Breaker.objects.exclude(until=None).values_list("provider_id", "model_id", "failed_by"))
    providers = {provider for provider, _model, _kind in opened}
    models: dict[int, list[int]] = {provider: [] for provider in providers}
    for pk, provider in LanguageModel.objects.filter(provider__in=providers, enabled=True).values_list(
        "pk", "provider_id"
    ):
        models[provider].append(pk)
    for provider in Provider.objects.filter(pk__in=providers, enabled=True).values_list("pk", flat=True):
        mine: dict[int | None, str] = {model: kind for of, model, kind in opened if of == provider}
        if is_down(None in mine, [model in mine for model in models[provider]]):
            kind = mine[None] if None in mine else next(iter(mine.values()))
            yield Trouble("provider_down", str(provider), partial(_of_provider, provider, kind), after)


def _of_provider(provider_id: int, kind: str) -> dict[str, Any]:
    return {"provider_id": provider_id, "kind": kind}


def _slow_runs(now: datetime) -> Iterator[Trouble]:
    judged = Run.objects.filter(agent__slow_after__isnull=False)
    values = ("pk", "agent_slug", "agent__slow_after", "created_at", "ended_at")
    active = judged.filter(ACTIVE_RUNS).order_by("created_at").values_list(*values)[:AT_ONCE]
    over = judged.filter(compacted_at=None, ended_at__gt=now - AFTER_THE_END).values_list(*values)[:AT_ONCE]
    for run_id, agent, slow_after, created_at, ended_at in (*active, *over):
        waited = _seconds((ended_at or now) - created_at)
        if is_slow(waited, slow_after):
            yield _slow(run_id, agent, waited, ended_at is not None)


def _slow(run_id: uuid.UUID, agent: str, waited: float, is_over: bool) -> Trouble:
    def facts() -> dict[str, Any]:
        # Asked of the log once for each slow run.
        shown = RunEvent.objects.filter(run_id=run_id, data__contains='"TEXT_MESSAGE_').exists()
        waiting_for = "" if is_over else "the_end" if shown else "first_token"
        return {"run_id": str(run_id), "agent": agent, "seconds": waited, "waiting_for": waiting_for}

    return Trouble("slow_response", str(run_id), facts)


def _failures(now: datetime) -> Iterator[Trouble]:
    share, window = app_settings.ERROR_RATE, app_settings.ERROR_RATE_WINDOW
    if not share:
        return
    ended = Run.objects.filter(compacted_at=None, ended_at__gt=now - timedelta(seconds=window))
    # What a person stopped says nothing.
    ended = ended.exclude(status=RunStatus.CANCELLED)
    counted = ended.aggregate(failed=Count("pk", filter=Q(status=RunStatus.FAILED)), ended=Count("pk"))
    was = Alarm.objects.filter(signal="error_rate").exists()
    if too_many_failed(**counted, share=share, least=app_settings.ERROR_RATE_RUNS, was=was):
        facts = {**counted, "share": round(counted["failed"] / counted["ended"], 3), "window": window}
        yield Trouble("error_rate", "all", lambda: facts)


# --- telling ------------------------------------------------------------------------------------


def _tell(name: str, facts: dict[str, Any], now: datetime) -> None:
    """Write it into the log, send its signal, and mail it where that is wanted and was not done a while ago."""
    with translation.override("en"):  # as all of the log
        said = mails.sentence(name, facts)
    fields = {key: facts[key] for key in ("reason", "seconds", "kind", "agent") if key in facts}
    provider = mails.provider_name(facts["provider_id"]) if "provider_id" in facts else ""
    about = {"run": facts.get("run_id"), "provider": provider}
    records.write_on_commit(records.runs, logging.WARNING, name, said, **fields, **about)
    signal, sender = SENDERS[name]
    carried = {**facts, "run_id": uuid.UUID(facts["run_id"])} if "run_id" in facts else facts
    signals.send_on_commit(signal, sender, **carried)
    if name in app_settings.ALARM_MAILS:
        mails.mail(name, facts, now)


SENDERS: dict[str, tuple[Any, type[Any]]] = {
    "run_stuck": (signals.run_stuck, Run),
    "provider_down": (signals.provider_down, Provider),
    "slow_response": (signals.slow_response, Run),
    "error_rate": (signals.error_rate, Run),
}


def _seconds(time: timedelta) -> float:
    return round(time.total_seconds(), 1)
