"""The rows of breakers and observations: who lets a call through, and what the end of an attempt changes.

The rules are in `core.health`, times are the database's. Whatever changes a breaker locks its row first, so that of
two workers one sends the probe.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Count, F, Q
from django.db.models.functions import Now

from llmapp import signals
from llmapp.conf import app_settings
from llmapp.core import health
from llmapp.core.health import UNTOUCHED, BreakerState, Observation, Rate, Sign, sign_for_model, sign_for_provider
from llmapp.models import Breaker, LanguageModel, Provider
from llmapp.models import Observation as ObservationRow

from . import records
from .clock import as_moment, db_now

Rates = dict[tuple[str, str], Rate]


def admit(model_id: int, provider_id: int) -> bool:
    """Let a call through, if both breakers do. Of two that ask at once, one is let through."""
    with transaction.atomic():
        rows = _locked(model_id, provider_id)
        now = db_now().timestamp()
        after = [(row, health.admitted(state_of(row), now)) for row in rows]
        if any(state is None for _row, state in after):
            return False
        for row, state in after:
            if state is not None and state != state_of(row):
                _store(row, state)
    return True


def note(model_id: int, provider_id: int, observation: Observation) -> None:
    """Write down how an attempt ended, and move the breakers."""
    with transaction.atomic():
        model = LanguageModel.objects.select_related("provider").filter(pk=model_id, provider_id=provider_id).first()
        if model is None:
            return  # deleted, or somewhere else by now
        now = db_now()
        if health.counts(observation):
            ok, kind, action = not observation.failure, observation.kind, observation.action[:60]
            ObservationRow.objects.create(model=model, kind=kind, action=action, ok=ok, at=now)
        pays = health.waiting_pays(rates_of(app_settings.HEALTH_WINDOW, model_id).get(model_id, {}))
        _move(model, sign_for_model(observation.failure), now, observation.failure, pays)
        _move(model.provider, sign_for_provider(observation.failure), now, observation.failure, True)


def _move(subject: LanguageModel | Provider, sign: Sign, now: datetime, failure: str, pays: bool) -> None:
    """Move the breaker of a model or of a provider."""
    provider = subject.provider if isinstance(subject, LanguageModel) else subject
    key = {"provider": subject, "model": None} if subject is provider else {"model": subject}
    if sign is Sign.BAD:
        Breaker.objects.get_or_create(**key, defaults={"provider": provider})
    row = Breaker.objects.select_for_update().filter(**key).first()
    if row is None:
        return
    before, window = state_of(row), app_settings.HEALTH_WINDOW
    after = health.after(before, sign, now.timestamp(), window=window, waiting_pays=pays)
    if after == before:
        return
    if after == UNTOUCHED:
        row.delete()
    else:
        row.failed_by = failure if sign is Sign.BAD else row.failed_by
        _store(row, after, opened_at=now if after.openings > before.openings else row.opened_at)
    if after.openings > before.openings and after.until is not None:
        _tell_opened(subject, row.failed_by, round(after.until - now.timestamp(), 3))
    elif before.until is not None and after.until is None:
        _tell_closed(subject)


def _tell_opened(subject: LanguageModel | Provider, kind: str, seconds: float) -> None:
    text = f"{subject} is not asked for {seconds:.0f} s: {kind}"
    about = {"kind": kind, "seconds": seconds}
    records.write_on_commit(records.calls, logging.WARNING, "breaker_opened", text, **_names(subject), **about)
    signals.send_on_commit(signals.breaker_opened, type(subject), **_ids(subject), **about)


def _tell_closed(subject: LanguageModel | Provider) -> None:
    if isinstance(subject, LanguageModel):
        # The window begins anew: what did not help then may help now.
        subject.observations.all().delete()
    records.write_on_commit(
        records.calls, logging.WARNING, "breaker_closed", f"{subject} is asked again", **_names(subject)
    )
    signals.send_on_commit(signals.breaker_closed, type(subject), **_ids(subject))


def _names(subject: LanguageModel | Provider) -> dict[str, str]:
    if isinstance(subject, LanguageModel):
        return {"model": subject.name, "provider": subject.provider.name}
    return {"provider": subject.name}


def _ids(subject: LanguageModel | Provider) -> dict[str, int | None]:
    if isinstance(subject, LanguageModel):
        return {"provider_id": subject.provider_id, "model_id": subject.pk}
    return {"provider_id": subject.pk, "model_id": None}


def _locked(model_id: int, provider_id: int) -> list[Breaker]:
    # In the order in which `note` takes them, so that nobody waits for each other.
    rows = Breaker.objects.select_for_update().order_by(F("model_id").asc(nulls_last=True))
    return list(rows.filter(Q(model_id=model_id) | Q(provider_id=provider_id, model=None)))


def forget_observations(now: datetime) -> None:
    """Delete what is older than the window, and breakers whose last failure is and that are not open."""
    before = now - timedelta(seconds=app_settings.HEALTH_WINDOW)
    ObservationRow.objects.filter(at__lt=before).delete()
    Breaker.objects.filter(until=None, failed_at__lt=before).delete()


def read(window: float) -> tuple[dict[int, BreakerState], dict[int, Rates], float | None]:
    rows = list(Breaker.objects.annotate(now=Now()))
    states = {row.model_id or -row.provider_id: state_of(row) for row in rows}
    return states, rates_of(window), as_moment(rows[0].now).timestamp() if rows else None


def rates_of(window: float, model_id: int | None = None) -> dict[int, Rates]:
    rows = ObservationRow.objects.filter(at__gt=Now() - timedelta(seconds=window)).order_by()
    if model_id is not None:
        rows = rows.filter(model_id=model_id)
    counted = rows.values_list("model_id", "kind", "action").annotate(
        good=Count("pk", filter=Q(ok=True)), all=Count("pk")
    )
    rates: dict[int, Rates] = {}
    for id, kind, action, good, seen in counted:
        rates.setdefault(id, {})[kind, action] = Rate(good, seen - good)
    return rates


def state_of(row: Breaker) -> BreakerState:
    return BreakerState(
        in_a_row=row.in_a_row,
        failed_at=_seconds(row.failed_at),
        openings=row.openings,
        until=_seconds(row.until),
        probe_until=_seconds(row.probe_until),
    )


def _store(row: Breaker, state: BreakerState, opened_at: datetime | None = None) -> None:
    row.in_a_row, row.openings = state.in_a_row, state.openings
    row.failed_at, row.until, row.probe_until = map(_moment, (state.failed_at, state.until, state.probe_until))
    row.opened_at = opened_at or row.opened_at
    row.save()


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
