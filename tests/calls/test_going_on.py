"""After visible text: what breaks is gone on with, begun again or left, and nothing is shown twice."""

from __future__ import annotations

from typing import Any

import pytest

from llmapp.core.errors import ErrorKind
from llmapp.core.stream import FinishReason
from llmapp.core.timeouts import Timeouts
from tests.support.provider import Provider, answer_for, tokens_of

from .conftest import Caller

WHOLE = answer_for("hi")
BUSY = {"status": 503, "body": {"error": {"message": "overloaded"}}}
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the'}}

pytestmark = pytest.mark.usefixtures("no_chance")


@pytest.mark.parametrize("end", ["fin", "rst", "clean"])
@pytest.mark.parametrize("again", [{}, {"overlap": 20}, {"anew": True}])
async def test_a_cut_is_gone_on_with(caller: Caller, provider: Provider, end: str, again: dict[str, Any]) -> None:
    """Whether the model goes on, repeats a bit or begins anew: the whole answer, once."""
    provider.push({"stop_after": 5, "end": end}, again)
    reply = await caller.call()
    harness = caller.harness
    assert reply.text == harness.sink.text == WHOLE
    assert (harness.sink.withdrawn, harness.sink.actions) == (0, ["Continue"])
    assert [result.failure and result.failure.kind for result in harness.ledger.results.values()] == [
        ErrorKind.STREAM_INTERRUPTED,
        None,
    ]
    wish = provider.requests[1].body["messages"]
    assert [message["role"] for message in wish] == ["user", "assistant", "user"]
    assert wish[1]["content"] == "".join(tokens_of(WHOLE)[:5])


