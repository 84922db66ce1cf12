"""The OpenAI chat format: what we send, and what a chunk of an answer means. Pure, no IO.

Providers that "speak OpenAI" differ in details: this file takes what any of them is known to send, and
lets nothing of the wrong type through.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from llmapp.core.messages import ChatMessage, Role
from llmapp.core.stream import Delta, Finish, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, UsageDelta
from llmapp.core.text import Mender, mend
from llmapp.core.usage_shapes import cost_stated, usage_from

from .base import OUTPUT_LIMITS, RESERVED_SETTINGS, ModelRequest

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


def request_body(
    request: ModelRequest, options: Mapping[str, Any], limit_name: str = "max_tokens", *, thinking: bool = False
) -> dict[str, Any]:
    """Return the JSON body. A setting wins over a default, and takes it out with None; reserved ones are skipped.

    `thinking`: send the blocks of signed thinking along, for who knows what to do with them.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages_body(request.messages, request.system_role, thinking=thinking),
        "stream": request.streaming,
    }
    if request.streaming and options.get("stream_options", True):
        body["stream_options"] = {"include_usage": True}
    # Two limits, under two names, are refused: the setting's counts.
    if request.max_output_tokens is not None and not OUTPUT_LIMITS & request.settings.keys():
        body[limit_name] = request.max_output_tokens
    if request.tools:
        body["tools"] = list(request.tools)
    body.update({name: value for name, value in request.settings.items() if name not in RESERVED_SETTINGS})
    body = {request.renamed.get(name, name): value for name, value in body.items() if value is not None}
    return {name: value for name, value in body.items() if name not in request.dropped}


def limit_name(base_url: str, options: Mapping[str, Any]) -> str:
    """Return what the output limit is called there."""
    default = "max_completion_tokens" if urlsplit(base_url).hostname == "api.openai.com" else "max_tokens"
    return str(options.get("output_limit_parameter", default))


def messages_body(
    messages: tuple[ChatMessage, ...], system_role: str, *, thinking: bool = False
) -> list[dict[str, Any]]:
    """Return the history. Where the system role is "user", the instructions lead the first user message."""
    bodies = [_message_body(message, system_role) for message in messages]
    if thinking:
        for body, message in zip(bodies, messages, strict=True):
            if message.thinking:
                body["thinking_blocks"] = [dict(block) for block in message.thinking]
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
        if (usage := _usage_of(chunk)) is not None:
            deltas.append(UsageDelta(usage_from(usage), cost_stated(usage)))
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


def _usage_of(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the usage of a chunk, where it is or, with some, inside the choice or an extension."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for place in (chunk, choice, chunk.get("x_groq")):
        if isinstance(place, Mapping) and isinstance(usage := place.get("usage"), Mapping):
            return usage
    return None


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
