"""The key pool over its rows: what one worker learns about a key, all of them heed at once."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from llmapp import signals
from llmapp.backends.base import Secret
from llmapp.calls.base import Benched, ModelSpec
from llmapp.core.errors import ErrorKind, Failure
from llmapp.models import Credential, LanguageModel, Probe
from llmapp.runs import probing
from llmapp.runs.keys import DatabaseKeyPool, use_again
from llmapp.runs.threads import DatabaseThreads
from tests.support.models import make_model, spec_of
from tests.support.queries import statements

pytestmark = pytest.mark.django_db(transaction=True)

NOBODY: frozenset[int] = frozenset()
FIRST, SECOND = "sk-first-0123456789", "sk-second-0123456789"


@pytest.fixture
def model(transactional_db: None) -> LanguageModel:
    return make_model(FIRST, SECOND)


@pytest.fixture
def spec(model: LanguageModel) -> ModelSpec:
    return spec_of(model)


@pytest.fixture
def one(threads: DatabaseThreads) -> DatabaseKeyPool:
    return DatabaseKeyPool(threads)


@pytest.fixture
async def other() -> AsyncIterator[DatabaseKeyPool]:
    """The pool of another worker."""
    threads = DatabaseThreads(1, "other")
    yield DatabaseKeyPool(threads)
    threads.close()


async def picked(pool: DatabaseKeyPool, spec: ModelSpec, avoid: frozenset[int] = NOBODY) -> Secret:
    secret = await pool.pick(spec, avoid)
    assert isinstance(secret, Secret)
    return secret


def failed(kind: ErrorKind, retry_after: float | None = None) -> Failure:
    return Failure(kind=kind, retry_after=retry_after)


async def test_a_key_that_one_worker_sees_limited_rests_for_all(
    one: DatabaseKeyPool, other: DatabaseKeyPool, spec: ModelSpec
) -> None:
    first = await picked(one, spec)
    await one.report(spec, first, failed(ErrorKind.RATE_LIMIT, 30), {})
    assert (first.api_key, (await picked(other, spec)).api_key) == (FIRST, SECOND)


async def test_while_all_rest_it_is_said_when_the_first_comes_back(
    one: DatabaseKeyPool, other: DatabaseKeyPool, spec: ModelSpec
) -> None:
    for kind, seconds in [(ErrorKind.QUOTA_EXHAUSTED, 500.0), (ErrorKind.RATE_LIMIT, 90.0)]:
        await one.report(spec, await picked(one, spec), failed(kind, seconds), {})
    benched = await other.pick(spec, NOBODY)
    assert isinstance(benched, Benched)
    assert benched.seconds is not None
    assert benched.kind == ErrorKind.RATE_LIMIT
    assert 85 < benched.seconds <= 90


async def test_a_key_comes_back_when_its_rest_is_over(one: DatabaseKeyPool, spec: ModelSpec, threads: Any) -> None:
    first = await picked(one, spec)
    await one.report(spec, first, failed(ErrorKind.RATE_LIMIT, 30), {})
    await threads.call(Credential.objects.filter(pk=first.id).update, benched_until=Now() - timedelta(seconds=1))
    assert (await picked(one, spec)).api_key == FIRST


async def test_the_last_key_does_not_rest_for_a_short_limit(one: DatabaseKeyPool, spec: ModelSpec) -> None:
    for _ in range(2):
        await one.report(spec, await picked(one, spec), failed(ErrorKind.RATE_LIMIT, 20), {})
    assert (await picked(one, spec)).api_key == SECOND


async def test_a_key_that_is_empty_rests_before_it_fails(
    one: DatabaseKeyPool, other: DatabaseKeyPool, spec: ModelSpec
) -> None:
    head = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "45s"}
    await one.report(spec, await picked(one, spec), None, head)
    assert (await picked(other, spec)).api_key == SECOND


async def test_a_key_that_is_refused_twice_is_dead_until_it_is_changed(
    one: DatabaseKeyPool, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    told: list[tuple[int, str]] = []

    def hear(sender: Any, credential_id: int, kind: str, **rest: Any) -> None:
        told.append((credential_id, kind))

    signals.key_refused.connect(hear)
    first = await picked(one, spec)
    assert first.id is not None
    await one.report(spec, first, failed(ErrorKind.AUTH), {})
    await threads.call(_let_a_minute_pass, first.id)
    assert not told
    await one.report(spec, await picked(one, spec), failed(ErrorKind.AUTH), {})
    signals.key_refused.disconnect(hear)
    assert told == [(first.id, "auth")]
    assert (await picked(one, spec)).api_key == SECOND

    def change() -> None:
        row = Credential.objects.get(pk=first.id)
        row.set_secrets({"api_key": "sk-third-0123456789"})
        row.save()

    await threads.call(change)
    assert (await picked(one, spec)).api_key == "sk-third-0123456789"


async def test_when_all_are_dead_nobody_comes_back(
    one: DatabaseKeyPool, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    await threads.call(Credential.objects.update, dead_since=Now(), bench_kind="auth")
    assert await one.pick(spec, NOBODY) == Benched(ErrorKind.AUTH, None)


async def test_a_person_can_say_that_a_key_is_asked_again(
    one: DatabaseKeyPool, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    await threads.call(Credential.objects.update, dead_since=Now(), bench_kind="auth", failures_in_a_row=2)
    ids = [row.pk for row in await threads.call(list, Credential.objects.all())]
    assert await threads.call(use_again, ids) == 2
    assert await threads.call(use_again, ids) == 0
    assert (await picked(one, spec)).api_key == FIRST


async def test_without_trouble_a_call_takes_one_query_and_writes_nothing(
    one: DatabaseKeyPool, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    async def call() -> None:
        secret = await picked(one, spec)
        await one.report(spec, secret, None, {"x-ratelimit-remaining-requests": "17"})

    (query,) = await statements(threads, call())
    assert query.startswith("SELECT")


async def test_an_answer_after_a_failure_is_written_down_once(
    one: DatabaseKeyPool, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    first = await picked(one, spec)
    await one.report(spec, first, failed(ErrorKind.RATE_LIMIT), {})
    assert await statements(threads, one.report(spec, first, None, {}))
    row = await threads.call(Credential.objects.get, pk=first.id)
    assert row.failures_in_a_row == 0
    assert not await statements(threads, one.report(spec, first, None, {}))


async def test_keys_in_turn(
    one: DatabaseKeyPool, other: DatabaseKeyPool, spec: ModelSpec, model: LanguageModel, threads: DatabaseThreads
) -> None:
    model.provider.key_strategy = "round_robin"
    await threads.call(model.provider.save)
    asked = [(await picked(pool, spec)).api_key for pool in (one, other, one, other)]
    assert asked == [FIRST, SECOND, FIRST, SECOND]
    assert (await picked(one, spec, frozenset([(await picked(one, spec)).id or 0]))).api_key == SECOND


async def test_a_wait_that_makes_no_sense_is_clamped_and_said(
    one: DatabaseKeyPool, spec: ModelSpec, threads: DatabaseThreads, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "llmapp.calls")
    first = await picked(one, spec)
    await one.report(spec, first, failed(ErrorKind.RATE_LIMIT, 365 * 86_400.0), {})
    row = await threads.call(Credential.objects.annotate(now=Now()).get, pk=first.id)
    assert row.benched_until is not None
    assert 86_000 < (row.benched_until - row.now).total_seconds() <= 86_400
    assert "nonsense_ignored" in {getattr(record, "action", "") for record in caplog.records}
    assert FIRST not in caplog.text


@pytest.mark.parametrize("told, said", [("99999999", True), ("-1", True), ("3", False), ("0", False), ("soon", True)])
async def test_a_wait_that_makes_no_sense_is_said_though_it_is_no_hint(
    one: DatabaseKeyPool, spec: ModelSpec, caplog: pytest.LogCaptureFixture, told: str, said: bool
) -> None:
    """As it comes from a provider: the failure has no wait then."""
    caplog.set_level(logging.WARNING, "llmapp.calls")
    await one.report(spec, await picked(one, spec), failed(ErrorKind.OVERLOADED), {"Retry-After": told})
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert ("nonsense_ignored" in actions) is said


async def test_a_key_that_was_deleted_meanwhile_is_no_trouble(
    one: DatabaseKeyPool, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    first = await picked(one, spec)
    await threads.call(Credential.objects.filter(pk=first.id).delete)
    await one.report(spec, first, failed(ErrorKind.AUTH), {})
    assert (await picked(one, spec)).api_key == SECOND


async def test_a_key_that_cannot_be_decrypted_is_passed_over_and_said(
    one: DatabaseKeyPool, spec: ModelSpec, threads: DatabaseThreads, caplog: pytest.LogCaptureFixture
) -> None:
    first = await picked(one, spec)
    await threads.call(Credential.objects.filter(pk=first.id).update, secret=b"of another key")
    assert (await picked(one, spec)).api_key == SECOND
    assert "key_unreadable" in {getattr(record, "action", "") for record in caplog.records}
    await threads.call(Credential.objects.update, secret=b"of another key")
    assert await one.pick(spec, NOBODY) == Benched(ErrorKind.AUTH, None)


async def test_a_provider_without_keys_needs_none(one: DatabaseKeyPool, threads: DatabaseThreads) -> None:
    spec = await threads.call(lambda: spec_of(make_model(name="local")))
    assert await one.pick(spec, NOBODY) == Secret(id=None)
    await one.report(spec, Secret(id=None), failed(ErrorKind.AUTH), {})


def _let_a_minute_pass(id: int) -> None:
    row, minute = Credential.objects.get(pk=id), timedelta(seconds=61)
    assert row.benched_until is not None
    assert row.failed_at is not None
    times = {"benched_until": row.benched_until - minute, "failed_at": row.failed_at - minute}
    Credential.objects.filter(pk=id).update(**times)


def test_what_is_tested_well_is_asked_again(model: LanguageModel, enqueued: list[Any]) -> None:
    provider = model.provider
    provider.options = {"script": [{"text": "yes"}]}
    provider.save()
    Credential.objects.update(dead_since=Now(), bench_kind="auth")
    row = Probe.objects.create(kind=Probe.Kind.CONNECTION, provider=provider, created_at=Now())
    probing.carry_out(row.pk)
    assert not Credential.objects.exclude(dead_since=None).exists()