FAULTS: list[dict[str, Any]] = [
    {"error_after": [5, {"message": "overloaded", "type": "overloaded_error"}]},
    {"error_after": [5, {"message": "Internal server error", "type": "server_error"}]},
    {"error_after": [5, {"message": "rate limit reached", "type": "rate_limit_error"}]},
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_error_in_mid_stream(caller: Caller, provider: Provider, fault: dict[str, Any]) -> None:
    """What passes before the first token passes after it as well."""
    provider.push(fault)
    assert (await caller.call()).text == caller.harness.sink.text == WHOLE
    assert caller.harness.sink.actions == ["Continue"]


async def test_a_stall(caller: Caller, provider: Provider) -> None:
    """It is ended by the timeout between two tokens, and gone on with."""
    await caller.warm()
    caller.timeouts = Timeouts(first_token=5, idle=0.3)
    provider.push({"stall_after": 5})
    assert (await caller.call()).text == caller.harness.sink.text == WHOLE


async def test_another_answer(caller: Caller, provider: Provider) -> None:
    """A model that begins again and says something else has what it said first withdrawn."""
    first = "The capital of France is Paris, as everybody knows."
    other = "The capital of France is a large city. It is called Paris."
    provider.push({"answer": first, "stop_after": 8}, {"answer": other})
    reply = await caller.call()
    assert reply.text == caller.harness.sink.text == other
    assert caller.harness.sink.withdrawn == 1


async def test_the_next_model_goes_on(caller: Caller, provider: Provider) -> None:
    """When the first one is out for good, its text is not lost."""
    provider.push({"stop_after": 5, "end": "fin"}, BUSY)
    reply = await caller.call("a", "b")
    assert [request.body["model"] for request in provider.requests] == ["a", "a", "b"]
    assert reply.text == caller.harness.sink.text == WHOLE
    assert caller.harness.sink.actions == ["Continue", "SwitchModel"]


async def test_a_tool_call_in_flight(caller: Caller, provider: Provider) -> None:
    """What was said with it is withdrawn, and all of it asked for again."""
    provider.push({"answer": "I will look.", "tool_calls": [CALL], "stop_after": 4, "end": "fin"})
    provider.push({"answer": "Here it is."})
    reply = await caller.call()
    assert reply.text == caller.harness.sink.text == "Here it is."
    assert (caller.harness.sink.withdrawn, caller.harness.sink.actions) == (1, ["Restart"])
    assert len(provider.requests[1].body["messages"]) == 1


async def test_nothing_new_twice(caller: Caller, provider: Provider) -> None:
    """A model that always breaks at the same place is left: its text stays, and the failure says what broke."""
    provider.default = {"stop_after": 5, "end": "clean", "answer": WHOLE, "anew": True}
    failure = await caller.failure()
    harness = caller.harness
    assert failure.kind is ErrorKind.STREAM_INTERRUPTED
    assert (harness.sink.text, harness.sink.withdrawn) == ("".join(tokens_of(WHOLE)[:5]), 0)
    assert (len(provider.requests), harness.ledger.results[3].action) == (3, "GiveUp")
    assert harness.ledger.calls[1] == failure


async def test_a_refusal_after_text(caller: Caller, provider: Provider) -> None:
    """What a policy stops is not asked for again."""
    provider.push({"finish_reason": "content_filter"})
    assert (await caller.failure("a", "b", violation_limit=3)).kind is ErrorKind.CONTENT_POLICY
    assert (caller.harness.sink.text, len(provider.requests)) == (WHOLE, 1)


# -- the length limit --------------------------------------------------------------------------------------


async def test_length_is_gone_on_with(caller: Caller, provider: Provider) -> None:
    """Text that reached the limit goes on until the model says that it is over."""
    first = "".join(tokens_of(WHOLE)[:9])
    second = "".join(tokens_of(WHOLE)[9:20])
    provider.push({"answer": first, "finish_reason": "length"}, {"answer": second, "finish_reason": "length"})
    provider.push({"answer": WHOLE[len(first + second) :]})
    reply = await caller.call()
    assert (reply.text, caller.harness.sink.text, reply.finish_reason) == (WHOLE, WHOLE, FinishReason.STOP)
    assert caller.harness.sink.actions == ["Continue", "Continue"]
    assert len(caller.harness.ledger.results) == 3


async def test_length_is_gone_on_with_so_often(caller: Caller, provider: Provider) -> None:
    """After four times what there is of it is the answer, and says that it is cut."""
    parts = ["One part of it. ", "Then another comes. ", "Now the third one. ", "Fourth of all. ", "At last. ", "No."]
    provider.push(*({"answer": part, "finish_reason": "length"} for part in parts))
    reply = await caller.call()
    assert (reply.finish_reason, reply.text) == (FinishReason.LENGTH, "".join(parts[:5]))
    assert len(provider.requests) == 5


async def test_a_limit_that_somebody_set(caller: Caller, provider: Provider) -> None:
    """It is meant: the answer ends there."""
    provider.push({"finish_reason": "length"})
    reply = await caller.call(settings={"max_tokens": 50})
    assert (reply.finish_reason, len(provider.requests)) == (FinishReason.LENGTH, 1)


LINES = [f"INSERT INTO people (id, name) VALUES ({n}, 'somebody');\n" for n in range(40)]


@pytest.mark.parametrize("cut", [{"stop_after": 120, "end": "fin"}, {"finish_reason": "length"}])
async def test_lines_that_begin_alike(caller: Caller, provider: Provider, cut: dict[str, Any]) -> None:
    """The next line of a text is no new beginning, however much it is like the first."""
    first, rest = "".join(LINES[:20]), "".join(LINES[20:])
    provider.push({"answer": first, **cut, **({"stop_after": len(tokens_of(first))} if "end" in cut else {})})
    provider.push({"answer": rest})
    reply = await caller.call()
    assert reply.text == caller.harness.sink.text == first + rest
    assert caller.harness.sink.withdrawn == 0


async def test_thoughts_in_the_text_are_no_answer(caller: Caller, provider: Provider) -> None:
    """They are withdrawn, and the answer is asked for again."""
    provider.push({"answer": "<think>Let me see.</think>\n"})
    reply = await caller.call()
    assert reply.text == caller.harness.sink.text == WHOLE
    assert (caller.harness.sink.withdrawn, caller.harness.sink.actions) == (1, ["Wait"])


async def test_nothing_follows(caller: Caller, provider: Provider) -> None:
    """A model that has nothing to add is believed after a sentence, and not in the middle of one."""
    provider.push({"answer": "That is all. Really", "stop_after": 3, "end": "fin"}, {"answer": ""})
    assert (await caller.call()).text == "That is all. "
    provider.push({"answer": "It consists of many parts", "stop_after": 4, "end": "fin"})
    provider.default = {"answer": ""}
    failure = await caller.failure()
    assert failure.kind is ErrorKind.STREAM_INTERRUPTED
    assert caller.harness.sink.text == "It consists of many "
