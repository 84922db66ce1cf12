"""Calls: what is tried, what is shown, what is written down, and that it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmapp.backends import Clients
from llmapp.backends.base import Backend, ModelRequest
from llmapp.core.errors import CallFailed, ErrorKind
from llmapp.core.stream import Delta, FinishReason, TextDelta
from llmapp.core.timeouts import Timeouts
from llmapp.core.usage import Prices
from tests.support.provider import Provider, answer_for, tokens_of

from .conftest import Caller, settled, until

SOON = {"retry-after-ms": "20"}
BUSY = {"status": 503, "headers": SOON, "body": {"error": {"message": "overloaded"}}}
LIMITED = {"status": 429, "headers": SOON, "body": {"error": {"message": "slow down"}}}
BAD_KEY = {"status": 401, "body": {"error": {"message": "no", "code": "invalid_api_key"}}}
LONG = {"answer": "word " * 500, "tokens_per_second": 50}


async def test_a_good_call(caller: Caller) -> None:
    """The reply, what was shown and what was written agree."""
    model = caller.model("m", prices=Prices(input=Decimal(1_000_000), output=Decimal(2_000_000)))
    reply = await caller.call(model)
    harness = caller.harness
    assert reply.text == harness.sink.text == answer_for("hi")
    assert reply.finish_reason is FinishReason.STOP
    result = harness.ledger.results[1]
    assert (result.failure, result.finish_reason, result.usage) == (None, FinishReason.STOP, reply.usage)
    assert result.cost == 1 + 2 * len(tokens_of(reply.text))
    assert result.first_token is not None
    assert 0 < result.first_token <= result.duration
    assert harness.ledger.calls == {1: None}
    assert harness.keys.reports == [(1, None)]


@pytest.mark.parametrize("fault", [BUSY, LIMITED, {"bytes": ""}])
async def test_what_passes_is_tried_again_silently(
    caller: Caller, provider: Provider, no_chance: None, fault: dict[str, Any]
) -> None:
    """Two failures before the first token leave nothing but two notices."""
    provider.push(fault, fault)
    reply = await caller.call()
    harness = caller.harness
    assert reply.text == harness.sink.text == answer_for("hi")
    assert harness.sink.actions == ["Wait", "Wait"]
    assert [harness.ledger.results[n].action for n in (1, 2, 3)] == ["Wait", "Wait", ""]
    assert [notice.attempt for notice in harness.sink.notices] == [2, 3]
    assert len(provider.requests) == 3


async def test_it_waits_as_long_as_told(ours: Caller, provider: Provider) -> None:
    """Not shorter, and hardly longer; the status line says how long."""
    provider.push({"status": 429, "headers": {"retry-after-ms": "300"}, "body": ""})
    start = time.monotonic()
    await ours.call()
    assert 0.3 <= time.monotonic() - start < 3
    assert ours.harness.sink.notices[0].seconds == 0.3
    assert ours.harness.sink.notices[0].kind == "rate_limit"


async def test_a_bad_key_is_followed_by_the_next(caller: Caller, provider: Provider) -> None:
    """Each key is tried once; the one that works is reported as good."""
    provider.push(BAD_KEY, BAD_KEY)
    await caller.call(keys=("sk-first", "sk-second", "sk-third"))
    harness = caller.harness
    assert [r.headers["authorization"] for r in provider.requests] == [
        "Bearer sk-first",
        "Bearer sk-second",
        "Bearer sk-third",
    ]
    assert harness.sink.actions == ["RotateCredential", "RotateCredential"]
    assert [(id, failure and failure.kind) for id, failure in harness.keys.reports] == [
        (1, ErrorKind.AUTH),
        (2, ErrorKind.AUTH),
        (3, None),
    ]


async def test_a_bad_key_without_another(caller: Caller, provider: Provider) -> None:
    """The next model is asked; without one the call fails at once."""
    provider.push(BAD_KEY)
    assert (await caller.call("a", "b")).finish_reason
    assert caller.harness.sink.actions == ["SwitchModel"]
    assert caller.harness.sink.notices[0].model == "b"
    provider.push(BAD_KEY)
    assert (await caller.failure()).kind is ErrorKind.AUTH
    assert len(caller.harness.ledger.results) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 404, "body": {"error": {"code": "model_not_found"}}},
        {"status": 429, "headers": {"retry-after": "21"}, "body": ""},
    ],
)
async def test_what_does_not_pass_goes_to_the_next_model(
    caller: Caller, provider: Provider, fault: dict[str, Any]
) -> None:
    """A missing model and a long wait."""
    provider.models["a"] = fault
    await caller.call("a", "b")
    assert [r.body["model"] for r in provider.requests] == ["a", "b"]
    assert caller.harness.sink.actions == ["SwitchModel"]


async def test_a_request_that_is_wrong_everywhere(caller: Caller, provider: Provider) -> None:
    """It is made once, whatever else could be asked."""
    provider.default = {"status": 400, "body": {"error": {"message": "bad request"}}}
    failure = await caller.failure("a", "b", keys=("sk-first", "sk-second"))
    assert failure.kind is ErrorKind.INVALID_REQUEST
    assert len(provider.requests) == 1


async def test_reasoning_is_taken_back(ours: Caller, provider: Provider, no_chance: None) -> None:
    """Thoughts that led to no answer do not stand beside those that did."""
    provider.push({"reasoning": "one two three ", "stop_after": 2})
    provider.push({"reasoning": "four "})
    reply = await ours.call()
    assert reply.reasoning == "four "
    assert ours.harness.sink.withdrawn == 1


async def test_two_streams_that_break_before_any_text(ours: Caller, provider: Provider, no_chance: None) -> None:
    """The third time the answer is asked for in one piece."""
    nothing = {"raw": 'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'}
    provider.push(nothing, nothing)
    assert (await ours.call()).text == answer_for("hi")
    assert ours.harness.sink.actions == ["Wait", "DisableStreaming"]
    assert [r.body["stream"] for r in provider.requests] == [True, True, False]


async def test_a_model_that_never_streams(ours: Caller, provider: Provider) -> None:
    """It is never asked to, and the first token has the time of the whole answer."""
    ours.timeouts = Timeouts(first_token=0.1, total=5)
    provider.push({"delay": 0.3})
    assert (await ours.call(ours.model("m", streaming="never"))).text == answer_for("hi")
    assert provider.requests[0].body["stream"] is False


TIMEOUTS = [
    ("silent", {"first_token": 0.4}, "no first token"),
    ("trickle", {"first_token": 0.6}, "no first token"),
    ("stall", {"idle": 0.4}, "stalled"),
    ("slow", {"total": 0.6}, "as a whole"),
]


@pytest.mark.parametrize("model, limit, detail", TIMEOUTS)
async def test_timeouts(caller: Caller, model: str, limit: dict[str, float], detail: str) -> None:
    """An attempt ends within a second of the limit that was set; pings are no tokens."""
    await caller.warm()
    caller.timeouts = replace(caller.timeouts, **limit)
    start = time.monotonic()
    failure = await caller.failure(model, timeout_limit=1)
    (seconds,) = limit.values()
    assert seconds <= time.monotonic() - start < seconds + 1
    assert failure.kind is ErrorKind.TIMEOUT
    assert detail in failure.detail


async def test_the_time_of_the_run_is_the_last_word(caller: Caller) -> None:
    """Whatever the attempt's own limits are."""
    await caller.warm()
    start = time.monotonic()
    assert (await caller.failure("silent", seconds=0.5)).kind is ErrorKind.TIMEOUT
    assert time.monotonic() - start < 1.5


