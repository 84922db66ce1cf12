"""What bad input gets: keys that all rest, limits that are met, models that are gone, providers that state nonsense."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models.functions import Now

from llmapp import submit
from llmapp.models import AgentSettings, Attempt, Call, Credential, LanguageModel, Run
from llmapp.runs.clock import db_now

from .loopback import BACKENDS, Loopback
from .support import events_of, text_of, wait_until

pytestmark = pytest.mark.usefixtures("no_chance", "nothing_cached")

ANSWER = "All is well."
REFUSED = {"status": 400, "body": {"error": {"message": "no", "code": "content_policy_violation"}}}
OVERFLOW = {
    "status": 400,
    "body": {"error": {"message": "maximum context length is {limit} tokens", "code": "context_length_exceeded"}},
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def notices(run: Run) -> list[dict[str, Any]]:
    return [event["value"] for event in events_of(run) if event.get("name") == "llmapp.notice"]


def bench(seconds: float) -> None:
    Credential.objects.update(benched_until=Now() + timedelta(seconds=seconds), bench_kind="rate_limit")


# -- all keys rest -------------------------------------------------------------------------------------


def test_a_reset_that_comes_soon_is_waited_for(at_loopback: Loopback, person: Any, process: Any) -> None:
    """Of all keys the first one's."""
    at_loopback.agent(keys=("sk-first-key", "sk-second-key"))
    bench(500)
    Credential.objects.filter(position=1).update(benched_until=Now() + timedelta(seconds=1))
    run = at_loopback.run(person, process)
    assert (run.status, at_loopback.asked()) == ("completed", [("main", "sk-second-key")])
    assert 0 < notices(run)[0]["seconds"] <= 1


def test_a_later_reset_gives_the_place_back(at_loopback: Loopback, person: Any, process: Any) -> None:
    """As long as it comes before the timeout."""
    at_loopback.agent(keys=("sk-first-key", "sk-second-key"), timeout=600)
    bench(500)
    run = at_loopback.run(person, process)
    assert (run.status, at_loopback.asked()) == ("queued", [])
    assert run.not_before is not None
    assert 490 < (run.not_before - db_now()).total_seconds() <= 500


def test_a_reset_after_the_timeout_fails_and_says_when(at_loopback: Loopback, person: Any, process: Any) -> None:
    """Kind and time of the reset; nobody is asked."""
    at_loopback.agent(keys=("sk-first-key", "sk-second-key"), timeout=100)
    bench(500)
    run = at_loopback.run(person, process)
    assert (run.status, run.error_kind, at_loopback.asked()) == ("failed", "rate_limit", [])
    assert "reset_at" in run.error_facts
    assert events_of(run)[-1]["code"] == "rate_limit"
    assert "The limit resets at" in run.error_message


def test_keys_that_all_rest_lead_to_another_provider(at_loopback: Loopback, person: Any, process: Any) -> None:
    """Whose keys do not."""
    agent = at_loopback.agent()
    bench(500)
    other = type(agent.model.provider).objects.create(name="other", base_url=at_loopback.server.url)
    at_loopback.model("elsewhere", other)
    AgentSettings.objects.update(fallbacks=["elsewhere"])
    run = at_loopback.run(person, process)
    assert (run.status, at_loopback.models_asked) == ("completed", ["elsewhere"])


# -- nothing can take the conversation -------------------------------------------------------------------


def test_a_conversation_that_no_model_can_take(at_loopback: Loopback, person: Any, process: Any, backend: str) -> None:
    """It says which limit, how much there is, and what to do; nobody is asked who would refuse."""
    at_loopback.agent("main", "spare", backend=backend, of_model={"context_window": 1000})
    run = at_loopback.run(person, process, "word " * 4000)
    assert (run.status, run.error_kind) == ("failed", "context_overflow")
    assert run.error_facts["limit"] == 1000
    assert run.error_facts["needed"] > 4000
    assert at_loopback.asked() == []
    assert "1,000" in run.error_message
    assert "message" in run.error_message


def test_a_limit_that_is_only_known_from_the_refusal(
    at_loopback: Loopback, person: Any, process: Any, backend: str
) -> None:
    """Each model is asked once, and what is learned is kept."""
    at_loopback.agent("main", "spare", backend=backend)
    at_loopback.server.default = {"window": 1000}
    run = at_loopback.run(person, process, "word " * 4000)
    assert (run.status, run.error_kind) == ("failed", "context_overflow")
    assert run.error_facts["limit"] == 1000
    assert at_loopback.models_asked == ["main", "spare"]
    assert [model.lessons.window for model in LanguageModel.objects.all()] == [1000, 1000]
    assert at_loopback.run(person, process, "word " * 4000).status == "failed"
    assert len(at_loopback.server.requests) == 2


