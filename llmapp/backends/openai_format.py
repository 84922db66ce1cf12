"""The OpenAI chat format: what we send, and what a chunk of an answer means. Pure, no IO.

Providers that "speak OpenAI" differ in details: this file takes what any of them is known to send, and
lets nothing of the wrong type through.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Delta, Finish, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, UsageDelta
from llmapp.core.text import Mender, mend
from llmapp.core.usage import Usage

from .base import RESERVED_SETTINGS, ModelRequest

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "safety": FinishReason.CONTENT_FILTER,
    "sensitive": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.CONTENT_FILTER,
}

#: Words in the place of a finish reason that say that the answer broke off: not an end.
BREAKS = frozenset({"error", "insufficient_system_resource", "network_error", "abort", "cancelled"})


# -- what we send ---------------------------------------------------------------------------------


def request_body(request: ModelRequest, options: Mapping[str, Any], limit_name: str = "max_tokens") -> dict[str, Any]:
    """Return the JSON body. A setting wins over a default, and takes it out with None; reserved ones are skipped."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages_body(request.messages, request.system_role),
        "stream": request.streaming,
    }
    if request.streaming and options.get("stream_options", True):
        body["stream_options"] = {"include_usage": True}
    if request.max_output_tokens is not None:
        body[limit_name] = request.max_output_tokens
    if request.tools:
        body["tools"] = list(request.tools)
    body.update({name: value for name, value in request.settings.items() if name not in RESERVED_SETTINGS})
    return {name: value for name, value in body.items() if value is not None}


def messages_body(messages: tuple[ChatMessage, ...], system_role: str) -> list[dict[str, Any]]:
    """Return the history. Where the system role is "user", the instructions lead the first user message."""
    bodies = [_message_body(message, system_role) for message in messages]
    if system_role == "user":
        return _join_users(bodies)
    return bodies


