"""The way from a message up to the start of its conversation."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from llmapp.core.messages import ChatMessage, Role
from llmapp.models import Conversation, Message


def path_to(conversation: Conversation, leaf_id: uuid.UUID | None) -> list[Message]:
    """Return the messages from the first one to `leaf_id`, with two queries' worth of work at most."""
    nodes = {m.id: m for m in Message.objects.filter(conversation=conversation).select_related("run").defer("html")}
    path: list[Message] = []
    while leaf_id is not None and (node := nodes.get(leaf_id)) is not None:
        path.append(node)
        leaf_id = node.parent_id
    return path[::-1]


def as_history(messages: Iterable[Message]) -> tuple[ChatMessage, ...]:
    """Return what a model is told of these messages. Empty answers are left out: providers refuse them."""
    return tuple(ChatMessage(Role(m.role), m.text) for m in messages if m.text)


def as_snapshot(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return the messages as AG-UI clients hold them."""
    return [{"id": m.public_id, "role": m.role, "content": m.text} for m in messages]
