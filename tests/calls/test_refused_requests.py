"""Requests that a provider refuses: changed once for each reason, and what was learned is kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from llmapp.core.errors import ErrorKind
from llmapp.core.learned import Learned
from llmapp.core.messages import ChatMessage, Role, ToolCall
from tests.support.provider import Provider, answer_for

from .conftest import Caller

pytestmark = pytest.mark.usefixtures("no_chance")


def refusal(message: str, **more: Any) -> dict[str, Any]:
    return {"status": 400, "body": {"error": {"message": message, "type": "invalid_request_error", **more}}}


def unsupported(name: str) -> dict[str, Any]:
    return refusal(f"Unsupported parameter: '{name}' is not supported with this model.", param=name)


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("name", ["temperature", "reasoning_effort", "response_format", "tool_choice", "top_p"])
async def test_a_parameter_that_is_refused(caller: Caller, provider: Provider, name: str) -> None:
    """It is left out at once, and by later calls from the start."""
    values = {"response_format": {"type": "json_object"}, "tool_choice": "auto", "reasoning_effort": "low"}
    value = values.get(name, 0.5)
    provider.push(unsupported(name))
    await caller.call(settings={name: value}, tools=(TOOL,))
    assert [name in request.body for request in provider.requests] == [True, False]
    learned = caller.harness.book.learned[1]
    assert learned == Learned(refused=frozenset({name}))
    await caller.call(caller.model("m", learned=learned), settings={name: value}, tools=(TOOL,))
    assert name not in provider.requests[2].body


async def test_a_limit_under_its_other_name(ours: Caller, provider: Provider) -> None:
    """`max_tokens` is called otherwise by some: the value stays, and the name is kept."""
    model = ours.model("m", max_output_tokens=900)
    provider.push(unsupported("max_tokens"))
    await ours.call(model)
    assert provider.requests[1].body["max_completion_tokens"] == 900
    assert "max_tokens" not in provider.requests[1].body
    assert ours.harness.book.learned[1].renamed == {"max_tokens": "max_completion_tokens"}
    await ours.call(replace(model, learned=ours.harness.book.learned[1]))
    assert provider.requests[2].body["max_completion_tokens"] == 900


async def test_neither_name(ours: Caller, provider: Provider) -> None:
    """Where the other one is refused as well, it is left out."""
    provider.push(unsupported("max_tokens"), unsupported("max_completion_tokens"))
    await ours.call(ours.model("m", max_output_tokens=900))
    assert not {"max_tokens", "max_completion_tokens"} & set(provider.requests[2].body)


async def test_stream_options(ours: Caller, provider: Provider) -> None:
    """Usage is not asked for where that is refused; the answer streams all the same."""
    provider.push(unsupported("stream_options"))
    await ours.call()
    assert [("stream_options" in r.body, r.body["stream"]) for r in provider.requests] == [(True, True), (False, True)]


async def test_what_does_not_help_is_not_learned(ours: Caller, provider: Provider) -> None:
    """A lesson is kept only when an answer shows that it was right."""
    provider.push(unsupported("temperature"), refusal("bad request"))
    await ours.failure(settings={"temperature": 1})
    assert ours.harness.book.learned == {}


async def test_an_output_limit_that_is_too_large(ours: Caller, provider: Provider) -> None:
    """The stated one is taken and kept."""
    provider.push(
        refusal("max_tokens: 9000 > 4096, which is the maximum allowed number of output tokens for this model")
    )
    await ours.call(ours.model("m", max_output_tokens=9000))
    assert provider.requests[1].body["max_tokens"] == 4096
    assert ours.harness.book.learned[1].output_limit == 4096


HISTORY = (
    ChatMessage(Role.SYSTEM, "Be brief."),
    ChatMessage(Role.ASSISTANT, "Hello, how can I help?"),
    ChatMessage(Role.USER, "one"),
    ChatMessage(Role.USER, "two"),
)


async def test_a_history_that_is_refused(ours: Caller, provider: Provider) -> None:
    """It is repaired once: the roles take turns, and the person speaks first."""
    provider.push(refusal("messages: roles must alternate between user and assistant"))
    await ours.call(messages=HISTORY)
    roles = [message["role"] for message in provider.requests[1].body["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in pairwise(roles))
    assert "two" in provider.requests[1].body["messages"][-1]["content"]
    provider.default = refusal("messages: roles must alternate between user and assistant")
    assert (await ours.failure(messages=HISTORY)).kind is ErrorKind.INVALID_REQUEST
    assert len(provider.requests) == 4


async def test_what_is_sent_is_always_canonical(ours: Caller, provider: Provider) -> None:
    """A call without its result, a result without its call and empty content never leave the house."""
    call = ToolCall("c1", "look", '{"at": "it"}')
    messages = (
        ChatMessage(Role.USER, "hi"),
        ChatMessage(Role.ASSISTANT, "", (call,)),
        ChatMessage(Role.TOOL, "42", tool_call_id="of-nobody"),
        ChatMessage(Role.ASSISTANT, ""),
        ChatMessage(Role.USER, "well?"),
    )
    await ours.call(messages=messages)
    sent = provider.requests[0].body["messages"]
    calls = [call["id"] for message in sent for call in message.get("tool_calls", [])]
    assert calls == [message["tool_call_id"] for message in sent if message["role"] == "tool"]
    assert all(message["content"] or message.get("tool_calls") for message in sent)


async def test_thinking_that_is_refused(caller: Caller, provider: Provider) -> None:
    """It is left out of the request; what was handed in keeps it."""
    thought = ({"type": "thinking", "thinking": "hm", "signature": "s1gn"},)
    messages = (
        ChatMessage(Role.USER, "hi"),
        ChatMessage(Role.ASSISTANT, "yes", thinking=thought),
        ChatMessage(Role.USER, "and now?"),
    )
    provider.push(refusal("messages.1.content.0: Invalid `signature` in `thinking` block"))
    reply = await caller.call(messages=messages)
    assert reply.text == answer_for("and now?")
    assert caller.harness.sink.actions == ["StripThinking"]
    assert messages[1].thinking == thought
    assert caller.harness.ledger.requests[1].messages[1].thinking == thought
    assert caller.harness.ledger.requests[2].messages[1].thinking == ()


# -- answers that are none -----------------------------------------------------------------------------


async def test_an_empty_answer(caller: Caller, provider: Provider) -> None:
    """It is asked for once more, then the next model is, and it is never shown as an answer."""
    provider.push({"answer": ""}, {"answer": " \n"})
    reply = await caller.call("a", "b")
    assert reply.text == answer_for("hi")
    assert [r.body["model"] for r in provider.requests] == ["a", "a", "b"]
    provider.default = {"answer": ""}
    assert (await caller.failure()).kind is ErrorKind.INVALID_RESPONSE


async def test_a_page_that_is_no_answer(caller: Caller, provider: Provider) -> None:
    """It may have been a moment's: once more, then the next model."""
    page = {"status": 200, "headers": {"content-type": "text/html"}, "body": "<html>"}
    provider.models["a"] = page
    await caller.call("a", "b")
    assert caller.harness.sink.actions == ["Wait", "SwitchModel"]


