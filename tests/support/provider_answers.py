"""What the loopback provider says: the same to the same message, on every run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Behaviour = dict[str, Any]

PARTS = (
    "Everything in this answer follows from your message alone, and so it is the same every time.",
    "- one item\n- another with **strong** words\n- and `code`",
    "```python\ndef answer(question: str) -> str:\n    return question[::-1]\n```",
    "| number | word |\n|---:|:---|\n| 1 | eins 🙂 |\n| 2 | 二 |",
    "> A quotation, and *that* was it.",
)


def answer_for(message: str) -> str:
    """Return the Markdown that this provider answers to `message`."""
    return "\n\n".join((f"# You said: {message[:200]}", *PARTS)) + "\n"


def tokens_of(text: str) -> list[str]:
    """Cut a text into what is sent as one delta each."""
    return re.findall(r"\S+\s*|\s+", text)


def last_user_message(body: dict[str, Any]) -> str:
    said = [m.get("content") for m in body.get("messages", []) if m.get("role") == "user"]
    return said[-1] if said and isinstance(said[-1], str) else ""


def deltas_of(body: dict[str, Any], behaviour: Behaviour) -> Iterator[dict[str, Any]]:
    for token in tokens_of(behaviour.get("reasoning", "")):
        yield {"reasoning_content": token}
    for token in tokens_of(behaviour.get("answer", answer_for(last_user_message(body)))):
        yield {"content": token}
    for call in behaviour.get("tool_calls", []):
        yield {"tool_calls": [call]}


def chunk(body: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": body.get("model", ""),
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def usage_of(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    asked = sum(len(tokens_of(str(m.get("content")))) for m in body.get("messages", []))
    said = sum(1 for _ in deltas_of(body, behaviour))
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def whole_answer(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": behaviour.get("answer", answer_for(last_user_message(body))),
    }
    if "reasoning" in behaviour:
        message["reasoning_content"] = behaviour["reasoning"]
    if "tool_calls" in behaviour:
        message["tool_calls"] = behaviour["tool_calls"]
    choice = {"index": 0, "message": message, "finish_reason": behaviour.get("finish_reason", "stop")}
    usage = behaviour.get("usage", True)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model", ""),
        "choices": [choice],
        **({"usage": usage_of(body, behaviour) if usage is True else usage} if usage else {}),
    }
