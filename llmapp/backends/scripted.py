"""A backend that plays a script instead of asking a model: for the demo, for tests and for bug reports.

Options of an endpoint:

* `script`: a list of steps; without one the demo of `scripted_demo` is played.
* `tokens_per_second`: how fast text comes, 0 for at once. The demo's own speed is 50.
* `chars_per_token`: the size of a delta, 4 by default.

A step is an object with one of these keys; after the last one the answer ends with `finish: "stop"`,
unless the script ended it otherwise:

    {"text": "..."}  {"reasoning": "..."}          given out in deltas, at the speed of the options
    {"tool_call": {"id", "name", "arguments"}}     one whole tool call
    {"stamps": 500}                                so many tokens, or as many as the message says if that is a smaller
                                                   number; each says when it was made (`stamps`): for measuring
    {"pause": seconds}
    {"usage": {"prompt_tokens": 1, ...}}           replaces the usage that is counted otherwise
    {"finish": "stop"}                             or "length", "tool_calls", "content_filter"
    {"fail": {"status": 429, "headers": {}, "body": {}}}     the provider refuses, or fails in mid-answer
    {"cut": true}                                  the connection breaks
    {"options": {"tokens_per_second": 10}}         from here on

Deterministic, but for stamps: the same input gives the same deltas. It never says that a model had been asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from llmapp.core.errors import BackendError, ErrorFacts, ErrorKind
from llmapp.core.messages import Role
from llmapp.core.output import asks_to_go_on
from llmapp.core.stream import Delta, Finish, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, UsageDelta
from llmapp.core.usage import Usage
from llmapp.core.usage_shapes import usage_from

from .base import Backend, ModelRequest
from .scripted_demo import demo_script, rest_of
from .stamps import token

CHARS_PER_TOKEN = 4


class Scripted(Backend):
    """Plays steps."""

    supports_tools = True
    reports_usage = True

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        options = self.endpoint.options
        script = options.get("script")
        player = _Player(self.endpoint.name, request, options)
        for step in _demo(request) if script is None else script:
            async for delta in player.play(step):
                yield delta
            if player.finished:
                break
        for delta in player.end():
            yield delta


def _demo(request: ModelRequest) -> list[dict[str, Any]]:
    """Return the demo's answer, or the rest of it where it broke off."""
    if not asks_to_go_on(request.messages):
        return demo_script(last_words(request))
    shown = request.messages[-2].content
    asked = replace(request, messages=request.messages[:-2])
    return rest_of(demo_script(last_words(asked)), shown)


def last_words(request: ModelRequest) -> str:
    """Return what the person wrote last."""
    return next((m.content for m in reversed(request.messages) if m.role is Role.USER), "")


class _Player:
    """One performance."""

    def __init__(self, provider: str, request: ModelRequest, options: Mapping[str, Any]) -> None:
        self.finished = False
        self._provider = provider
        self._options = dict(options)
        self._usage: Usage | None = None
        self._asked = last_words(request)
        self._read = sum(len(m.content) for m in request.messages)
        self._written = 0
        self._thought = 0
        self._calls = 0

    async def play(self, step: Mapping[str, Any]) -> AsyncGenerator[Delta]:
        match step:
            case {"text": str(text)}:
                async for piece in self._pieces(text):
                    self._written += len(piece)
                    yield TextDelta(piece)
            case {"stamps": int(most)}:
                async for piece in self._paced(token(number) for number in range(1, self._at_most(most) + 1)):
                    self._written += len(piece)
                    yield TextDelta(piece)
            case {"reasoning": str(text)}:
                async for piece in self._pieces(text):
                    self._thought += len(piece)
                    yield ReasoningDelta(piece)
            case {"tool_call": {"name": str(name), **call}}:
                id, arguments = call.get("id", f"call_{self._calls}"), call.get("arguments", "")
                yield ToolCallDelta(self._calls, str(id), name, str(arguments))
                self._calls += 1
            case {"pause": int() | float() as seconds}:
                await asyncio.sleep(seconds)
            case {"usage": dict(usage)}:
                self._usage = usage_from(usage)
            case {"finish": str(reason)}:
                self.finished = True
                yield Finish(FinishReason(reason), reason)
            case {"options": dict(options)}:
                self._options.update(options)
            case _:
                raise self._failure(step)

    def end(self) -> list[Delta]:
        """Return what every answer ends with."""
        ending: list[Delta] = [UsageDelta(self._usage or self._counted())]
        if not self.finished:
            reason = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
            ending.append(Finish(reason, reason.value))
        return ending

    def _pieces(self, text: str) -> AsyncGenerator[str]:
        size = max(int(self._options.get("chars_per_token", CHARS_PER_TOKEN)), 1)
        return self._paced(text[at : at + size] for at in range(0, len(text), size))

    async def _paced(self, pieces: Iterable[str]) -> AsyncGenerator[str]:
        """Give pieces out at the speed of the options. Each is made when its time has come."""
        speed = float(self._options.get("tokens_per_second", 0))
        clock = asyncio.get_running_loop().time
        start = clock()
        for number, piece in enumerate(pieces, start=1):
            yield piece
            # Paced by the clock, not by the sum of sleeps, which is always late. Even at full speed others get a turn.
            await asyncio.sleep(max(start + number / speed - clock(), 0) if speed else 0)

    def _at_most(self, most: int) -> int:
        """Return the number that the message is, if it is one and a smaller one."""
        return min(int(self._asked), most) if self._asked.isdecimal() else most

    def _failure(self, step: Mapping[str, Any]) -> BackendError:
        match step:
            case {"fail": dict(said)}:
                facts = ErrorFacts(
                    provider=self._provider,
                    status=said.get("status"),
                    headers=said.get("headers", {}),
                    body=said.get("body"),
                    exception=said.get("exception"),
                )
                return BackendError(facts)
            case {"cut": _}:
                facts = ErrorFacts(provider=self._provider, exception="the script cuts the connection here")
                return BackendError(facts, ErrorKind.STREAM_INTERRUPTED)
        facts = ErrorFacts(provider=self._provider, exception=f"the script has an unknown step: {sorted(step)}")
        return BackendError(facts, ErrorKind.INVALID_REQUEST)

    def _counted(self) -> Usage:
        thought = -(-self._thought // CHARS_PER_TOKEN)
        return Usage(
            input_tokens=-(-self._read // CHARS_PER_TOKEN),
            output_tokens=-(-self._written // CHARS_PER_TOKEN) + thought,
            reasoning_tokens=thought,
        )