def _message_body(message: ChatMessage, system_role: str) -> dict[str, Any]:
    role = system_role if message.role is Role.SYSTEM else message.role.value
    body: dict[str, Any] = {"role": role, "content": message.content}
    if message.tool_calls:
        body["content"] = message.content or None
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _join_users(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Models without a system role often insist that user and assistant take turns.
    joined: list[dict[str, Any]] = []
    for body in bodies:
        if joined and body["role"] == joined[-1]["role"] == "user":
            joined[-1]["content"] += "\n\n" + body["content"]
        else:
            joined.append(body)
    return joined


# -- what comes back ------------------------------------------------------------------------------


class ChunkReader:
    """Turns the JSON objects of one answer into deltas, streamed (`delta`) or whole (`message`).

    `saw_choices` tells whether anything looked like an answer, `finished` whether the provider said
    that it is over, `has_content` whether there was any, `broke` its word for having broken off.
    """

    def __init__(self) -> None:
        self.saw_choices = False
        self.has_content = False
        self.finished = False
        self.broke = ""
        self._text = Mender()
        self._reasoning = Mender()
        self._tools = ToolIndexes()

    def read(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """Return the deltas of a chunk: none for a ping or an unknown shape."""
        deltas: list[Delta] = []
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            self.saw_choices = True
            self._read_choice(choices[0], deltas)
        if isinstance(usage := chunk.get("usage"), Mapping):
            deltas.append(UsageDelta(usage_from(usage)))
        return deltas

    def flush(self) -> list[Delta]:
        """Return the end of what was held back: half a character."""
        deltas: list[Delta] = []
        if rest := self._reasoning.flush():
            deltas.append(ReasoningDelta(rest))
        if rest := self._text.flush():
            deltas.append(TextDelta(rest))
        return deltas

    def _read_choice(self, choice: Mapping[str, Any], deltas: list[Delta]) -> None:
        content = choice.get("delta")
        if not isinstance(content, Mapping):
            content = choice.get("message")
        if isinstance(content, Mapping):
            self._read_content(content, deltas)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason and not self.finished:
            self._read_reason(reason, deltas)

    def _read_content(self, content: Mapping[str, Any], deltas: list[Delta]) -> None:
        thought, text = split_content(content)
        if thought and (thought := self._reasoning.feed(thought)):
            deltas.append(ReasoningDelta(thought))
        if text and (text := self._text.feed(text)):
            deltas.append(TextDelta(text))
        if isinstance(calls := content.get("tool_calls"), list):
            deltas.extend(self._tools.read(calls))
        self.has_content = self.has_content or bool(deltas)

    def _read_reason(self, reason: str, deltas: list[Delta]) -> None:
        if reason.lower() in BREAKS:
            self.broke = reason
            return
        self.finished = True
        deltas.extend(self.flush())
        deltas.append(Finish(FINISH_REASONS.get(reason.lower(), FinishReason.STOP), mend(reason[:100])))


def split_content(content: Mapping[str, Any]) -> tuple[str, str]:
    """Return (reasoning, text) of a delta or message, whichever field or list of parts holds them."""
    text = content.get("content")
    thought = content.get("reasoning_content") or content.get("reasoning")
    if isinstance(text, list):
        return _split_parts(text)
    if not text:
        text = content.get("refusal")
    return (thought if isinstance(thought, str) else "", text if isinstance(text, str) else "")


def _split_parts(parts: list[Any]) -> tuple[str, str]:
    thought, text = "", ""
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            text += part["text"]
        elif part.get("type") == "thinking":
            inner = part.get("thinking")
            thought += inner if isinstance(inner, str) else _split_parts(inner)[1] if isinstance(inner, list) else ""
    return thought, text


class ToolIndexes:
    """Tells the tool calls of one answer apart, also where a provider puts two on one index."""

    def __init__(self) -> None:
        self._current: dict[object, tuple[int, str]] = {}
        self._count = 0

    def read(self, calls: list[Any]) -> Iterator[ToolCallDelta]:
        for position, call in enumerate(calls):
            if isinstance(call, Mapping):
                yield self._read_call(call, call.get("index", position))

    def _read_call(self, call: Mapping[str, Any], place: object) -> ToolCallDelta:
        id = mend(call["id"]) if isinstance(call.get("id"), str) else ""
        place = place if isinstance(place, int) else 0
        index, known = self._current.get(place, (-1, ""))
        is_new = index < 0 or bool(id and known and id != known)
        if is_new:
            index = self._count
            self._count += 1
        self._current[place] = (index, id or ("" if is_new else known))
        function = call.get("function")
        function = function if isinstance(function, Mapping) else {}
        # Some repeat the name in every delta: only the first counts.
        name = function.get("name") if is_new or not known else ""
        return ToolCallDelta(index, id, mend(name) if isinstance(name, str) else "", _arguments(function))


def _arguments(function: Mapping[str, Any]) -> str:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return mend(arguments)
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, Mapping) else ""


# -- usage ----------------------------------------------------------------------------------------


def usage_from(usage: Mapping[str, Any]) -> Usage:
    """Return the canonical form: input includes cached tokens, output includes reasoning."""
    of_input = _mapping(usage, "prompt_tokens_details", "input_tokens_details")
    of_output = _mapping(usage, "completion_tokens_details", "output_tokens_details")
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    output = _count(usage, "completion_tokens", "output_tokens")
    reasoning = _count(of_output, "reasoning_tokens")
    total = _count(usage, "total_tokens")
    if prompt is not None and output is not None and reasoning and total == prompt + output + reasoning:
        output += reasoning  # this provider counts it beside the output, not within
    cached = _count(of_input, "cached_tokens")
    written = _count(of_input, "cache_write_tokens", "cache_creation_tokens")
    return Usage(
        input_tokens=prompt,
        cached_input_tokens=cached if cached is not None else _count(usage, "prompt_cache_hit_tokens", "cached_tokens"),
        cache_write_tokens=written if written is not None else _count(usage, "cache_creation_input_tokens"),
        output_tokens=output,
        reasoning_tokens=reasoning,
    )


def _mapping(source: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((source[name] for name in names if isinstance(source.get(name), Mapping)), {})


def _count(source: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = source.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
            return value
    return None