async def test_three_timeouts_are_enough(ours: Caller, provider: Provider, no_chance: None) -> None:
    """Then the call ends, even if attempts are left and another model is there."""
    ours.timeouts = Timeouts(first_token=0.4)
    assert (await ours.failure("silent")).kind is ErrorKind.TIMEOUT
    assert len(provider.requests) == 3


async def test_a_wait_that_the_run_has_no_time_for(ours: Caller, provider: Provider) -> None:
    """It is not begun."""
    provider.push({"status": 429, "headers": {"retry-after": "15"}, "body": ""})
    start = time.monotonic()
    assert (await ours.failure(seconds=10)).kind is ErrorKind.RATE_LIMIT
    assert time.monotonic() - start < 5


async def test_the_attempts_of_the_run(ours: Caller, provider: Provider, no_chance: None) -> None:
    """No more are made than the budget has; none at all is said plainly."""
    provider.default = BUSY
    assert (await ours.failure(attempts=4)).kind is ErrorKind.OVERLOADED
    assert len(provider.requests) == 4
    assert "no attempt left" in (await ours.failure(attempts=0)).detail


async def test_no_key_can_be_used(ours: Caller, provider: Provider) -> None:
    """Nobody is asked without one, and nothing hangs."""
    harness_keys = ("sk-only",)
    provider.push(BAD_KEY)
    assert (await ours.failure(keys=harness_keys)).kind is ErrorKind.AUTH
    assert len(provider.requests) == 1


async def test_a_refusal_by_the_filter(caller: Caller, provider: Provider) -> None:
    """An answer that a filter ended is no answer, and is not tried again."""
    provider.push({"answer": "", "finish_reason": "content_filter"})
    assert (await caller.failure()).kind is ErrorKind.CONTENT_POLICY
    assert len(provider.requests) == 1


