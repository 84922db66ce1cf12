"""Probes: the question whether a provider or a model works. Asked by a door, answered by a worker.

Here is what both sides know: how one is started, what a stage is, how one stands. `probing` carries it out.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.db import transaction

from llmapp.models import Attempt, LanguageModel, Probe, Provider

from .clock import db_now
from .queue import QUEUE

logger = logging.getLogger("llmapp.runs")

TASK = "llmapp.probe"

#: Seconds after which it is said that no worker takes it.
PATIENCE = 5.0

#: Seconds for a whole probe, whatever the provider's own timeouts.
LIMIT = 180.0

#: Seconds beyond that after which its worker is taken for gone.
GRACE = 20.0

OK, FAILED, SKIPPED, RUNNING, UNCLEAR = "ok", "failed", "skipped", "running", "unclear"


@dataclass(slots=True)
class Stage:
    """One step of a probe. `code` names a sentence of `probe_sentences`, which `values` fill."""

    name: str
    state: str = RUNNING
    code: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    #: The provider's own words, without the key.
    detail: str = ""
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def start(provider: Provider, model: LanguageModel | None = None, asked_by: Any = None) -> Probe:
    """Store a probe and hand it to a worker; or return the one that goes on for the same thing.

    With a `model` it is a check of what that can do, without one a test of the provider's connection.
    """
    kind = Probe.Kind.CONNECTION if model is None else Probe.Kind.MODEL
    return _start(asked_by, kind=kind, provider=provider, model=model, attempt=None)


def start_again(attempt: Attempt, asked_by: Any = None) -> Probe:
    """Let a worker send the request of an attempt once more. Its model has to be there."""
    assert attempt.model is not None
    subject = {"provider": attempt.model.provider, "model": attempt.model, "attempt": attempt}
    return _start(asked_by, kind=Probe.Kind.REQUEST, **subject)


def _start(asked_by: Any, **subject: Any) -> Probe:
    now = db_now()
    fresh = Probe.objects.filter(ended_at=None, created_at__gt=now - timedelta(seconds=LIMIT))
    if (going_on := fresh.filter(**subject).first()) is not None:
        return going_on
    probe = Probe.objects.create(asked_by=asked_by, created_at=now, **subject)
    transaction.on_commit(lambda: enqueue(probe.pk))
    return probe


def enqueue(id: uuid.UUID) -> None:
    """Hand a probe to the broker. One that it does not take has failed, and says why."""
    try:
        current_app.send_task(TASK, args=[str(id)], queue=QUEUE, retry=False, ignore_result=True)
    except Exception as error:
        # Each broker has its own exceptions. Its address may hold a password: the type has to do.
        logger.warning("the broker did not take probe %s", id, exc_info=True, extra={"action": "enqueue_failed"})
        finish(id, False, [Stage("worker", FAILED, "no_broker", detail=type(error).__name__)])


def claim(id: uuid.UUID) -> Probe | None:
    """Take a probe. None: somebody else has it, or it is gone."""
    if not Probe.objects.filter(pk=id, started_at=None, ended_at=None).update(started_at=db_now()):
        return None
    return Probe.objects.select_related("provider", "model__provider", "attempt").get(pk=id)


def write(id: uuid.UUID, stages: list[Stage]) -> None:
    Probe.objects.filter(pk=id, ended_at=None).update(stages=[stage.to_dict() for stage in stages])


def keep_outcome(id: uuid.UUID, outcome: Mapping[str, Any]) -> None:
    Probe.objects.filter(pk=id, ended_at=None).update(outcome=dict(outcome))


def finish(id: uuid.UUID, passed: bool, stages: list[Stage]) -> None:
    rows = Probe.objects.filter(pk=id, ended_at=None)
    rows.update(stages=[stage.to_dict() for stage in stages], passed=passed, ended_at=db_now())


def standing(probe: Probe, now: datetime, worker_is_alive: bool) -> str:
    """Return passed, failed, running, lost (its worker has gone), waiting, busy (workers have no time) or no_worker."""
    if probe.passed is not None:
        return "passed" if probe.passed else "failed"
    if probe.started_at is not None:
        return "lost" if (now - probe.started_at).total_seconds() > LIMIT + GRACE else "running"
    if (now - probe.created_at).total_seconds() < PATIENCE:
        return "waiting"
    return "busy" if worker_is_alive else "no_worker"
