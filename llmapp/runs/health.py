"""How models have done lately, over all workers: rows that every worker writes, and reads at most once a second.

The rules are in `core.health`, times are the database's. All runs of a process share what it has read. The first
attempt of a call that is answered by a model with nothing against it asks nothing and writes nothing. A database
that is away fails no call: what was known holds, and what would have been written is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from django.db import Error
from django.db.models import Case, FloatField, Q, Sum, When
from django.db.models.functions import Now

from llmapp.calls.base import ModelSpec
from llmapp.conf import app_settings
from llmapp.core import health
from llmapp.core.health import (
    UNTOUCHED,
    BreakerState,
    ModelHealth,
    Observation,
    Sample,
    Sign,
    sign_for_model,
    sign_for_provider,
)
from llmapp.models import Attempt, Breaker, LanguageModel

from . import away, breakers
from .breakers import Rates
from .clock import db_now
from .threads import DatabaseThreads

logger = logging.getLogger("llmapp.calls")

#: Seconds for which a process believes what it has read: of breakers, of past attempts, of the tokens of a minute.
OF_BREAKERS, OF_ATTEMPTS, OF_TOKENS = 1.0, 30.0, 2.0

#: How many of a model's latest attempts are looked at.
ATTEMPTS = 200

#: Characters for a token where nothing is known yet.
USUAL = 4.0

MINUTE = timedelta(seconds=60)


@dataclass
class Known:
    """What a process has read, and when by its own clock. `lead` is what the database's clock is ahead of that."""

    read_at: float = float("-inf")
    lead: float = 0.0
    #: By the id of the model; by minus the id of the provider for all of it.
    breakers: dict[int, BreakerState] = field(default_factory=dict)
    rates: dict[int, Rates] = field(default_factory=dict)
    samples: dict[int, tuple[float, list[Sample]]] = field(default_factory=dict)
    tokens: dict[int, tuple[float, int]] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def states(self, model: ModelSpec) -> tuple[BreakerState, BreakerState]:
        """Return the breakers of a model and of its provider."""
        return self.breakers.get(model.id, UNTOUCHED), self.breakers.get(-model.endpoint.id, UNTOUCHED)


#: What each process knows: it has one set of threads.
_KNOWN: WeakKeyDictionary[DatabaseThreads, Known] = WeakKeyDictionary()