# -- limits of a run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit, asked", [(1, 1), (2, 2)])
def test_refusals_by_policy_are_counted(
    at_loopback: Loopback, person: Any, process: Any, backend: str, limit: int, asked: int
) -> None:
    """At the limit no more calls are paid for, whoever is left to ask."""
    at_loopback.agent("main", "spare", "third", backend=backend, violation_limit=limit)
    at_loopback.server.default = REFUSED
    run = at_loopback.run(person, process)
    assert (run.status, run.error_kind) == ("failed", "content_policy")
    assert (len(at_loopback.server.requests), run.attempts_used) == (asked, asked)


@pytest.mark.parametrize("limit, asked", [(1, 1), (2, 2)])
def test_timeouts_are_counted(
    at_loopback: Loopback, person: Any, process: Any, backend: str, limit: int, asked: int
) -> None:
    at_loopback.agent("main", "spare", backend=backend, timeout_limit=limit)
    at_loopback.run(person, process, "warm")
    type(at_loopback.row).objects.update(timeouts={"first_token": 0.3}, version=99)
    at_loopback.server.requests.clear()
    at_loopback.server.default = {"silent": True}
    run = at_loopback.run(person, process)
    assert (run.status, run.error_kind) == ("failed", "timeout")
    assert (len(at_loopback.server.requests), run.attempts_used) == (asked, asked)


# -- what is deleted in mid-run ----------------------------------------------------------------------------


def test_a_fallback_that_is_deleted_in_mid_run_ends_it_and_says_so(
    at_loopback: Loopback, person: Any, in_background: Any
) -> None:
    """Between the first model's failure and its turn: nobody asks a model that is not there any more."""
    at_loopback.agent("main", "gone")
    run = failing_slowly(at_loopback, person, in_background)
    LanguageModel.objects.filter(name="gone").delete()
    wait_until(lambda: not Run.objects.get(pk=run.pk).active)
    run.refresh_from_db()
    assert (run.status, run.error_kind, at_loopback.models_asked) == ("failed", "model_not_found", ["main"])
    assert "not available" in run.error_message
    assert events_of(run)[-1]["code"] == "model_not_found"
    assert not Call.objects.filter(ended_at=None).exists()


def test_a_key_that_is_deleted_in_mid_run_harms_nobody(at_loopback: Loopback, person: Any, in_background: Any) -> None:
    """The request with it may be on its way; the next model is asked with what is there."""
    at_loopback.agent("main", "other")
    run = failing_slowly(at_loopback, person, in_background)
    Credential.objects.all().delete()
    wait_until(lambda: not Run.objects.get(pk=run.pk).active)
    run.refresh_from_db()
    assert (run.status, at_loopback.models_asked) == ("completed", ["main", "other"])


def failing_slowly(at_loopback: Loopback, person: Any, in_background: Any) -> Run:
    """Return a run whose first model has been asked, and will say in a moment that it does not exist."""
    at_loopback.server.models["main"] = {"status": 404, "delay": 1.0, "body": {"error": {"code": "model_not_found"}}}
    run = submit(person, "Hi").run
    in_background(run)
    wait_until(lambda: at_loopback.server.requests)
    return run


# -- models that are gone --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "disabled", "of a disabled provider"])
def test_a_fallback_that_is_gone_is_skipped(at_loopback: Loopback, person: Any, process: Any, how: str) -> None:
    """With a notice in the log; the next one answers."""
    agent = at_loopback.agent("main", "gone", "third")
    gone = LanguageModel.objects.get(name="gone")
    if how == "deleted":
        gone.delete()
    elif how == "disabled":
        LanguageModel.objects.filter(pk=gone.pk).update(enabled=False)
    else:
        off = type(agent.model.provider).objects.create(name="off", base_url=at_loopback.server.url, enabled=False)
        LanguageModel.objects.filter(pk=gone.pk).update(provider=off)
    at_loopback.server.models["main"] = {"status": 404, "body": {"error": {"code": "model_not_found"}}}
    run = at_loopback.run(person, process)
    assert (run.status, at_loopback.models_asked) == ("completed", ["main", "third"])
    skipped = {"kind": "model_not_found", "action": "Skipped", "model": "gone"}
    assert notices(run)[0] == skipped


