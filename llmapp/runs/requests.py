"""What was asked of a model, written down with its attempt, and read back.

Everything of a request is kept but the key. Messages that stand as they are stored cost a few bytes,
however long the conversation is: those that follow each other on its path are one span, {"path": the last
one's id, "count": how many}. All others (instructions, a summary, what was shortened for the model) are
written out, because nothing else has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from llmapp.backends.base import ModelRequest, Secret
from llmapp.core.messages import ChatMessage, Role, ToolCall
from llmapp.core.text import mend

from .access import as_uuid
from .thread import history

Recipe = dict[str, Any]


class Gone(Exception):
    """Messages of this request are not stored any more."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def recipe(request: ModelRequest, path: Sequence[ChatMessage]) -> Recipe:
    """Write a request down. `path` is the conversation as it is stored: what the call was asked with."""
    written = {name: value for name, value in _plain(request).items() if value not in (None, {}, [])}
    return written | {"messages": _spans(request.messages, path)}


def rebuilt(written: Mapping[str, Any]) -> ModelRequest:
    """Read a request back, as it was sent, without its key. Raises `Gone`."""
    known = {field.name for field in fields(ModelRequest)} - {"messages", "secret", "tools"}
    return ModelRequest(
        messages=tuple(message for part in written["messages"] for message in _messages_of(part)),
        secret=Secret(id=None),
        tools=tuple(written.get("tools", ())),
        **{name: value for name, value in written.items() if name in known},
    )


def _plain(request: ModelRequest) -> dict[str, Any]:
    """Return what differs from a request's defaults, as JSON has it: the model, settings, limits, tools."""
    plain: dict[str, Any] = {}
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name not in ("messages", "secret") and (field.default is MISSING or value != field.default):
            plain[field.name] = _storable(value)
    return plain


def _storable(value: Any) -> Any:
    """Return a value as JSON that a database takes: plain types, and text without halves of characters."""
    match value:
        case str():
            return mend(value)
        case Mapping():
            return {mend(str(name)): _storable(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_storable(inner) for inner in value]
        case None | bool() | int() | float():
            return value
    return mend(str(value))


def _spans(messages: Iterable[ChatMessage], path: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    places = {message.ref: place for place, message in enumerate(path) if message.ref}
    parts: list[dict[str, Any]] = []
    last: int | None = None
    for message in messages:
        place = places.get(message.ref)
        if place is None or path[place] != message:
            parts.append(_written_out(message))
            last = None
            continue
        if last is not None and place == last + 1:
            parts[-1] = {"path": message.ref, "count": parts[-1]["count"] + 1}
        else:
            parts.append({"path": message.ref, "count": 1})
        last = place
    return parts


def _written_out(message: ChatMessage) -> dict[str, Any]:
    part: dict[str, Any] = {"role": str(message.role), "content": mend(message.content)}
    if message.tool_calls:
        part["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": mend(call.arguments)} for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        part["tool_call_id"] = message.tool_call_id
    if message.thinking:
        part["thinking"] = _storable(message.thinking)
    return part


def _messages_of(part: Mapping[str, Any]) -> Sequence[ChatMessage]:
    if "path" in part:
        found = history(as_uuid(part["path"]))[-part["count"] :]
        if len(found) < part["count"]:
            raise Gone
        return found
    return [
        ChatMessage(
            Role(part["role"]),
            part["content"],
            tool_calls=tuple(ToolCall(**call) for call in part.get("tool_calls", ())),
            tool_call_id=part.get("tool_call_id"),
            thinking=tuple(part.get("thinking", ())),
        )
    ]
