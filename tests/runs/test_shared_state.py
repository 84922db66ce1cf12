"""What one run goes through, the next one is spared: whole runs, against a provider on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from llmapp import submit
from llmapp.models import AgentSettings, Attempt, Breaker, LanguageModel, Run
from llmapp.models import Provider as ProviderRow
from llmapp.runs import health
from tests.support.models import add_key
from tests.support.provider import Provider

FIRST, SECOND = "sk-first-0123456789", "sk-second-0123456789"
OVERLOADED = {"status": 503, "body": {"error": {"message": "overloaded", "type": "overloaded_error"}}}
REFUSED = {"status": 401, "body": {"error": {"message": "bad key", "code": "invalid_api_key"}}}
LIMITED = {"status": 429, "headers": {"retry-after": "40"}, "body": {"error": {"message": "rate limit reached"}}}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setattr("llmapp.calls.executor.random.random", lambda: 0.0)
    monkeypatch.setattr(health, "OF_BREAKERS", 0.0)
    with Provider(answer="Here I am.") as running:
        yield running


@pytest.fixture
def agent(person: Any, provider: Provider) -> AgentSettings:
    row = ProviderRow.objects.create(name="loopback", base_url=provider.url)
    for position, key in enumerate([FIRST, SECOND]):
        add_key(row, key, position)
    models = [LanguageModel.objects.create(name=name, provider=row, model=name) for name in ("main", "spare")]
    return AgentSettings.objects.create(slug="a", model=models[0], fallbacks=["spare"])


@pytest.fixture
def ask(person: Any, agent: AgentSettings, process: Any, provider: Provider) -> Callable[[], list[tuple[str, str]]]:
    """Run once, and return which models were asked, each with which key."""

    def ask() -> list[tuple[str, str]]:
        provider.requests.clear()
        run = submit(person, "Hi").run
        process.execute(run.pk)
        assert Run.objects.get(pk=run.pk).status == "completed"
        return [(r.body["model"], r.headers["authorization"].removeprefix("Bearer ")) for r in provider.requests]

    return ask


def test_a_model_that_fails_is_left_alone_until_its_probe_is_answered(
    ask: Callable[[], list[tuple[str, str]]], provider: Provider
) -> None:
    provider.models["main"] = OVERLOADED
    for _ in range(5):
        if Breaker.objects.filter(until__isnull=False).exists():
            break
        assert ask()[-1] == ("spare", FIRST)
    assert ask() == [("spare", FIRST)]
    del provider.models["main"]
    assert ask() == [("spare", FIRST)]  # well again, but nobody knows yet
    Breaker.objects.update(until=F("until") - timedelta(seconds=300))
    assert ask() == [("main", FIRST)]
    assert not Breaker.objects.exists()
    assert ask() == [("main", FIRST)]


@pytest.mark.parametrize("failure", [REFUSED, LIMITED])
def test_a_key_that_fails_rests_for_the_next_run_too(
    ask: Callable[[], list[tuple[str, str]]], provider: Provider, failure: dict[str, Any]
) -> None:
    provider.push(failure)
    assert ask() == [("main", FIRST), ("main", SECOND)]
    assert ask() == [("main", SECOND)]
    assert all(Attempt.objects.values_list("input_characters", flat=True))


def test_a_model_whose_tokens_of_the_minute_are_used_up_is_not_asked(
    ask: Callable[[], list[tuple[str, str]]], agent: AgentSettings
) -> None:
    assert ask() == [("main", FIRST)]
    Attempt.objects.update(input_tokens=998)
    agent.model.tokens_per_minute = 1000
    agent.model.save()
    assert ask() == [("spare", FIRST)]
    Attempt.objects.update(started_at=F("started_at") - timedelta(seconds=60))
    health._KNOWN.clear()
    assert ask() == [("main", FIRST)]


def test_what_a_provider_refuses_is_not_sent_again(
    ask: Callable[[], list[tuple[str, str]]], agent: AgentSettings, provider: Provider
) -> None:
    agent.settings = {"top_k": 5, "temperature": 0.5}
    agent.save()
    text = "Unsupported parameter: 'top_k' is not supported with this model."
    error = {"message": text, "type": "invalid_request_error", "param": "top_k", "code": "unsupported_parameter"}
    provider.push({"status": 400, "body": {"error": error}})
    assert ask() == [("main", FIRST)] * 2
    agent.model.refresh_from_db()
    assert agent.model.lessons.refused == {"top_k"}
    assert ask() == [("main", FIRST)]
    assert "top_k" not in provider.requests[0].body
    assert provider.requests[0].body["temperature"] == 0.5
