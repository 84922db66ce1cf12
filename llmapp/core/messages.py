"""The conversation as a model sees it: pure values, without identity of storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One entry of the history that is sent to a model."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    #: Blocks of signed thinking, as a provider sent them and wants them back.
    thinking: tuple[Mapping[str, Any], ...] = ()
    #: Where it is stored. Empty for what only a request has: instructions, a summary, a wish to go on.
    ref: str = field(default="", compare=False)
