"""Both HTTP backends against a real socket: what they must have in common."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from llmapp.backends import Clients
from llmapp.core.classify import classify
from llmapp.core.errors import BackendError, ErrorKind
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Delta, FinishReason, Head, TextDelta
from llmapp.core.usage import Usage
from tests.support.provider import NAMED, Provider, answer_for, tokens_of

from .conftest import KEY, Asker

LONG = {"answer": "word " * 2_000, "tokens_per_second": 50}


async def test_an_answer_arrives_whole(asker: Asker, provider: Provider) -> None:
    """Text, usage and the finish reason are what the provider sent."""
    received = await asker.ask(text="Grüße 🙂")
    assert received.reply.text == answer_for("Grüße 🙂")
    assert received.reply.finish_reason is FinishReason.STOP
    assert received.reply.usage == Usage(input_tokens=2, output_tokens=len(tokens_of(received.reply.text)))
    assert provider.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert provider.requests[0].body["stream_options"] == {"include_usage": True}


async def test_it_arrives_as_it_is_said(asker: Asker, provider: Provider) -> None:
    """The first token is there long before the last."""
    await asker.ask()  # whatever has to be imported is imported now
    provider.push({"answer": "one two three four", "tokens_per_second": 10})
    start, first = time.monotonic(), None
    async for delta in asker.clients.get(asker.endpoint).stream(asker.request()):
        first = first or (time.monotonic() - start if isinstance(delta, TextDelta) else None)
    assert first is not None
    assert first < 0.15 < 0.3 <= time.monotonic() - start


async def test_not_streamed(asker: Asker, provider: Provider) -> None:
    """An answer in one piece gives the same reply."""
    provider.push({"reasoning": "hm "})
    reply = (await asker.ask(streaming=False)).reply
    assert (reply.text, reply.reasoning, reply.finish_reason) == (answer_for("hi"), "hm ", FinishReason.STOP)
    assert reply.usage.input_tokens == 1
    assert provider.requests[0].body["stream"] is False if "stream" in provider.requests[0].body else True


async def test_reasoning_is_no_text(asker: Asker, provider: Provider) -> None:
    """Thoughts come apart from the answer."""
    reply = (await asker.ask("thinks")).reply
    assert reply.reasoning == "First I look at it from all sides. "
    assert reply.text == answer_for("hi")


async def test_tool_calls(asker: Asker, provider: Provider) -> None:
    """Pieces of two calls add up to two calls."""
    pieces = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x"'}},
        {"index": 0, "function": {"arguments": ": 1}"}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    provider.push({"answer": "", "tool_calls": pieces, "finish_reason": "tool_calls"})
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    reply = (await asker.ask(tools=(tool,))).reply
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("a", "f", '{"x": 1}'),
        ("b", "g", "{}"),
    ]
    assert reply.finish_reason is FinishReason.TOOL_CALLS
    assert provider.requests[0].body["tools"] == [tool]


async def test_what_is_sent(asker: Asker, provider: Provider) -> None:
    """History, settings, limit and the provider's own headers reach it."""
    asker.endpoint = replace(asker.endpoint, headers={"X-Team": "blue"})
    history = (
        ChatMessage(Role.SYSTEM, "be brief"),
        ChatMessage(Role.USER, "a"),
        ChatMessage(Role.ASSISTANT, "b"),
        ChatMessage(Role.USER, "c"),
    )
    await asker.ask(messages=history, settings={"temperature": 0.2}, max_output_tokens=99)
    request = provider.requests[0]
    assert [(m["role"], m["content"]) for m in request.body["messages"]] == [
        ("system", "be brief"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert (request.body["temperature"], request.body["max_tokens"]) == (0.2, 99)
    assert (request.body["model"], request.path) == ("m", "/v1/chat/completions")
    assert request.headers["x-team"] == "blue"


THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
THOUGHTFUL = (
    ChatMessage(Role.USER, "a"),
    ChatMessage(Role.ASSISTANT, "b", thinking=(THOUGHT,)),
    ChatMessage(Role.USER, "c"),
)


async def test_signed_thinking_is_sent_by_litellm_only(asker: Asker, provider: Provider) -> None:
    """An endpoint that speaks the OpenAI format would refuse what it does not know."""
    await asker.ask(messages=THOUGHTFUL)
    sent = [message.get("thinking_blocks") for message in provider.requests[0].body["messages"]]
    assert sent == ([None, [THOUGHT], None] if asker.endpoint.backend == "litellm" else [None, None, None])


async def test_signed_thinking_reaches_who_signed_it(clients: Clients, provider: Provider) -> None:
    """As that provider wants it back: in front of the text."""
    asker = Asker(clients, provider, "litellm")
    asker.endpoint, asker.prefix = replace(asker.endpoint, base_url=provider.url.removesuffix("/v1")), "anthropic/"
    settings = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    provider.push({"status": 400, "body": {"error": {"message": "what answers here is no Anthropic"}}})
    with pytest.raises(BackendError):
        await asker.ask("claude-3-7-sonnet-20250219", messages=THOUGHTFUL, settings=settings, max_output_tokens=2048)
    request = provider.requests[0]
    assert request.path == "/v1/messages"
    assert request.body["messages"][1]["content"] == [THOUGHT, {"type": "text", "text": "b"}]


async def test_settings_cannot_replace_what_is_asked(asker: Asker, provider: Provider) -> None:
    """Not the model, not the history, not the way, and not the place."""
    settings = {"model": "other", "messages": [], "stream": False, "stream_options": None, "tools": [1], "seed": 7}
    await asker.ask(settings={**settings, "api_base": "http://127.0.0.1:1/v1", "api_key": "sk-other"})
    request = provider.requests[0]
    assert (request.body["model"], request.body["stream"], request.body["seed"]) == ("m", True, 7)
    assert request.body["messages"]
    assert request.body["stream_options"] == {"include_usage": True}
    assert not {"tools", "api_base", "api_key"} & request.body.keys()
    assert "sk-other" not in str(request.headers)


FAULTS: list[tuple[str, dict[str, Any], ErrorKind]] = [
    # refusals
    ("401", {"status": 401, "body": {"error": {"message": "no", "code": "invalid_api_key"}}}, ErrorKind.AUTH),
    ("429", {"status": 429, "body": {"error": {"message": "slow down"}}}, ErrorKind.RATE_LIMIT),
    ("404", {"status": 404, "body": {"error": {"code": "model_not_found"}}}, ErrorKind.MODEL_NOT_FOUND),
    ("500", {"status": 500, "body": {"error": {"message": "internal error"}}}, ErrorKind.SERVER_ERROR),
    ("503", {"status": 503, "body": {"error": {"message": "overloaded"}}}, ErrorKind.OVERLOADED),
    ("html 502", {"status": 502, "body": "<html>Bad Gateway</html>"}, ErrorKind.SERVER_ERROR),
    # no answer at all
    (
        "html 200",
        NAMED["html"],
        ErrorKind.INVALID_RESPONSE,
    ),
    ("bad json", {"raw": 'data: {"choices": [{"delta\n\ndata: [DONE]\n\n'}, ErrorKind.INVALID_RESPONSE),
    ("no choices", {"raw": 'data: {"id": "x"}\n\ndata: [DONE]\n\n'}, ErrorKind.INVALID_RESPONSE),
    ("garbage", {"bytes": "SSH-2.0-OpenSSH_9.6\r\n\r\n"}, ErrorKind.INVALID_RESPONSE),
    ("dropped", {"bytes": ""}, ErrorKind.CONNECTION),
    # broken off
    ("fin", {"stop_after": 3, "end": "fin"}, ErrorKind.STREAM_INTERRUPTED),
    ("rst", {"stop_after": 3, "end": "rst"}, ErrorKind.STREAM_INTERRUPTED),
    ("short length", {"stop_after": 3, "end": "fin", "framing": "length"}, ErrorKind.STREAM_INTERRUPTED),
    ("until close", {"stop_after": 3, "end": "fin", "framing": "close"}, ErrorKind.STREAM_INTERRUPTED),
    ("clean end", {"stop_after": 3}, ErrorKind.STREAM_INTERRUPTED),
    ("no end", {"finish_reason": None, "done": False}, ErrorKind.STREAM_INTERRUPTED),
    # an error within the stream
    ("error", {"error_after": [3, {"message": "x", "type": "overloaded_error"}]}, ErrorKind.OVERLOADED),
]


@pytest.mark.parametrize("fault, kind", [pytest.param(f, k, id=name) for name, f, k in FAULTS])
async def test_faults(asker: Asker, provider: Provider, fault: dict[str, Any], kind: ErrorKind) -> None:
    """Each fault leaves as a BackendError of its kind, after the text that came before it, and never as an answer."""
    provider.push(fault)
    deltas: list[Delta] = []
    with pytest.raises(BackendError) as caught:
        await asker.deltas(asker.request(), into=deltas)
    error = caught.value
    assert (error.kind or classify(error.facts).kind) is kind
    assert error.facts.provider == "loopback"
    text = "".join(d.text for d in deltas if isinstance(d, TextDelta))
    assert answer_for("hi").startswith(text)
    if "stop_after" in fault or "error_after" in fault:
        assert text == "".join(tokens_of(answer_for("hi"))[:3])


async def test_nobody_listens(asker: Asker) -> None:
    """A refused connection is a connection failure."""
    asker.endpoint = replace(asker.endpoint, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(BackendError) as caught:
        await asker.ask()
    assert caught.value.kind is ErrorKind.CONNECTION


@pytest.mark.parametrize("late", ["", 'data: {"error": {"message": "late"}}\n\n', "data: {nonsense\n\n"])
@pytest.mark.parametrize("end", ["clean", "fin", "rst"])
async def test_a_late_error_does_not_spoil_a_whole_answer(
    asker: Asker, provider: Provider, end: str, late: str
) -> None:
    """After the finish reason the answer is whole, whatever happens to the connection."""
    finish = '{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'
    body = f'data: {{"choices": [{{"index": 0, "delta": {{"content": "whole"}}}}]}}\n\ndata: {finish}\n\n'
    provider.push({"raw": body + late, "end": end})
    reply = (await asker.ask()).reply
    assert (reply.text, reply.finish_reason) == ("whole", FinishReason.STOP)


async def test_facts_of_a_refusal(asker: Asker, provider: Provider) -> None:
    """Status, headers and body reach the classifier as the provider sent them."""
    body = {"error": {"message": "slow down", "type": "tokens"}}
    provider.push({"status": 429, "headers": {"Retry-After": "7", "Set-Cookie": "a=b"}, "body": body})
    with pytest.raises(BackendError) as caught:
        await asker.ask()
    facts = caught.value.facts
    assert (facts.status, facts.headers["retry-after"], facts.body) == (429, "7", body)
    assert "set-cookie" not in facts.headers
    assert classify(facts).retry_after == 7


async def test_20_calls_use_at_most_2_connections(asker: Asker, provider: Provider) -> None:
    """Connections are kept and used again, whether the answer ended with an end marker or without."""
    for number in range(20):
        # The end of a body often comes a moment after its last event.
        provider.push({"done": number % 2 == 0, "end_delay": 0.01 * (number % 3)})
        assert (await asker.ask()).finished
    assert len(provider.requests) == 20
    assert provider.connections <= 2


async def test_100_streams_at_once(asker: Asker, provider: Provider) -> None:
    """No stream waits for another one's connection."""
    provider.default = {"answer": "a b c d e f g h", "tokens_per_second": 8}
    asker.endpoint = replace(asker.endpoint, concurrency=120)
    count = 100 if asker.prefix == "" else 20  # litellm is slow
    await asker.ask()
    start = time.monotonic()
    replies = await asyncio.gather(*(asker.ask() for _ in range(count)))
    assert all(received.finished for received in replies)
    assert time.monotonic() - start < 4
    assert provider.connections >= count


async def test_a_cookie_never_comes_back(asker: Asker, provider: Provider) -> None:
    """What a provider sets in one call is not sent in the next, which is another user's."""
    # By name, because cookie jars distrust addresses.
    asker.endpoint = replace(asker.endpoint, base_url=provider.url.replace("127.0.0.1", "localhost"))
    for _ in range(3):
        await asker.ask("cookie")
    assert [request.headers.get("cookie") for request in provider.requests] == [None] * 3


async def test_keys_do_not_stay(asker: Asker, provider: Provider) -> None:
    """Each call carries its own key, also over the same connection."""
    for key in ("sk-first-key", "sk-second-key", "sk-first-key"):
        await asker.ask(key=key)
    sent = [request.headers["authorization"] for request in provider.requests]
    assert sent == ["Bearer sk-first-key", "Bearer sk-second-key", "Bearer sk-first-key"]


@pytest.mark.parametrize("way", ["cancel", "close"])
async def test_cancelling_closes_the_socket(asker: Asker, provider: Provider, way: str) -> None:
    """The provider sees it within a second, so that it stops to produce what nobody reads."""
    await asker.ask()
    provider.push(LONG)
    arrived = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            arrived.set()

    stream = asker.clients.get(asker.endpoint).stream(asker.request())
    if way == "cancel":
        task = asyncio.create_task(read())
        await arrived.wait()
        stopped = time.time()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
    else:
        while not isinstance(await anext(stream), TextDelta):
            pass
        stopped = time.time()
    await stream.aclose()
    closed = await asyncio.to_thread(provider.wait_closed)
    assert closed.closed_at is not None
    assert closed.closed_at - stopped < 1


async def test_a_head_alone_may_be_taken(asker: Asker, provider: Provider) -> None:
    """Who goes away after it closes the socket too."""
    provider.push(LONG)
    stream = asker.clients.get(asker.endpoint).stream(asker.request())
    assert isinstance(await anext(stream), Head)
    await stream.aclose()
    assert (await asyncio.to_thread(provider.wait_closed)).closed_at is not None


async def test_the_key_is_in_no_error(asker: Asker, provider: Provider) -> None:
    """Not even where the provider quotes it in header and body."""
    provider.push({"echo_key": True})
    with pytest.raises(BackendError) as caught:
        await asker.ask()
    facts = caught.value.facts
    assert "[key]" in str(facts.body)
    assert KEY not in repr((caught.value, facts, caught.value.__cause__))


async def test_half_an_emoji(asker: Asker, provider: Provider) -> None:
    """A character that is cut in two is whole when it leaves, and lone halves and NULs are replaced."""
    pieces = ["a", "\\ud83d", "\\ude00", "b\\u0000", "\\ud83d"]
    chunks = [f'data: {{"choices":[{{"index":0,"delta":{{"content":"{piece}"}}}}]}}\n\n' for piece in pieces]
    end = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    provider.push({"raw": "".join(chunks) + end})
    assert (await asker.ask()).reply.text == "a😀b\ufffd\ufffd"


async def test_bytes_may_be_cut_anywhere(asker: Asker, provider: Provider) -> None:
    """UTF-8, JSON and line ends in single bytes give the same text."""
    provider.push({"cut_bytes": 1, "line_end": "\r\n", "answer": "Grüße 🙂\n"})
    assert (await asker.ask()).reply.text == "Grüße 🙂\n"


async def test_an_idle_connection_that_was_closed(asker: Asker, provider: Provider) -> None:
    """A call that never reached the provider is not failed by a connection that had gone stale."""
    await asker.ask()
    await asyncio.to_thread(provider.close_idle)
    assert (await asker.ask()).finished


async def test_several_connections_that_are_dropped_when_they_are_used(asker: Asker, provider: Provider) -> None:
    """After the first of them a call takes a new one, and reaches the provider."""
    provider.push(*[{"tokens_per_second": 100}] * 4)
    await asyncio.gather(*(asker.ask() for _ in range(4)))
    used, asked = provider.connections, len(provider.requests)
    provider.push(*[{"drop_reused": True}] * 2)
    assert (await asker.ask()).finished
    assert (provider.connections - used, len(provider.requests) - asked) == (1, 2)


async def test_closing_closes(asker: Asker, provider: Provider) -> None:
    """After `aclose` nothing is left open at the provider."""
    await asker.ask()
    await asker.clients.aclose()
    for _ in range(100):
        if not provider.open:
            break
        await asyncio.sleep(0.01)
    assert not provider.open


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_head_comes_first(asker: Asker, provider: Provider, streaming: bool) -> None:
    """Status and limits are known before anything of the answer, without cookies and without the key."""
    headers = {"X-RateLimit-Remaining-Requests": "0", "Set-Cookie": "a=b", "X-Echo": f"key {KEY}"}
    provider.push({"headers": headers})
    head, *rest = await asker.deltas(asker.request(streaming=streaming))
    assert isinstance(head, Head)
    assert head.status == 200
    assert head.headers["x-ratelimit-remaining-requests"] == "0"
    assert "set-cookie" not in head.headers
    assert KEY not in repr(head)
    assert not any(isinstance(delta, Head) for delta in rest)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_stated_cost_is_kept(asker: Asker, provider: Provider, streaming: bool) -> None:
    """It is the provider's own, and to the last digit."""
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "cost": 0.00014}
    provider.push({"usage": usage})
    reply = (await asker.ask(streaming=streaming)).reply
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 5)
    assert reply.stated_cost == Decimal("0.00014")


async def test_usage_by_a_translator_counts_nothing_twice(clients: Clients, provider: Provider) -> None:
    """Anthropic leaves the cached tokens out of the input, and litellm adds them: the input has each once."""
    asker = Asker(clients, provider, "litellm")
    asker.prefix = "anthropic/"
    provider.push({"raw": ANTHROPIC})
    reply = (await asker.ask("claude-3-5-haiku-20241022")).reply
    assert reply.text == "Hi"
    assert reply.finish_reason is FinishReason.STOP
    counts = reply.usage.to_dict() | {"reasoning_tokens": None}
    assert (
        counts
        == Usage(input_tokens=6021, cached_input_tokens=5000, cache_write_tokens=1000, output_tokens=393).to_dict()
    )


ANTHROPIC = "".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    for event in (
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude",
                "content": [],
                "usage": {
                    "input_tokens": 21,
                    "cache_creation_input_tokens": 1000,
                    "cache_read_input_tokens": 5000,
                    "output_tokens": 1,
                },
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 393}},
        {"type": "message_stop"},
    )
)