class DatabaseHealthBook:
    """The `HealthBook` over the rows of `Breaker`, `Observation` and `Attempt`."""

    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._known = _KNOWN.setdefault(threads, Known())

    async def read(self, models: Sequence[ModelSpec], input_tokens: int | None = None) -> Mapping[int, ModelHealth]:
        await self._look(models)
        now = time.monotonic() + self._known.lead
        return {model.id: self._health(model, now, input_tokens) for model in models}

    def _health(self, model: ModelSpec, now: float, input_tokens: int | None) -> ModelHealth:
        known = self._known
        breaker, probe_in = health.together(known.states(model), now)
        _read_at, samples = known.samples.get(model.id, (0.0, []))
        return ModelHealth(
            breaker=breaker,
            probe_in=probe_in,
            rates=known.rates.get(model.id, {}),
            first_token_p95=health.first_token_p95(samples, input_tokens),
            chars_per_token=health.chars_per_token(samples),
            tokens_last_minute=known.tokens.get(model.id, (0.0, 0))[1],
        )

    async def admit(self, model: ModelSpec) -> bool:
        await self._look([])
        if all(state.until is None for state in self._known.states(model)):
            return True
        admitted: bool = await self._try(breakers.admit, model.id, model.endpoint.id, default=True)
        self._known.read_at = float("-inf")
        return admitted

    async def report(self, model: ModelSpec, observation: Observation) -> None:
        await self._look([])
        counts = health.counts(observation)
        signs = sign_for_model(observation.failure), sign_for_provider(observation.failure)
        if not counts and not any(map(_matters, self._known.states(model), signs)):
            return
        await self._try(breakers.note, model.id, model.endpoint.id, observation, default=None)
        self._known.read_at = float("-inf")

    # -- what is read

    async def _look(self, models: Sequence[ModelSpec]) -> None:
        """Read what is too old to be believed. Whoever comes meanwhile waits, and finds it."""
        async with self._known.lock:
            if self._is_old(self._known.read_at, OF_BREAKERS):
                await self._look_at_breakers()
            for model in models:
                if self._is_old(self._known.samples.get(model.id, (float("-inf"),))[0], OF_ATTEMPTS):
                    samples = await self._try(_samples, model.id, default=None)
                    self._known.samples[model.id] = time.monotonic(), self._kept(samples, model.id)
                if model.tokens_per_minute and self._is_old(
                    self._known.tokens.get(model.id, (float("-inf"),))[0], OF_TOKENS
                ):
                    await self._look_at_tokens(model.id)

    def _is_old(self, read_at: float, believed: float) -> bool:
        return time.monotonic() - read_at >= believed

    def _kept(self, samples: list[Sample] | None, model_id: int) -> list[Sample]:
        return self._known.samples.get(model_id, (0.0, []))[1] if samples is None else samples

    async def _look_at_breakers(self) -> None:
        found = await self._try(breakers.read, app_settings.HEALTH_WINDOW, default=None)
        now = time.monotonic()
        self._known.read_at = now
        if found is not None:
            self._known.breakers, self._known.rates, moment = found
            self._known.lead = moment - now if moment else self._known.lead

    async def _look_at_tokens(self, model_id: int) -> None:
        ratio = health.chars_per_token(self._known.samples.get(model_id, (0.0, []))[1]) or USUAL
        tokens = await self._try(_tokens, model_id, ratio, default=None)
        kept = self._known.tokens.get(model_id, (0.0, 0))[1]
        self._known.tokens[model_id] = time.monotonic(), kept if tokens is None else tokens

    async def _try(self, function: Any, *args: Any, default: Any) -> Any:
        """Ask the database. Whatever is wrong with it, a call does not fail by its health."""
        try:
            return await self._threads.call(function, *args)
        except Error as error:
            if not away.is_away(error):
                logger.exception("the health book failed", extra={"action": "health_failed"})
            return default


def _matters(state: BreakerState, sign: Sign) -> bool:
    """Say whether an attempt that ended so may change a breaker."""
    return sign is Sign.BAD or (state != UNTOUCHED and (sign is Sign.GOOD or state.until is not None))


# -- in a thread with the database


def _samples(model_id: int) -> list[Sample]:
    # A model that was slow is passed over, and has no new samples: what is old must not keep it out.
    window = timedelta(seconds=app_settings.HEALTH_WINDOW)
    lately = Case(When(started_at__gt=Now() - window, then="first_token"), output_field=FloatField())
    rows = Attempt.objects.filter(model_id=model_id, ended_at__isnull=False).order_by("-started_at")
    return [Sample(*row) for row in rows.values_list(lately, "input_tokens", "input_characters")[:ATTEMPTS]]


def _tokens(model_id: int, chars_per_token: float) -> int:
    """Return what was used in the last minute. Of an attempt that goes on, its request is estimated."""
    rows = Attempt.objects.filter(model_id=model_id, started_at__gt=Now() - MINUTE)
    found = rows.aggregate(
        input=Sum("input_tokens"),
        output=Sum("output_tokens"),
        going_on=Sum("input_characters", filter=Q(input_tokens=None, ended_at=None)),
    )
    return (found["input"] or 0) + (found["output"] or 0) + round((found["going_on"] or 0) / chars_per_token)


def standing(model: LanguageModel) -> ModelHealth:
    """Return what the admin shows of a model: its breaker, and what has helped."""
    now = db_now().timestamp()
    states = [
        breakers.state_of(row)
        for row in Breaker.objects.filter(Q(model=model) | Q(provider=model.provider_id, model=None))
    ]
    breaker, probe_in = health.together(states, now)
    rates = breakers.rates_of(app_settings.HEALTH_WINDOW, model.pk).get(model.pk, {})
    samples = _samples(model.pk)
    return ModelHealth(
        breaker=breaker,
        probe_in=probe_in,
        rates=rates,
        first_token_p95=health.first_token_p95(samples),
        chars_per_token=health.chars_per_token(samples),
    )
