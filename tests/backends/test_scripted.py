"""The backend that plays a script, and the demo that it plays without one."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from llmapp.backends.base import Endpoint, ModelRequest, Secret
from llmapp.backends.scripted import Scripted
from llmapp.backends.scripted_demo import PLAYS, demo_script, rest_of
from llmapp.backends.stamps import FOUND, age, now
from llmapp.core.classify import classify
from llmapp.core.errors import BackendError, ErrorKind
from llmapp.core.messages import ChatMessage, Role
from llmapp.core.output import asks_to_go_on, continuation
from llmapp.core.stream import (
    Delta,
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from llmapp.core.usage import Usage


async def play(text: str = "hi", **options: Any) -> list[Delta]:
    endpoint = Endpoint(id=1, version=1, name="demo", backend="scripted", options=options)
    request = ModelRequest(model="demo", messages=(ChatMessage(Role.USER, text),), secret=Secret(id=None))
    return [delta async for delta in Scripted(endpoint).stream(request)]


async def test_a_script() -> None:
    """Each step gives its deltas; the end is added."""
    assert await play(
        script=[
            {"reasoning": "hm"},
            {"text": "abcdefg"},
            {"tool_call": {"id": "c", "name": "f", "arguments": "{}"}},
            {"usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        ]
    ) == [
        ReasoningDelta("hm"),
        TextDelta("abcd"),
        TextDelta("efg"),
        ToolCallDelta(0, "c", "f", "{}"),
        UsageDelta(Usage(input_tokens=3, output_tokens=4)),
        Finish(FinishReason.TOOL_CALLS, "tool_calls"),
    ]


@pytest.mark.parametrize("said, count", [("go", 3), ("2", 2), ("5", 3), ("0", 0), ("²", 3), ("-1", 3)])
async def test_stamps_say_when_they_were_made(said: str, count: int) -> None:
    """As many as the message says, at most as many as the script does; each is made when its time has come."""
    deltas = await play(said, script=[{"stamps": 3}], tokens_per_second=50)
    texts = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
    ages = [age(FOUND.findall(text.encode())[0], now()) for text in texts]
    assert len(ages) == count
    assert all(earlier - later > 10_000 for earlier, later in pairwise(ages))


async def test_usage_is_counted_where_none_is_scripted() -> None:
    """A token is about four characters."""
    assert (await play("12345678", script=[{"text": "123456789"}]))[-2] == UsageDelta(
        Usage(input_tokens=2, output_tokens=3, reasoning_tokens=0)
    )


async def test_a_finish_ends_the_script() -> None:
    """What follows it is not played."""
    deltas = await play(script=[{"text": "a"}, {"finish": "length"}, {"text": "b"}])
    assert [d for d in deltas if isinstance(d, TextDelta)] == [TextDelta("a")]
    assert Finish(FinishReason.LENGTH, "length") in deltas


@pytest.mark.parametrize(
    "step, kind",
    [
        ({"fail": {"status": 429, "headers": {"retry-after": "7"}}}, ErrorKind.RATE_LIMIT),
        ({"fail": {"body": {"error": {"code": "context_length_exceeded"}}}}, ErrorKind.CONTEXT_OVERFLOW),
        ({"cut": True}, ErrorKind.STREAM_INTERRUPTED),
        ({"nonsense": 1}, ErrorKind.INVALID_REQUEST),
    ],
)
async def test_failures(step: dict[str, Any], kind: ErrorKind) -> None:
    """A script can fail as a provider fails."""
    with pytest.raises(BackendError) as caught:
        await play(script=[{"text": "a"}, step])
    assert (caught.value.kind or classify(caught.value.facts).kind) is kind


async def test_speed_and_pauses() -> None:
    """Tokens come at the speed that the options say."""
    start = time.monotonic()
    await play(script=[{"pause": 0.1}, {"text": "x" * 40}], tokens_per_second=50)
    assert 0.3 <= time.monotonic() - start < 0.6


@pytest.mark.parametrize("word", ["", *PLAYS])
def test_the_demo_says_what_it_is(word: str) -> None:
    """Every demo answer begins by saying that no model was asked, and is the same every time."""
    script = demo_script(f"show me {word}, please")
    texts = [step["text"] for step in script if "text" in step]
    assert all("no model was asked" in text for text in texts[:1])
    assert texts or word == "error"
    assert script == demo_script(f"show me {word}, please")


@pytest.mark.parametrize("word, length", [("", range(1_000, 1_800)), ("long", range(5_000, 7_000))])
def test_the_demo_has_its_length(word: str, length: range) -> None:
    """Long enough to be watched, and longer when that is wished."""
    assert sum(len(step.get("text", "")) for step in demo_script(word)) in length


def test_the_demo_quotes_harmlessly() -> None:
    """What the person wrote cannot change the answer's Markdown."""
    text = next(step["text"] for step in demo_script("# <b>*a*</b>\n\n```\nx") if "text" in step)
    assert r"You wrote: \# \<b\>\*a\*\</b\> \`\`\` x" in text


async def test_the_demo_error_is_not_tried_again() -> None:
    """It is of a kind that ends the call at once."""
    with pytest.raises(BackendError) as caught:
        await play("error")
    assert classify(caught.value.facts).kind is ErrorKind.INVALID_REQUEST


async def test_the_demo_goes_on_where_it_broke_off() -> None:
    """Asked to go on, it says the rest, and quotes nothing of that request."""
    endpoint = Endpoint(id=1, version=1, name="demo", backend="scripted")
    asked = (ChatMessage(Role.USER, "cut"),)
    said: list[str] = []

    async def say(messages: tuple[ChatMessage, ...]) -> None:
        request = ModelRequest(model="demo", messages=messages, secret=Secret(id=None))
        async for delta in Scripted(endpoint).stream(request):
            said.extend([delta.text] if isinstance(delta, TextDelta) else [])

    with pytest.raises(BackendError):
        await say(asked)
    shown = "".join(said)
    assert asks_to_go_on((*asked, *continuation(shown)))
    assert not asks_to_go_on(asked)
    await say((*asked, *continuation(shown)))
    assert "".join(said) == "".join(step.get("text", "") for step in demo_script("cut"))


@pytest.mark.parametrize("length", [0, 1, 40, 300])
def test_the_rest_of_a_script_is_what_was_not_shown(length: int) -> None:
    whole = "".join(step.get("text", "") for step in demo_script("long"))
    rest = rest_of(demo_script("long"), whole[:length])
    assert "".join(step.get("text", "") for step in rest) == whole[length:]


@pytest.mark.parametrize("word, first", [("think", "reasoning"), ("slow", "pause"), ("code", "text")])
def test_words_choose(word: str, first: str) -> None:
    """A word in the message chooses what is shown."""
    assert first in demo_script(word.upper())[1]
