"""What can be foreseen from earlier runs is prevented: the provider would have failed, and was not asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from llmapp.core.health import ENOUGH, Observation
from llmapp.models import Attempt, Breaker, Call, LanguageModel, Run
from llmapp.runs import breakers, health

from .loopback import BACKENDS, Loopback, actions_of, key_of

pytestmark = pytest.mark.usefixtures("no_chance", "nothing_cached")

FIRST, SECOND = "sk-first-0123456789", "sk-second-0123456789"
OVERLOADED = {"status": 503, "body": {"error": {"message": "overloaded", "type": "overloaded_error"}}}
LIMITED = {"status": 429, "body": {"error": {"message": "rate limit reached", "type": "rate_limit_error"}}}
NONE_LEFT = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_key_whose_last_answer_left_nothing_rests(
    at_loopback: Loopback, person: Any, process: Any, backend: str
) -> None:
    """It would be refused; the second key is asked, and nobody was refused."""
    at_loopback.agent(keys=(FIRST, SECOND), backend=backend)
    at_loopback.server.push({"headers": NONE_LEFT})
    for _ in range(2):
        run = at_loopback.run(person, process)
        assert (run.status, actions_of(run)) == ("completed", [])
    assert [key_of(request) for request in at_loopback.server.requests] == [FIRST, SECOND]


def test_the_only_key_is_waited_for(at_loopback: Loopback, person: Any, process: Any) -> None:
    """Without a second key the run waits for the reset: nobody is asked in vain."""
    at_loopback.agent(keys=(FIRST,))
    at_loopback.server.push({"headers": NONE_LEFT | {"x-ratelimit-reset-requests": "1s"}}, LIMITED)
    assert at_loopback.run(person, process).status == "completed"
    at_loopback.server.pushed.clear()
    run = at_loopback.run(person, process)
    before, after = at_loopback.server.requests
    assert (run.status, actions_of(run)) == ("completed", [])
    assert before.ended_at is not None
    assert after.started_at - before.ended_at >= 0.9


def of_the_past(run: Run, model: LanguageModel, count: int, number: int = 100, **fields: Any) -> None:
    """Add attempts as rows, from this number on."""
    call = Call.objects.filter(run=run).get()
    times = {"started_at": call.started_at, "ended_at": call.ended_at}
    known = {"call": call, "model": model, "model_name": model.name, **times, **fields}
    Attempt.objects.bulk_create(Attempt(number=n, **known) for n in range(number, number + count))
    health._KNOWN.clear()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_that_takes_longer_than_it_is_given_is_not_asked(
    at_loopback: Loopback, person: Any, process: Any, backend: str
) -> None:
    """From 20 attempts on it is known how long its first token takes."""
    agent = at_loopback.agent("main", "spare", backend=backend)
    run = at_loopback.run(person, process)
    agent.model.provider.timeouts = {"first_token": 0.5}
    agent.model.provider.save()
    of_the_past(run, agent.model, 18, first_token=2.0)
    assert at_loopback.run(person, process).status == "completed"
    assert at_loopback.models_asked == ["main", "main"]
    health._KNOWN.clear()
    at_loopback.server.models["main"] = {"first_token_delay": 2}
    run = at_loopback.run(person, process)
    assert (run.status, at_loopback.models_asked[2:], actions_of(run)) == ("completed", ["spare"], [])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_whose_minute_is_used_up_is_not_asked(
    at_loopback: Loopback, person: Any, process: Any, backend: str
) -> None:
    """All that other runs used counts; what it would refuse goes to the next model."""
    agent = at_loopback.agent("main", "spare", backend=backend)
    run = at_loopback.run(person, process)
    LanguageModel.objects.filter(pk=agent.model_id).update(tokens_per_minute=1000)
    of_the_past(run, agent.model, 10, input_tokens=60, output_tokens=39)
    at_loopback.server.models["main"] = LIMITED
    at_loopback.server.requests.clear()
    run = at_loopback.run(person, process)
    assert (run.status, at_loopback.models_asked, actions_of(run)) == ("completed", ["spare"], [])


def test_a_conversation_that_would_not_fit_is_not_sent_as_it_is(
    at_loopback: Loopback, person: Any, process: Any
) -> None:
    """The provider refuses what is too long, and never has to."""
    at_loopback.agent(of_model={"context_window": 1000})
    at_loopback.server.default = {"window": 1000, "answer": "word " * 200}
    conversation = None
    for number in range(4):
        run = at_loopback.run(person, process, f"{number} " + "word " * 300, conversation)
        conversation = run.conversation
        assert run.status == "completed"
    assert not Attempt.objects.filter(status_code=400).exists()
    assert run.summarised


# -- adaptive ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_waiting_has_not_helped_the_next_model_is_asked_at_once(
    at_loopback: Loopback, person: Any, process: Any, backend: str
) -> None:
    """9 of 10 retries fail: after 20 of them the first action is another, until a probe is answered."""
    agent = at_loopback.agent("main", "spare", backend=backend, attempts=40)
    server = at_loopback.server
    for n in range(ENOUGH):
        helps = n % 10 == 9
        server.plans[f"run {n}"] = [OVERLOADED, {} if helps else OVERLOADED, {}]
        run = at_loopback.run(person, process, f"run {n}")
        assert (run.status, actions_of(run)) == ("completed", ["Wait"] if helps else ["Wait", "SwitchModel"])
        Breaker.objects.all().delete()  # what is looked at here is what has helped, and not the breaker
    server.plans["next"] = [OVERLOADED, {}]
    assert actions_of(at_loopback.run(person, process, "next")) == ["SwitchModel"]

    assert Breaker.objects.filter(model=agent.model).exists()
    server.requests.clear()
    assert at_loopback.run(person, process, "while it is open").status == "completed"
    assert at_loopback.models_asked == ["spare"]
    by = timedelta(seconds=3600)
    Breaker.objects.update(until=F("until") - by, failed_at=F("failed_at") - by)
    assert at_loopback.run(person, process, "the probe").status == "completed"
    assert at_loopback.models_asked == ["spare", "main"]
    server.plans["after it"] = [OVERLOADED, {}]
    assert actions_of(at_loopback.run(person, process, "after it")) == ["Wait"]


def test_observations_of_other_kinds_and_models_say_nothing(at_loopback: Loopback, person: Any, process: Any) -> None:
    """Only what was seen of this model, after this kind, counts."""
    agent = at_loopback.agent("main", "spare")
    spare = LanguageModel.objects.get(name="spare")
    for _ in range(ENOUGH):
        breakers.note(spare.pk, spare.provider_id, Observation("overloaded", "Wait", "overloaded"))
        breakers.note(agent.model_id, agent.model.provider_id, Observation("timeout", "Wait", "rate_limit"))
    Breaker.objects.all().delete()
    at_loopback.server.plans["Hi"] = [OVERLOADED, {}]
    assert actions_of(at_loopback.run(person, process)) == ["Wait"]
