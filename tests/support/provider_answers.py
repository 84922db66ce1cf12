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


def user_messages(body: dict[str, Any]) -> list[str]:
    """Return what the user said, the newest first."""
    said = [m.get("content") for m in body.get("messages", []) if m.get("role") == "user"]
    return [text for text in reversed(said) if isinstance(text, str)]


def last_user_message(body: dict[str, Any]) -> str:
    return next(iter(user_messages(body)), "")


def said_to(body: dict[str, Any], behaviour: Behaviour) -> str:
    """Return what is answered. Asked to go on with an answer of ours that was cut, it goes on: `overlap` characters
    of it again, or all of it where it is to begin `anew`.
    """
    messages = body.get("messages", [])
    before = messages[-2] if len(messages) > 1 else {}
    if before.get("role") != "assistant" or messages[-1].get("role") != "user":
        return str(behaviour.get("answer", answer_for(last_user_message(body))))
    whole = str(behaviour.get("answer", answer_for(last_user_message({"messages": messages[:-1]}))))
    partial = before.get("content") or ""
    if partial == whole or not whole.startswith(partial):
        return str(behaviour.get("answer", answer_for(last_user_message(body))))
    if behaviour.get("anew"):
        return whole
    return whole[max(len(partial) - behaviour.get("overlap", 0), 0) :]


def deltas_of(body: dict[str, Any], behaviour: Behaviour) -> Iterator[dict[str, Any]]:
    for token in tokens_of(behaviour.get("reasoning", "")):
        yield {"reasoning_content": token}
    for token in tokens_of(said_to(body, behaviour)):
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


def tokens_asked(body: dict[str, Any], behaviour: Behaviour) -> int:
    """Count the tokens of a request: by characters where it has a window, else by words."""
    texts = [str(m.get("content")) for m in body.get("messages", [])]
    if "window" in behaviour:
        return round(sum(map(len, texts)) / behaviour.get("chars_per_token", 4))
    return sum(len(tokens_of(text)) for text in texts)


def too_long(body: dict[str, Any], behaviour: Behaviour) -> Behaviour | None:
    """Return the refusal of a request that does not fit, in OpenAI's words."""
    window, asked = behaviour.get("window"), tokens_asked(body, behaviour)
    if window is None or asked <= window:
        return None
    text = (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in {asked} tokens."
        " Please reduce the length of the messages."
    )
    error = {"message": text, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    return {"status": 400, "body": {"error": error}}


def usage_of(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    asked = tokens_asked(body, behaviour)
    said = sum(1 for _ in deltas_of(body, behaviour))
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def whole_answer(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": said_to(body, behaviour),
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
