"""For any sequence of failures a call ends within its budget, and its text is shown once and unchanged.

The model is in memory and the clock jumps, so that hours of failures take a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmapp.backends.base import Backend, Endpoint, ModelRequest
from llmapp.calls.base import Call, ModelSpec
from llmapp.calls.executor import run_call
from llmapp.core.errors import BackendError, CallFailed, ErrorFacts, ErrorKind, Postponed
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Delta, Finish, FinishReason, ReasoningDelta, Reply, TextDelta, ToolCallDelta
from llmapp.core.timeouts import Timeouts
from tests.support import virtual_time
from tests.support.memory import Harness

ANSWER = (
    "# Of trains\n\nA train leaves at **nine**, very very early, and another one at ten. Both of them arrive.\n\n"
    "```python\nfor train in trains:\n    train.leave()\n```\n\n- one\n- two\n- one\n\n"
    "That was it, and that was all. 二は二。"
)


@dataclass(frozen=True)
class Step:
    """What one attempt does: says so many characters of what is asked, and then ends in some way."""

    says: int = 0
    then: str = "break"
    kind: ErrorKind | None = None
    status: int | None = None
    retry_after: str = ""
    overlap: int = 0
    anew: bool = False
    thinks: bool = False
    calls: bool = False


class Scripted(Backend):
    """Goes through the steps, one for each attempt, and then answers well."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__(Endpoint(id=1, version=1, name="memory", backend="memory"))
        self.steps = iter(steps)
        self.asked = 0

    def get(self, endpoint: Endpoint) -> Backend:
        return self

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        self.asked += 1
        step = next(self.steps, Step(says=len(ANSWER), then="stop"))
        if step.thinks:
            yield ReasoningDelta("Hm. ")
        for character in self.rest_of(request, step)[: step.says]:
            await asyncio.sleep(0.01)
            yield TextDelta(character)
        if step.calls:
            yield ToolCallDelta(0, "c1", "look", '{"at')
        await self.end(step)
        if step.then != "clean cut":
            yield Finish(FinishReason(step.then))

    def rest_of(self, request: ModelRequest, step: Step) -> str:
        before = request.messages[-2].content if len(request.messages) > 1 else ""
        if not before or step.anew or not ANSWER.startswith(before):
            return ANSWER
        return ANSWER[max(len(before) - step.overlap, 0) :]

    async def end(self, step: Step) -> None:
        if step.then == "hang":
            await asyncio.sleep(100_000)
        if step.then == "break":
            headers = {"retry-after": step.retry_after} if step.retry_after else {}
            raise BackendError(ErrorFacts("memory", step.status, headers, {"error": {"message": "no"}}), step.kind)


def ask(steps: list[Step], *, models: int, attempts: int, seconds: float, **limits: Any) -> tuple[Any, Harness, float]:
    """Make a call, and return its reply or exception, what it left behind, and how long it took."""
    backend = Scripted(steps)
    endpoint = Endpoint(id=1, version=1, name="memory", backend="memory", timeouts=Timeouts())
    specs = tuple(ModelSpec(id=n, name=f"m{n}", model=f"m{n}", endpoint=endpoint) for n in range(1, models + 1))
    call = Call(models=specs, messages=(ChatMessage(Role.USER, "Tell me of trains"),), **limits)
    made: list[Harness] = []

    async def main() -> Reply | Exception:
        clock = asyncio.get_running_loop().time
        made.append(Harness(backend, "sk-one", "sk-two", attempts=attempts, seconds=seconds, clock=clock))
        try:
            return await run_call(call, made[0].ports)
        except (CallFailed, Postponed) as error:
            return error

    outcome, took = virtual_time.run(main())
    assert len(made[0].ledger.attempts) == backend.asked
    return outcome, made[0], took


kinds = st.sampled_from([kind for kind in ErrorKind if kind is not ErrorKind.CANCELLED])
failing = st.builds(
    Step,
    says=st.sampled_from([0, 0, 0, 1, 7, 40, 400]),
    then=st.sampled_from(["break", "break", "break", "hang", "clean cut", "length", "content_filter"]),
    kind=st.none() | kinds,
    status=st.sampled_from([None, 200, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529]),
    retry_after=st.sampled_from(["", "", "1", "15", "45", "90000", "-1"]),
    thinks=st.booleans(),
    calls=st.booleans(),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(failing, min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 60),
    st.sampled_from([1.0, 30.0, 600.0]),
)
def test_it_ends(steps: list[Step], models: int, attempts: int, seconds: float) -> None:
    """Within the attempts and the time, once, with every entry of the ledger closed."""
    outcome, harness, took = ask(steps, models=models, attempts=attempts, seconds=seconds)
    assert isinstance(outcome, Reply | CallFailed | Postponed)
    assert harness.budget.taken <= attempts
    assert len(harness.ledger.attempts) <= attempts
    assert set(harness.ledger.results) == set(harness.ledger.attempts)
    assert list(harness.ledger.calls) == [1]
    assert took <= seconds + 1
    if isinstance(outcome, Reply):
        assert outcome.text == harness.sink.text
        assert outcome.tool_calls == ()
    if isinstance(outcome, Postponed):
        assert harness.sink.text == ""
        assert 30 < outcome.seconds < seconds


passing = st.sampled_from(
    [ErrorKind.STREAM_INTERRUPTED, ErrorKind.OVERLOADED, ErrorKind.SERVER_ERROR, ErrorKind.CONNECTION]
)
cuts = st.builds(
    Step,
    says=st.integers(0, 120),
    then=st.sampled_from(["break", "clean cut", "length"]),
    kind=passing,
    overlap=st.sampled_from([0, 0, 0, 12, 13, 20, 33, 60]),
    anew=st.sampled_from([False, False, False, True]),
    thinks=st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(cuts, min_size=1, max_size=8), st.integers(1, 3), st.integers(0, 60), st.booleans())
def test_text_is_shown_once_and_unchanged(steps: list[Step], models: int, overlap: int, anew: bool) -> None:
    """However it is cut: what a person has is the answer, or its beginning."""
    steps = [*steps, Step(says=len(ANSWER), then="stop", overlap=overlap if overlap >= 12 else 0, anew=anew)]
    outcome, harness, _took = ask(steps, models=models, attempts=12, seconds=600)
    shown = harness.sink.text
    if isinstance(outcome, Reply) and outcome.finish_reason is FinishReason.STOP:
        assert shown == outcome.text == ANSWER
    else:
        assert ANSWER.startswith(shown)
