"""The health book over its rows: what one worker sees, all of them know. While all is well it costs nothing."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now

from llmapp import signals
from llmapp.backends.base import ModelRequest, Secret
from llmapp.calls.base import ModelSpec
from llmapp.core import health
from llmapp.core.estimate import characters
from llmapp.core.health import Breaker, Observation, Rate, pays
from llmapp.core.messages import ChatMessage, Role, ToolCall
from llmapp.models import Attempt, Call, Conversation, LanguageModel, Message, Run
from llmapp.models import Breaker as BreakerRow
from llmapp.models import Observation as ObservationRow
from llmapp.runs import breakers, lease
from llmapp.runs import health as module
from llmapp.runs.clock import db_now
from llmapp.runs.health import DatabaseHealthBook
from llmapp.runs.ledger import RunLedger
from llmapp.runs.threads import DatabaseThreads
from tests.support.models import make_model, spec_of
from tests.support.queries import statements

pytestmark = pytest.mark.django_db(transaction=True)

FINE = Observation()
OVERLOADED = Observation(failure="overloaded")
AWAY = Observation(failure="connection")
IN_VAIN = Observation("overloaded", "Wait", "overloaded")
HELPED = Observation("overloaded", "Wait")


@pytest.fixture
def book(threads: DatabaseThreads) -> DatabaseHealthBook:
    return DatabaseHealthBook(threads)


@pytest.fixture
async def other() -> AsyncIterator[DatabaseHealthBook]:
    """The book of another worker."""
    threads = DatabaseThreads(1, "other")
    yield DatabaseHealthBook(threads)
    threads.close()


@pytest.fixture
def model(transactional_db: None) -> LanguageModel:
    return make_model()


@pytest.fixture
def spec(model: LanguageModel) -> ModelSpec:
    return spec_of(model)


@pytest.fixture
def sister(model: LanguageModel) -> ModelSpec:
    """Another model of the same provider."""
    return spec_of(make_model(name="sister", provider=model.provider))


async def report(book: DatabaseHealthBook, spec: ModelSpec, *observations: Observation) -> None:
    for observation in observations:
        await book.report(spec, observation)


async def breaker(book: DatabaseHealthBook, spec: ModelSpec) -> Breaker:
    return (await book.read([spec]))[spec.id].breaker


def let_time_pass(seconds: float) -> None:
    by = timedelta(seconds=seconds)
    BreakerRow.objects.update(until=F("until") - by, failed_at=F("failed_at") - by, probe_until=F("probe_until") - by)


# --- while all is well ---


async def test_an_answer_at_the_first_attempt_asks_nothing_and_writes_nothing(
    book: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    async def call() -> None:
        await book.read([spec])
        assert await book.admit(spec)
        await book.report(spec, FINE)

    assert len(await statements(threads, call())) == 3  # breakers, what has helped, past attempts
    assert not await statements(threads, call())
    assert not await statements(threads, DatabaseHealthBook(threads).read([spec]))


async def test_what_was_read_is_old_after_a_second(
    book: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book.read([spec])
    monkeypatch.setattr(module, "OF_BREAKERS", 0.0)
    assert len(await statements(threads, book.read([spec]))) == 2


@pytest.mark.parametrize("kind", ["auth", "rate_limit", "invalid_request", "content_policy", "cancelled"])
async def test_a_failure_that_is_not_the_models_is_not_written_down(
    book: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads, kind: str
) -> None:
    await report(book, spec, *[Observation(failure=kind)] * 6)
    assert not await threads.call(BreakerRow.objects.exists)


# --- the breaker ---


async def test_a_model_that_fails_five_times_is_left_alone_by_all_workers(
    book: DatabaseHealthBook, other: DatabaseHealthBook, spec: ModelSpec, sister: ModelSpec
) -> None:
    await report(book, spec, *[OVERLOADED] * 4)
    assert await other.admit(spec)
    await report(other, spec, OVERLOADED)
    known = (await book.read([spec, sister]))[spec.id]
    assert (known.breaker, await book.admit(spec)) == (Breaker.OPEN, False)
    assert known.probe_in is not None
    assert 13 < known.probe_in <= health.FIRST
    assert await breaker(book, sister) == Breaker.CLOSED


async def test_an_answer_begins_the_count_anew(
    book: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    await report(book, spec, *[OVERLOADED] * 4, FINE, *[OVERLOADED] * 4)
    assert await book.admit(spec)
    await report(book, spec, FINE)
    assert not await threads.call(BreakerRow.objects.exists)


async def test_a_provider_that_cannot_be_reached_is_away_with_all_of_its_models(
    book: DatabaseHealthBook, spec: ModelSpec, sister: ModelSpec
) -> None:
    await report(book, spec, *[AWAY] * 3)
    await report(book, sister, *[AWAY] * 2)
    assert [await book.admit(model) for model in (spec, sister)] == [False, False]


async def test_a_provider_that_answers_badly_is_not_away(book: DatabaseHealthBook, spec: ModelSpec) -> None:
    await report(book, spec, *[AWAY] * 4, OVERLOADED, *[AWAY] * 4)
    assert await book.admit(spec)


async def test_a_probe_that_is_answered_closes_it(
    book: DatabaseHealthBook, other: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    heard: list[tuple[str, Any]] = []

    def opened(sender: Any, **values: Any) -> None:
        heard.append(("opened", values["kind"]))

    def closed(sender: Any, **values: Any) -> None:
        heard.append(("closed", values["model_id"]))

    signals.breaker_opened.connect(opened)
    signals.breaker_closed.connect(closed)
    await report(book, spec, *[OVERLOADED] * 5)
    await threads.call(let_time_pass, 16)
    assert [await book.admit(spec), await other.admit(spec), await book.admit(spec)] == [True, False, False]
    await report(book, spec, FINE)
    signals.breaker_opened.disconnect(opened)
    signals.breaker_closed.disconnect(closed)
    assert await breaker(book, spec) == Breaker.CLOSED
    assert heard == [("opened", "overloaded"), ("closed", spec.id)]


async def test_a_probe_that_fails_opens_it_for_longer(
    book: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    await report(book, spec, *[OVERLOADED] * 5)
    await threads.call(let_time_pass, 16)
    assert await book.admit(spec)
    await report(book, spec, OVERLOADED)
    known = (await book.read([spec]))[spec.id]
    assert known.probe_in is not None
    assert 28 < known.probe_in <= 30


@pytest.mark.parametrize("failure", ["cancelled", "rate_limit", "auth"])
async def test_a_probe_that_says_nothing_lets_the_next_call_try(
    book: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads, failure: str
) -> None:
    await report(book, spec, *[OVERLOADED] * 5)
    await threads.call(let_time_pass, 16)
    assert await book.admit(spec)
    await report(book, spec, Observation(failure=failure))
    assert await book.admit(spec)


def test_of_many_that_ask_at_once_one_sends_the_probe(model: LanguageModel) -> None:
    for _ in range(5):
        breakers.note(model.pk, model.provider_id, OVERLOADED)
        breakers.note(model.pk, model.provider_id, AWAY)
    let_time_pass(16)
    ready, admitted = threading.Barrier(8), []

    def ask() -> None:
        ready.wait()
        admitted.append(breakers.admit(model.pk, model.provider_id))
        connection.close()

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(admitted) == [False] * 7 + [True]


def test_failures_at_once_are_all_counted(model: LanguageModel) -> None:
    ready = threading.Barrier(4)

    def fail() -> None:
        ready.wait()
        breakers.note(model.pk, model.provider_id, OVERLOADED)
        connection.close()

    failing = [threading.Thread(target=fail) for _ in range(4)]
    for thread in failing:
        thread.start()
    for thread in failing:
        thread.join()
    assert BreakerRow.objects.get().in_a_row == 4


@pytest.mark.parametrize("change", ["provider", "model"])
async def test_whoever_changes_it_may_have_mended_it(
    book: DatabaseHealthBook, spec: ModelSpec, model: LanguageModel, threads: DatabaseThreads, change: str
) -> None:
    await report(book, spec, *[OVERLOADED] * 5, IN_VAIN)

    def mend() -> None:
        if change == "provider":
            model.provider.save()
        else:
            model.model = "another"
            model.save()

    await threads.call(mend)
    assert not await threads.call(BreakerRow.objects.exists)


# --- what has helped ---


async def test_waiting_stops_to_pay_and_pays_again_after_a_probe(
    book: DatabaseHealthBook, other: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads
) -> None:
    """9 of 10 retries fail: after 20 of them nobody waits, until a probe is answered."""
    ten = [*[IN_VAIN] * 9, HELPED]
    await report(book, spec, *ten)
    assert pays((await book.read([spec]))[spec.id], "overloaded", "Wait")
    await report(book, spec, *ten)
    known = (await book.read([spec]))[spec.id]
    assert known.rates == {("overloaded", "Wait"): Rate(2, 18)}
    assert not pays(known, "overloaded", "Wait")
    assert not await book.admit(spec)

    await threads.call(let_time_pass, 16)
    assert await other.admit(spec)
    await report(other, spec, FINE)
    known = (await other.read([spec]))[spec.id]
    assert (known.breaker, known.rates) == (Breaker.CLOSED, {})
    assert pays(known, "overloaded", "Wait")


async def test_one_failure_opens_the_breaker_when_waiting_does_not_pay(
    book: DatabaseHealthBook, spec: ModelSpec
) -> None:
    for _ in range(9):
        await report(book, spec, IN_VAIN, IN_VAIN, FINE)
    assert await book.admit(spec)
    await report(book, spec, IN_VAIN, IN_VAIN)
    assert not await book.admit(spec)


async def test_what_is_older_than_the_window_is_forgotten(
    book: DatabaseHealthBook, spec: ModelSpec, threads: DatabaseThreads, settings: Any
) -> None:
    settings.LLMAPP = {**settings.LLMAPP, "HEALTH_WINDOW": 100}
    await report(book, spec, IN_VAIN, IN_VAIN)
    (first, _second) = await threads.call(list, ObservationRow.objects.order_by("pk"))
    await threads.call(ObservationRow.objects.filter(pk=first.pk).update, at=Now() - timedelta(seconds=101))
    await report(book, spec, HELPED)
    assert (await book.read([spec]))[spec.id].rates == {("overloaded", "Wait"): Rate(1, 1)}
    assert await threads.call(ObservationRow.objects.count) == 3
    await threads.call(lambda: breakers.forget_observations(db_now()))
    assert await threads.call(ObservationRow.objects.count) == 2


# --- what past attempts tell ---


def add_call(model: LanguageModel, user: Any) -> Call:
    conversation = Conversation.objects.create(user=user)
    message = Message.objects.create(conversation=conversation, role="user", text="?")
    times = {"created_at": Now(), "queue_until": Now()}
    run = Run.objects.create(conversation=conversation, message=message, user=user, agent_slug="a", **times)
    return Call.objects.create(run=run, started_at=Now())


def add_attempts(model: LanguageModel, user: Any, *values: dict[str, Any]) -> None:
    call = add_call(model, user)
    for number, fields in enumerate(values, start=1):
        given = {"started_at": Now(), "ended_at": Now(), **fields}
        Attempt.objects.create(call=call, number=number, model=model, model_name=model.name, **given)


async def test_the_characters_of_a_request_are_kept_with_its_attempt(
    spec: ModelSpec, model: LanguageModel, person: Any, threads: DatabaseThreads
) -> None:
    call = await threads.call(add_call, model, person)
    used = ToolCall("c1", "look", '{"at": 1}')
    messages = (ChatMessage(Role.USER, "Hello"), ChatMessage(Role.ASSISTANT, "", (used,)))
    request = ModelRequest(model="small", messages=messages, secret=Secret(id=None))
    worker = await threads.call(lease.register, 1, {})
    await Run.objects.filter(pk=call.run_id).aupdate(status="in_progress", worker=worker)
    ledger = RunLedger(call.run_id, worker.pk, threads)
    id = await ledger.attempt_started(call.pk, 1, spec, request.secret, request)
    assert (await threads.call(Attempt.objects.get, pk=id)).input_characters == sum(map(characters, messages))


async def test_past_attempts_tell_how_long_and_how_large(
    book: DatabaseHealthBook, spec: ModelSpec, model: LanguageModel, person: Any, threads: DatabaseThreads
) -> None:
    known = {"first_token": 0.5, "input_tokens": 100, "input_characters": 350}
    slow = {"first_token": 7.0, "input_tokens": 50_000, "input_characters": 150_000}
    await threads.call(add_attempts, model, person, *[known] * 20, *[slow] * 2)
    few = (await book.read([spec]))[spec.id]
    like = (await book.read([spec], 120))[spec.id]
    assert (few.first_token_p95, like.first_token_p95) == (7.0, 0.5)
    assert few.chars_per_token == pytest.approx((20 * 350 + 2 * 150_000) / (20 * 100 + 2 * 50_000))
    assert few.tokens_last_minute == 0  # nobody asked: it has no limit


async def test_the_tokens_of_a_minute_are_those_of_all_runs(
    book: DatabaseHealthBook, model: LanguageModel, person: Any, threads: DatabaseThreads
) -> None:
    used = {"input_tokens": 100, "output_tokens": 20}
    before = {**used, "started_at": Now() - timedelta(seconds=61)}
    going_on = {"input_characters": 400, "ended_at": None}
    await threads.call(add_attempts, model, person, used, used, before, going_on, {})
    spec = await threads.call(spec_of, model)
    assert (await book.read([spec]))[spec.id].tokens_last_minute == 0
    limited = replace(spec, tokens_per_minute=1000)
    assert (await book.read([limited]))[spec.id].tokens_last_minute == 340
    assert not await statements(threads, book.read([limited]))


# --- without a database ---


async def test_a_database_that_is_away_fails_no_call(
    book: DatabaseHealthBook, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, threads: DatabaseThreads
) -> None:
    await report(book, spec, *[OVERLOADED] * 5)
    assert await breaker(book, spec) == Breaker.OPEN

    async def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("the server closed the connection unexpectedly")

    monkeypatch.setattr(threads, "call", fail)
    monkeypatch.setattr(module.away, "is_away", lambda error: True)
    monkeypatch.setattr(module, "OF_BREAKERS", 0.0)
    assert await breaker(book, spec) == Breaker.OPEN  # what was known holds
    await report(book, spec, IN_VAIN, FINE)
    assert await book.admit(spec)
