"""Our own client: what only it can do, or only it must know."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from llmapp.backends.base import Secret
from llmapp.core.errors import BackendError, ErrorKind
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Delta, FinishReason, TextDelta, UsageDelta
from tests.support.provider import Provider, answer_for

from .conftest import Asker


async def test_the_end_marker_is_an_end(ours: Asker, provider: Provider) -> None:
    """Without a finish reason `[DONE]` after content says that the answer is over."""
    provider.push({"finish_reason": None})
    assert (await ours.ask()).reply.finish_reason is FinishReason.STOP


async def test_the_end_marker_alone_is_no_answer(ours: Asker, provider: Provider) -> None:
    """Nothing was said, so nothing is over."""
    provider.push({"raw": "data: [DONE]\n\n"})
    with pytest.raises(BackendError) as caught:
        await ours.ask()
    assert caught.value.kind is ErrorKind.STREAM_INTERRUPTED


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_every_way_to_write_a_stream(ours: Asker, provider: Provider, line_end: str, framing: str) -> None:
    """Line ends and framing make no difference."""
    provider.push({"line_end": line_end, "framing": framing})
    assert (await ours.ask()).reply.text == answer_for("hi")


async def test_a_document_where_a_stream_was_asked_for(ours: Asker, provider: Provider) -> None:
    """Some providers ignore `stream`; their answer counts."""
    body = {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}
    provider.push({"status": 200, "body": body})
    assert (await ours.ask()).reply.text == "whole"


@pytest.mark.parametrize(
    "body",
    [{"choices": []}, {"choices": None}, {"id": "x"}, [], "null", "{", "", {"choices": [None]}, "[" * 3_000],
)
async def test_no_choices_in_a_document(ours: Asker, provider: Provider, body: object) -> None:
    """A document without an answer in it is an invalid response; null never becomes text."""
    provider.push({"status": 200, "body": body})
    with pytest.raises(BackendError) as caught:
        await ours.ask(streaming=False)
    assert caught.value.kind in (ErrorKind.INVALID_RESPONSE, ErrorKind.STREAM_INTERRUPTED)


async def test_null_content_is_no_text(ours: Asker, provider: Provider) -> None:
    """It is not the word None."""
    provider.push({"status": 200, "body": {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}})
    assert (await ours.ask(streaming=False)).reply.text == ""


async def test_a_usage_chunk_has_no_choices(ours: Asker, provider: Provider) -> None:
    """The last chunk, with `choices: []`, brings the usage and breaks nothing."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    provider.push({"usage": usage})
    got = (await ours.ask()).reply.usage
    assert (got.input_tokens, got.cached_input_tokens, got.output_tokens, got.reasoning_tokens) == (10, 4, 5, 3)


async def test_no_usage_is_unknown(ours: Asker, provider: Provider) -> None:
    """What the provider does not tell is not zero."""
    provider.push({"usage": False})
    assert not [d for d in await ours.deltas(ours.request()) if isinstance(d, UsageDelta)]


async def test_without_a_key(ours: Asker, provider: Provider) -> None:
    """A local server that needs no key gets none."""
    await ours.deltas(replace(ours.request(), secret=Secret(id=None)))
    assert "authorization" not in provider.requests[0].headers


@pytest.mark.parametrize("key", ["sk-bad\r\nx-evil: 1", "sk-ключ", "sk-\0"])
async def test_a_key_that_no_header_can_carry(ours: Asker, provider: Provider, key: str) -> None:
    """It is refused before anything is sent, and not quoted."""
    with pytest.raises(BackendError) as caught:
        await ours.ask(key=key)
    assert caught.value.kind is ErrorKind.AUTH
    assert key not in repr(caught.value.facts)
    assert not provider.requests


async def test_headers_are_few(ours: Asker, provider: Provider) -> None:
    """Nothing is sent that nobody asked for."""
    await ours.ask()
    sent = set(provider.requests[0].headers)
    assert sent == {
        "host", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "authorization"
    }  # fmt: skip


async def test_options_of_azure(ours: Asker, provider: Provider) -> None:
    """The API version goes into the query, the key into a header of its own."""
    ours.endpoint = replace(ours.endpoint, options={"api_version": "2026-08-01", "key_header": "api-key"})
    await ours.ask()
    request = provider.requests[0]
    assert request.path == "/v1/chat/completions?api-version=2026-08-01"
    assert request.headers["api-key"]
    assert "authorization" not in request.headers