async def test_thinking_that_used_the_limit(caller: Caller, provider: Provider) -> None:
    """It is to think less, then the limit grows up to what the model can, then it is said."""
    thought = {"answer": "", "reasoning": "on and on ", "finish_reason": "length"}
    provider.push(thought, thought, thought)
    model = caller.model("m", max_output_tokens=8000)
    reply = await caller.call(model, settings={"max_tokens": 3000, "reasoning_effort": "high"})
    assert reply.text == answer_for("hi")
    assert caller.harness.sink.actions == ["LowerEffort", "LowerEffort", "RaiseOutputLimit"]
    assert [r.body["max_tokens"] for r in provider.requests] == [3000, 3000, 3000, 6000]
    assert [r.body["reasoning_effort"] for r in provider.requests] == ["high", "medium", "low", "low"]
    provider.push(thought, thought, thought, thought, thought)
    await caller.call(caller.model("m", max_output_tokens=100_000), settings={"max_tokens": 3000})
    assert caller.harness.sink.actions == ["RaiseOutputLimit", "RaiseOutputLimit"]
    provider.default = thought
    reply = await caller.call()
    assert (reply.text, reply.finish_reason) == ("", "length")


BROKEN = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the'}}
GOOD = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}


async def test_tool_arguments_that_are_not_whole(caller: Caller, provider: Provider) -> None:
    """They are no tool call, whatever the provider says."""
    provider.push({"answer": "", "tool_calls": [BROKEN], "finish_reason": "tool_calls"})
    provider.push({"answer": "", "tool_calls": [GOOD], "finish_reason": "tool_calls"})
    reply = await caller.call()
    assert [call.arguments for call in reply.tool_calls] == ['{"at": "it"}']
    assert len(provider.requests) == 2
    provider.default = {"answer": "", "tool_calls": [BROKEN], "finish_reason": "tool_calls"}
    assert (await caller.failure()).kind is ErrorKind.INVALID_RESPONSE
    provider.default = {"answer": "", "tool_calls": [BROKEN], "finish_reason": "length"}
    assert (await caller.call()).tool_calls == ()