# -- nonsense --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["31536000000", "-1", "soon", "NaN", "inf", "1e400", "0", "", "9" * 400])
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "x-ratelimit-reset-requests"])
def test_a_wait_that_makes_no_sense_is_not_obeyed(
    at_loopback: Loopback, person: Any, process: Any, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    """It is as if nothing had been said: a short wait, and on."""
    caplog.set_level(logging.WARNING, "llmapp")
    at_loopback.agent(keys=("sk-first-key", "sk-second-key"))
    headers = {name: value, "x-ratelimit-remaining-requests": "0"} if "reset" in name else {name: value}
    at_loopback.server.push({"status": 503, "headers": headers, "body": {"error": {"message": "overloaded"}}})
    run = at_loopback.run(person, process)
    assert run.status == "completed"
    attempt = Attempt.objects.exclude(action="").get()
    assert (attempt.action, attempt.waited) == ("Wait", 0.0)
    for key in Credential.objects.exclude(benched_until=None):
        assert key.benched_until is not None
        assert key.benched_until <= db_now() + timedelta(seconds=60)


NONSENSE = [
    ("retry-after", "31536000"),
    ("retry-after", "-1"),
    ("x-ratelimit-limit-tokens", "-1"),
    ("x-ratelimit-remaining-requests", "-5"),
]


@pytest.mark.parametrize("name, value", NONSENSE)
def test_nonsense_is_logged(
    at_loopback: Loopback, person: Any, process: Any, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    """Whoever runs the site can see what a provider said, and that it was not believed."""
    caplog.set_level(logging.WARNING, "llmapp.calls")
    at_loopback.agent()
    at_loopback.server.push({"status": 429, "headers": {name: value}, "body": {"error": {"message": "rate limit"}}})
    assert at_loopback.run(person, process).status == "completed"
    (record,) = [r for r in caplog.records if getattr(r, "action", "") == "nonsense_ignored"]
    assert name in record.getMessage()
    assert value in record.getMessage()


@pytest.mark.parametrize("stated", ["0", "-5", "1000000000000", "12"])
def test_a_window_that_makes_no_sense_is_not_learned(
    at_loopback: Loopback, person: Any, process: Any, backend: str, stated: str
) -> None:
    """The conversation is compressed for this request, as where no limit is stated; here there is nothing to leave."""
    at_loopback.agent("main", "spare", backend=backend)
    text = f"This model's maximum context length is {stated} tokens."
    error = {"message": text, "code": "context_length_exceeded"}
    at_loopback.server.models["main"] = {"status": 400, "body": {"error": error}}
    run = at_loopback.run(person, process)
    assert run.status == "completed"
    assert set(at_loopback.models_asked) == {"main", "spare"}
    assert all(model.lessons.window is None for model in LanguageModel.objects.all())


@pytest.mark.parametrize("limit", ["-1", "0", "NaN", "many"])
def test_limits_of_a_good_answer_that_make_no_sense(
    at_loopback: Loopback, person: Any, process: Any, backend: str, limit: str
) -> None:
    """Neither this run nor the next one is held up by them."""
    at_loopback.agent(backend=backend)
    at_loopback.server.default = {"answer": ANSWER, "headers": {"x-ratelimit-limit-tokens": limit}}
    for _ in range(2):
        run = at_loopback.run(person, process)
        assert (run.status, text_of(run), notices(run)) == ("completed", ANSWER, [])


USAGES = [
    {"prompt_tokens": -5, "completion_tokens": -1, "total_tokens": -6},
    {"prompt_tokens": "ten", "completion_tokens": "2", "total_tokens": []},
    {"prompt_tokens": 1e300, "completion_tokens": 2**80, "total_tokens": None},
    {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cost": "NaN"},
    {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cost": -1},
    {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cost": "1e90"},
    {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": "x"}},
    {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": []},
]


@pytest.mark.parametrize("usage", USAGES, ids=str)
def test_usage_that_makes_no_sense_is_unknown(
    at_loopback: Loopback, person: Any, process: Any, backend: str, usage: dict[str, Any]
) -> None:
    """The answer is the answer; a count that is none is not zero and not stored."""
    prices = {"input_price": Decimal(1), "output_price": Decimal(1)}
    at_loopback.agent(backend=backend, of_model=prices)
    at_loopback.server.default = {"answer": ANSWER, "usage": usage}
    run = at_loopback.run(person, process)
    assert (run.status, text_of(run)) == ("completed", ANSWER)
    for name in ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens"):
        count = getattr(run, name)
        assert count is None or 0 <= count < 100
    assert run.cost is None or 0 <= run.cost < 1