async def test_a_setting_of_none_takes_a_parameter_out(ours: Asker, provider: Provider) -> None:
    """So does an endpoint that cannot be asked for usage."""
    ours.endpoint = replace(ours.endpoint, options={"stream_options": False, "output_limit_parameter": "max_out"})
    await ours.ask(settings={"temperature": None, "top_p": 1}, max_output_tokens=5)
    body = provider.requests[0].body
    assert "stream_options" not in body
    assert "temperature" not in body
    assert (body["top_p"], body["max_out"]) == (1, 5)


async def test_without_a_system_role(ours: Asker, provider: Provider) -> None:
    """Instructions lead the first user message, because such models insist on taking turns."""
    history = (ChatMessage(Role.SYSTEM, "be brief"), ChatMessage(Role.USER, "a"))
    await ours.ask(messages=history, system_role="user")
    assert provider.requests[0].body["messages"] == [{"role": "user", "content": "be brief\n\na"}]


async def test_a_redirect_is_not_followed(ours: Asker, provider: Provider) -> None:
    """A key does not travel to wherever an answer points."""
    provider.push({"status": 307, "headers": {"location": provider.url + "/elsewhere"}, "body": ""})
    with pytest.raises(BackendError) as caught:
        await ours.ask()
    assert (caught.value.kind, caught.value.facts.status) == (ErrorKind.INVALID_RESPONSE, 307)
    assert len(provider.requests) == 1


async def test_the_environment_is_not_asked(ours: Asker, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not for providers."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await ours.ask()).finished


async def test_a_kept_connection_that_drops_the_call(ours: Asker, provider: Provider) -> None:
    """It is asked once more on a fresh one; on a fresh one it fails."""
    await ours.ask()
    provider.push({"drop_reused": True})
    assert (await ours.ask()).finished
    assert (len(provider.requests), provider.connections) == (3, 2)
    provider.push({"bytes": ""}, {"bytes": ""}, {"bytes": ""})
    with pytest.raises(BackendError):
        await ours.ask()
    assert len(provider.requests) == 4


async def test_a_huge_refusal_is_read_in_part(ours: Asker, provider: Provider) -> None:
    """Sixty-four kilobytes of an error say enough."""
    provider.push({"status": 500, "body": "x" * 10_000_000})
    with pytest.raises(BackendError) as caught:
        await ours.ask()
    assert len(str(caught.value.facts.body)) == 64 * 1024


async def test_a_line_of_a_megabyte(ours: Asker, provider: Provider) -> None:
    """It is one delta."""
    provider.push(
        {"raw": f"data: {json.dumps({'choices': [{'delta': {'content': 'x' * 1_000_000}}]})}\n\ndata: [DONE]\n\n"}
    )
    assert len((await ours.ask()).reply.text) == 1_000_000


async def test_text_before_an_error_in_the_same_packet(ours: Asker, provider: Provider) -> None:
    """What was readable is given out first."""
    chunk = 'data: {"choices":[{"delta":{"content":"kept"}}]}\n\n'
    provider.push({"raw": chunk + 'data: {"error": {"message": "no"}}\n\n'})
    deltas: list[Delta] = []
    with pytest.raises(BackendError):
        await ours.deltas(ours.request(), into=deltas)
    assert deltas[1:] == [TextDelta("kept")]


@pytest.mark.parametrize("word", ["error", "insufficient_system_resource"])
async def test_a_finish_reason_that_is_none(ours: Asker, provider: Provider, word: str) -> None:
    """Some put their failures there."""
    provider.push({"finish_reason": word})
    with pytest.raises(BackendError) as caught:
        await ours.ask()
    assert caught.value.kind is ErrorKind.SERVER_ERROR


async def test_a_body_that_does_not_end_after_the_marker(ours: Asker, provider: Provider) -> None:
    """The answer is whole; its connection is given up instead of being waited for."""
    provider.push({"raw": 'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n', "end": "never"})
    async with asyncio.timeout(2):
        assert (await ours.ask()).finished