async def test_a_limit_between_too_little_and_too_much(caller: Caller, provider: Provider) -> None:
    """What was refused as too large is not asked for again, however much is thought."""
    thought = {"answer": "", "reasoning": "on and on ", "finish_reason": "length"}
    too_large = refusal("max_tokens: 6000 > 4096, which is the maximum allowed number of output tokens for this model")
    provider.push(thought, too_large, thought)
    reply = await caller.call(settings={"max_tokens": 3000})
    assert caller.harness.sink.actions == ["RaiseOutputLimit", "LowerOutputLimit"]
    assert (reply.text, reply.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model.",
        "`reasoning_effort` and `temperature` cannot both be specified for this model.",
    ],
)
async def test_a_value_that_is_refused(caller: Caller, provider: Provider, message: str) -> None:
    """The parameter is left out of this call, and not of those of others."""
    provider.push(refusal(message, param="reasoning_effort", code="unsupported_value"))
    await caller.call(settings={"reasoning_effort": "minimal"})
    assert "reasoning_effort" not in provider.requests[1].body
    assert caller.harness.book.learned == {}


async def test_a_role_that_a_model_does_not_have(ours: Caller, provider: Provider) -> None:
    """Its instructions lead the first user message."""
    message = "Unsupported value: 'messages[0].role' does not support 'system' with this model."
    provider.push(refusal(message, param="messages[0].role", code="unsupported_value"))
    await ours.call(messages=HISTORY)
    assert provider.requests[1].body["messages"][0]["role"] == "user"
    assert "Be brief." in provider.requests[1].body["messages"][0]["content"]


async def test_streaming_that_is_refused(caller: Caller, provider: Provider) -> None:
    """The answer is asked for in one piece."""
    provider.push(refusal("Unsupported value: 'stream' does not support true with this model.", param="stream"))
    await caller.call()
    assert [request.body.get("stream", False) for request in provider.requests] == [True, False]


async def test_an_answer_that_does_not_fit_beside_the_conversation(ours: Caller, provider: Provider) -> None:
    """The conversation stays whole; the answer may be as long as there is room."""
    message = (
        "'max_tokens' or 'max_completion_tokens' is too large: 4000. This model's maximum context length is 4096 "
        "tokens and your request has 600 input tokens (4000 > 4096 - 600)."
    )
    provider.push(refusal(message))
    conversation = (ChatMessage(Role.USER, "word " * 500),)
    await ours.call(messages=conversation, settings={"max_tokens": 4000})
    assert provider.requests[1].body["messages"] == provider.requests[0].body["messages"]
    assert 256 <= provider.requests[1].body["max_tokens"] < 4096 - 600


async def test_one_limit_is_sent(ours: Caller, provider: Provider) -> None:
    """A setting under another name than ours takes its place."""
    await ours.call(ours.model("m", max_output_tokens=900), settings={"max_completion_tokens": 300})
    limits = {name: value for name, value in provider.requests[0].body.items() if name.startswith("max_")}
    assert limits == {"max_completion_tokens": 300}