async def test_a_whole_answer_is_not_waited_for(
    ours: Caller, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the finish reason a stream that stalls costs a moment, and no failure."""
    monkeypatch.setattr("llmapp.calls.reading.ENDING", 0.2)
    chunk = '{"choices":[{"delta":{"content":"whole"},"finish_reason":"stop"}]}'
    provider.push({"raw": f"data: {chunk}\n\n", "end": "never"})
    async with asyncio.timeout(2):
        assert (await ours.call()).text == "whole"


# -- stopping -----------------------------------------------------------------------------------------


async def test_cancelling(caller: Caller, provider: Provider) -> None:
    """The socket is closed within a second, the entries of the ledger are closed, and the cancellation goes on."""
    await caller.warm()
    provider.push(LONG)
    task = asyncio.create_task(caller.call("m"))
    await until(lambda: len(provider.requests) > 1 and caller.harness.sink.text)
    stopped = time.time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ledger = caller.harness.ledger
    assert [r.failure and r.failure.kind for r in ledger.results.values()] == [ErrorKind.CANCELLED]
    assert [f and f.kind for f in ledger.calls.values()] == [ErrorKind.CANCELLED]
    closed = await asyncio.to_thread(provider.wait_closed)
    assert closed.closed_at is not None
    assert closed.closed_at - stopped < 1


@pytest.mark.parametrize("steps", range(0, 24, 2))
async def test_what_was_opened_is_closed(ours: Caller, provider: Provider, steps: int) -> None:
    """Wherever a cancellation falls, twice even, each entry that was begun is ended."""
    provider.default = {"delay": 0.02}
    task = asyncio.create_task(ours.call("m", slow=0.02))
    await asyncio.sleep(steps * 0.005)
    task.cancel()
    await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait({task})
    await settled()
    if steps:  # at 0 nothing had begun
        ledger = ours.harness.ledger
        assert len(ledger.calls) == ledger.open_calls
        assert set(ledger.results) == set(ledger.attempts)


async def test_cancelling_a_wait(ours: Caller, provider: Provider) -> None:
    """A wait is no reason to be deaf."""
    provider.push({"status": 429, "headers": {"retry-after": "15"}, "body": ""})
    task = asyncio.create_task(ours.call("m"))
    await until(lambda: provider.requests and ours.harness.sink.notices)
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()


# -- backends that are not what they should be ------------------------------------------------------------


class Rude(Backend):
    """Breaks its contract in the way that its options say."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        yield TextDelta("") if self.endpoint.options["how"] == "never" else TextDelta("a")
        if self.endpoint.options["how"] == "raise":
            raise ZeroDivisionError(f"with {request.secret.api_key}")


async def test_a_backend_that_raises(ours: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """It is a bug, it ends the call, and its text goes nowhere."""
    failure = await ours.failure(ours.model("m", backend="rude", options={"how": "raise"}))
    assert (failure.kind, failure.detail) == (ErrorKind.INVALID_RESPONSE, "internal: ZeroDivisionError")
    assert "sk-one-key" not in caplog.text


async def test_a_backend_that_merely_stops(ours: Caller) -> None:
    """Without a finish there is no answer."""
    failure = await ours.failure(ours.model("m", backend="rude", options={"how": "stop"}))
    assert failure.kind is ErrorKind.STREAM_INTERRUPTED


async def test_a_backend_that_is_not_there(ours: Caller) -> None:
    """A wrong name in the settings is a failure like others."""
    failure = await ours.failure(ours.model("m", backend="nonsense"))
    assert failure.kind is ErrorKind.INVALID_RESPONSE


FAILING_STEPS = st.sampled_from(
    [
        {"fail": {"status": status, "headers": headers, "body": ""}}
        for status in (400, 401, 404, 408, 429, 500, 503)
        for headers in ({}, {"retry-after-ms": "1"}, {"retry-after": "30"})
    ]
    + [{"cut": True}, {"finish": "content_filter"}]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(FAILING_STEPS, min_size=1, max_size=2), min_size=1, max_size=4), st.integers(1, 12))
async def test_every_call_ends(monkeypatch: pytest.MonkeyPatch, steps: list[list[Any]], attempts: int) -> None:
    """For any chain of failing models the call ends within the budget, and everything is written down once."""
    monkeypatch.setattr("llmapp.calls.executor.random.random", lambda: 0.0)
    clients = Clients()
    caller = Caller(clients, "", "scripted")
    models = [caller.model(f"m{n}", options={"script": script}) for n, script in enumerate(steps)]
    specs = [replace(m, endpoint=replace(m.endpoint, id=n)) for n, m in enumerate(models, start=1)]
    with pytest.raises(CallFailed):
        await caller.call(*specs, attempts=attempts, seconds=20, keys=("sk-first", "sk-second"))
    harness = caller.harness
    assert 1 <= len(harness.ledger.results) <= attempts
    assert set(harness.ledger.results) == set(harness.ledger.attempts)
    assert harness.sink.text == ""
    await clients.aclose()


async def test_the_rate_of_one_key(caller: Caller, provider: Provider) -> None:
    """Another key does not wait for it."""
    provider.push({"status": 429, "headers": {"retry-after": "15"}, "body": {"error": {"message": "slow down"}}})
    async with asyncio.timeout(10):
        await caller.call(keys=("sk-first", "sk-second"))
    assert caller.harness.sink.actions == ["RotateCredential"]
