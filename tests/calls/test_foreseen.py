"""What can be foreseen is prevented: a provider that would have failed is not asked."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from llmapp.calls.base import Benched
from llmapp.core.errors import ErrorKind, Postponed
from llmapp.core.health import Breaker, ModelHealth, Rate
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.timeouts import Timeouts
from tests.support.provider import Provider, answer_for

from .conftest import Caller

pytestmark = pytest.mark.usefixtures("no_chance")

LONG = tuple(
    ChatMessage(Role.USER if n % 2 == 0 else Role.ASSISTANT, f"message {n} " + "word " * 400, ref=str(n))
    for n in range(21)
)


def two(caller: Caller) -> tuple:  # type: ignore[type-arg]
    return caller.model("a"), replace(caller.model("b"), id=2)


def asked(provider: Provider) -> list[str]:
    return [request.body["model"] for request in provider.requests]


async def test_a_conversation_that_would_not_fit(caller: Caller, provider: Provider) -> None:
    """It is compressed before it is sent: the last message is there, and so are the instructions."""
    messages = (ChatMessage(Role.SYSTEM, "Be brief."), *LONG)
    reply = await caller.call(caller.model("a", context_window=4000), messages=messages)
    assert reply.text
    summary, request = (r.body["messages"] for r in provider.requests)
    assert "notes" in str(summary)
    assert request[-1]["content"] == LONG[-1].content
    assert "Be brief." in request[0]["content"]
    assert sum(len(m["content"]) for m in request) < 4000 * 4
    before, notice = caller.harness.sink.notices
    assert (before.action, before.kind) == (notice.action, notice.kind) == ("Compress", "context_overflow")
    assert before.count is None
    assert notice.count == caller.harness.book.summaries[0].covers > 5
    assert caller.harness.ledger.results[2].action == "Summarise"


async def test_who_waits_for_a_summary_is_told(caller: Caller, provider: Provider) -> None:
    """It is said before the summary is asked for, which takes as long as an answer."""
    provider.push({"silent": True})
    asking = asyncio.create_task(caller.call(caller.model("a", context_window=4000), messages=LONG))
    async with asyncio.timeout(5):
        while not provider.requests:  # noqa: ASYNC110 - the provider has a thread of its own
            await asyncio.sleep(0.01)
    assert caller.harness.sink.actions == ["Compress"]
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_summary_is_made_once(caller: Caller, provider: Provider) -> None:
    """The next call takes the one that is kept."""
    model = caller.model("a", context_window=4000)
    await caller.call(model, messages=LONG)
    kept = caller.harness.book.summaries
    provider.requests.clear()
    harness = await with_summaries(caller, model, kept)
    assert len(provider.requests) == 1
    assert harness.book.summaries == kept


async def with_summaries(caller, model, kept):  # type: ignore[no-untyped-def]
    from llmapp.calls.base import Call
    from llmapp.calls.executor import run_call
    from tests.support.memory import Harness

    harness = Harness(caller.clients, "sk-one-key")
    harness.book.summaries = list(kept)
    await run_call(Call(models=(model,), messages=LONG), harness.ports)
    return harness


async def test_a_summary_that_fails(caller: Caller, provider: Provider) -> None:
    """An outline stands for the beginning then; the call does not fail for it."""
    provider.push({"status": 500, "body": ""})
    assert (await caller.call(caller.model("a", context_window=4000), messages=LONG)).text
    assert provider.requests[1].body["messages"][-1]["content"] == LONG[-1].content


async def test_what_cannot_fit_is_not_sent(caller: Caller, provider: Provider) -> None:
    """One message that is far too long goes to a model with a larger window; without one it is said which limit."""
    message = (ChatMessage(Role.USER, "word " * 20_000),)
    small, large = (replace(m, context_window=w) for m, w in zip(two(caller), (1000, 100_000), strict=True))
    await caller.call(small, large, messages=message)
    assert [name.rpartition("/")[2] for name in asked(provider)] == ["b"]
    failure = await caller.failure(small, messages=message)
    assert (failure.kind, failure.limit) == (ErrorKind.CONTEXT_OVERFLOW, 1000)
    assert failure.needed is not None
    assert failure.needed > 20_000
    assert len(provider.requests) == 1


async def test_a_window_that_the_provider_states(caller: Caller, provider: Provider) -> None:
    """It is learned, and the conversation made to fit."""
    refusal = "This model's maximum context length is 4096 tokens. However, you requested 10500 tokens."
    provider.push({"status": 400, "body": {"error": {"message": refusal, "code": "context_length_exceeded"}}})
    await caller.call(caller.model("a", context_window=40_000), messages=LONG)
    assert caller.harness.book.learned[1].window == 4096
    assert caller.harness.sink.actions == ["Compress", "Compress"]
    assert provider.requests[-1].body["messages"][-1]["content"] == LONG[-1].content


async def test_a_model_that_is_down(caller: Caller, provider: Provider) -> None:
    """While its breaker is open the next one is asked; the one call that may try asks it."""
    first, second = two(caller)
    caller.health = {1: ModelHealth(breaker=Breaker.OPEN)}
    caller.admits = False
    await caller.call(first, second)
    assert asked(provider) == ["b"]
    caller.health = {1: ModelHealth(breaker=Breaker.HALF_OPEN)}
    caller.admits = True
    await caller.call(first, second)
    assert asked(provider) == ["b", "a"]
    caller.health = {1: ModelHealth(breaker=Breaker.OPEN)}
    caller.admits = False
    await caller.call(first)
    assert asked(provider) == ["b", "a", "a"]


async def test_tokens_a_minute(caller: Caller, provider: Provider) -> None:
    """What our own usage leaves no room for goes to the next model."""
    first, second = two(caller)
    caller.health = {1: ModelHealth(tokens_last_minute=9_990)}
    await caller.call(replace(first, tokens_per_minute=10_000), second, messages=LONG[:3])
    assert asked(provider) == ["b"]


async def test_a_first_token_that_would_be_too_late(caller: Caller, provider: Provider) -> None:
    """A model that usually takes longer than it is given is not asked, where there is another."""
    caller.timeouts = Timeouts(first_token=0.5)
    first, second = two(caller)
    caller.health = {1: ModelHealth(first_token_p95=2.0)}
    provider.models["a"] = {"first_token_delay": 1.0}
    await caller.call(first, second)
    assert asked(provider) == ["b"]
    assert (await caller.call(first)).text == answer_for("hi")
    set_by_hand = replace(first, first_token_is_set=True)
    assert (await caller.failure(set_by_hand, timeout_limit=1)).kind is ErrorKind.TIMEOUT


async def test_all_keys_rest(caller: Caller, provider: Provider) -> None:
    """The first reset is waited for; a long one gives the place back, and without one it is over."""
    start = time.monotonic()
    caller.benched = [Benched(ErrorKind.RATE_LIMIT, 0.3), None]
    await caller.call()
    assert time.monotonic() - start >= 0.3
    caller.benched = [Benched(ErrorKind.QUOTA_EXHAUSTED, 45.0)]
    with pytest.raises(Postponed) as caught:
        await caller.call()
    assert (caught.value.seconds, caught.value.failure.kind) == (45.0, ErrorKind.QUOTA_EXHAUSTED)
    caller.benched = [Benched(ErrorKind.RATE_LIMIT, 70.0)] * 2
    failure = await caller.failure(seconds=50)
    assert (failure.kind, failure.retry_after) == (ErrorKind.RATE_LIMIT, 70.0)
    caller.benched = [Benched(ErrorKind.RATE_LIMIT, 0.0)] * 20
    await caller.call(attempts=3)
    assert len(caller.harness.ledger.attempts) == 1
    caller.benched = [Benched(ErrorKind.AUTH, None)]
    assert (await caller.failure()).kind is ErrorKind.AUTH


async def test_what_has_not_helped_lately(caller: Caller, provider: Provider) -> None:
    """Where waiting failed nine times of ten, the first answer to an overload is the next model."""
    busy = {"status": 503, "body": {"error": {"message": "overloaded"}}}
    first, second = two(caller)
    provider.models["a"] = busy
    caller.health = {1: ModelHealth(rates={("overloaded", "Wait"): Rate(2, 18)})}
    await caller.call(first, second)
    assert caller.harness.sink.actions == ["SwitchModel"]
    caller.health = {1: ModelHealth(rates={("overloaded", "Wait"): Rate(0, 0)})}
    await caller.call(first, second)
    assert caller.harness.sink.actions == ["Wait", "SwitchModel"]
    kinds = [(o.kind, o.action, o.failure) for _model, o in caller.harness.book.observations]
    assert kinds == [("", "", "overloaded"), ("overloaded", "Wait", "overloaded"), ("", "", "")]
