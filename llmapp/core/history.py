"""What a history must look like before it is sent to a model, whatever was stored.

`canonical` makes it so before every request, and `problems` names what would be wrong. The rules:

1. Instructions come first, as one message: many models refuse a second one.
2. A message has content. An assistant message with tool calls may have none.
3. Text is valid Unicode. The arguments of a call are a JSON object, and it has a name.
4. A call's results stand directly behind its message, in the order of the calls: one for each, and none without a call.
5. The id of a call is there once. Within a message the second call with an id is dropped; in a later message, where
   a provider began to count anew, it gets another id, and so does its result.
6. Only answers have calls and thinking, and only results name a call.

`repaired` goes further, for a provider that refused the history: the roles take turns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .messages import ChatMessage, Role, ToolCall
from .text import mend

#: In the place of what was not recorded, so that each call has a result.
NO_RESULT = "(No result was recorded for this call.)"
NO_OUTPUT = "(The result was empty.)"
NO_ANSWER = "(No answer was recorded here.)"
NO_BEGINNING = "(The beginning of this conversation is not here.)"
GO_ON = "(Please go on.)"


def canonical(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Return the messages as they may be sent. Changes nothing about a history that has no problem."""
    instructions = [_plain(m) for m in messages if m.role is Role.SYSTEM and m.content.strip()]
    if len(instructions) > 1:
        instructions = [ChatMessage(Role.SYSTEM, "\n\n".join(m.content for m in instructions))]
    return (*instructions, *_in_pairs([m for m in messages if m.role is not Role.SYSTEM]))


def repaired(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Return a history that the strictest provider takes.

    Neighbours of one role are one message, the first is a user message and the last one the user's or a result,
    and nothing of the thinking is left.
    """
    clean = canonical(without_thinking(messages))
    leading, conversation = clean[:1], clean[1:]
    if not leading or leading[0].role is not Role.SYSTEM:
        leading, conversation = (), clean
    if not conversation:
        return leading
    if conversation[0].role is not Role.USER:
        conversation = (ChatMessage(Role.USER, NO_BEGINNING), *conversation)
    turns = list(_taking_turns(conversation))
    if turns[-1].role is Role.ASSISTANT:
        turns.append(ChatMessage(Role.USER, GO_ON))
    return (*leading, *turns)


def without_thinking(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Return copies without thinking: what a model that never thought it, or an expired signature, needs."""
    return tuple(replace(message, thinking=()) if message.thinking else message for message in messages)


# -- one message ------------------------------------------------------------------------------------


def _plain(message: ChatMessage) -> ChatMessage:
    """Return a message with valid text, and without what its role does not have."""
    content = mend(message.content)
    nothing_else = not message.tool_calls and message.tool_call_id is None and not message.thinking
    if nothing_else and content == message.content and not content.isspace():
        return message  # as nearly all are
    is_answer, is_result = message.role is Role.ASSISTANT, message.role is Role.TOOL
    if is_answer and not content.strip():
        content = ""
    wanted = replace(
        message,
        content=content,
        tool_calls=tuple(_calls(message.tool_calls)) if is_answer else (),
        tool_call_id=message.tool_call_id if is_result else None,
        thinking=message.thinking if is_answer else (),
    )
    return message if wanted == message else wanted


def _calls(calls: Iterable[ToolCall]) -> Iterator[ToolCall]:
    seen: set[str] = set()
    for call in calls:
        clean = ToolCall(mend(call.id), mend(call.name), mend(call.arguments))
        if clean.name.strip() and (clean.id not in seen or not clean.id):
            seen.add(clean.id)
            yield clean if is_object(clean.arguments) else replace(clean, arguments="{}")


def is_object(arguments: str) -> bool:
    """Say whether the arguments of a tool call are what they must be: a JSON object."""
    try:
        return isinstance(json.loads(arguments, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> None:
    """Python reads NaN and Infinity, which are no JSON."""
    raise ValueError(constant)


# -- calls and their results ------------------------------------------------------------------------


@dataclass(slots=True)
class _Turn:
    """A message, and the results of its calls: known id -> result."""

    message: ChatMessage
    results: dict[str, ChatMessage]


def _in_pairs(messages: Sequence[ChatMessage]) -> Iterator[ChatMessage]:
    taken: set[str] = set()
    for turn in _turns(messages):
        message = turn.message
        if not message.tool_calls:
            yield message
            continue
        ids = [_free(call.id, taken) for call in message.tool_calls]
        calls = tuple(_named(call, id) for call, id in zip(message.tool_calls, ids, strict=True))
        yield message if calls == message.tool_calls else replace(message, tool_calls=calls)
        for call, id in zip(message.tool_calls, ids, strict=True):
            yield _result(turn.results.get(call.id), id)


def _turns(messages: Sequence[ChatMessage]) -> list[_Turn]:
    turns: list[_Turn] = []
    asked: dict[str, _Turn] = {}
    for message in map(_plain, messages):
        if message.role is Role.TOOL:
            id = mend(message.tool_call_id or "")
            if id in asked:
                asked[id].results.setdefault(id, message)
        elif message.content.strip() or message.tool_calls:
            turns.append(_Turn(message, {}))
            asked |= {call.id: turns[-1] for call in message.tool_calls}
    return turns


def _free(id: str, taken: set[str]) -> str:
    """Return an id that no call before has, and take it."""
    wanted, number = id or "call", 1
    while not id or wanted in taken:
        number += 1
        wanted = f"{id or 'call'}_{number}"
        if wanted not in taken:
            break
    taken.add(wanted)
    return wanted


def _named(call: ToolCall, id: str) -> ToolCall:
    return call if call.id == id else replace(call, id=id)


def _result(found: ChatMessage | None, id: str) -> ChatMessage:
    if found is None:
        return ChatMessage(Role.TOOL, NO_RESULT, tool_call_id=id)
    content = found.content if found.content.strip() else NO_OUTPUT
    if (found.content, found.tool_call_id) == (content, id):
        return found
    return replace(found, content=content, tool_call_id=id)


# -- taking turns -----------------------------------------------------------------------------------


def _taking_turns(conversation: Sequence[ChatMessage]) -> Iterator[ChatMessage]:
    held = conversation[0]
    for message in conversation[1:]:
        if message.role is held.role and message.role is not Role.TOOL:
            held = _joined(held, message)
            continue
        yield held
        if held.role is Role.TOOL and message.role is Role.USER:
            yield ChatMessage(Role.ASSISTANT, NO_ANSWER)
        held = message
    yield held


def _joined(first: ChatMessage, second: ChatMessage) -> ChatMessage:
    content = "\n\n".join(text for text in (first.content, second.content) if text)
    return replace(first, content=content, tool_calls=first.tool_calls + second.tool_calls, ref=second.ref)


# -- the strict validator ---------------------------------------------------------------------------


def problems(messages: Sequence[ChatMessage]) -> list[str]:
    """Return a sentence for each thing that is wrong. Empty: it may be sent."""
    found: list[str] = []
    seen: set[str] = set()
    expected: list[str] = []
    for n, message in enumerate(messages):
        if message.role is Role.TOOL and expected and message.tool_call_id == expected[0]:
            expected.pop(0)
        elif message.role is Role.TOOL:
            found.append(f"message {n} is a result that is not wanted here: {message.tool_call_id!r}")
        elif expected:
            found.append(f"message {n} stands where the results of {expected} should be")
            expected = []
        found += (f"message {n} {what}" for what in _wrong(message, n))
        for call in message.tool_calls:
            found += (f"message {n} {what}" for what in _wrong_call(call, seen))
            seen.add(call.id)
        expected += [call.id for call in message.tool_calls]
    return found + ([f"the calls {expected} have no results"] if expected else [])


def _wrong(message: ChatMessage, position: int) -> Iterator[str]:
    role = message.role
    if role is Role.SYSTEM and position:
        yield "is an instruction that does not lead"
    if not message.content.strip() and (message.content or not message.tool_calls):
        yield "is empty"
    if mend(message.content) != message.content:
        yield "has text that is no valid Unicode"
    if role is not Role.ASSISTANT and (message.tool_calls or message.thinking):
        yield "has what only answers have"
    if role is not Role.TOOL and message.tool_call_id is not None:
        yield "names a call, and is no result"


def _wrong_call(call: ToolCall, seen: set[str]) -> Iterator[str]:
    if not call.id or call.id in seen:
        yield f"has a call without an id of its own: {call.id!r}"
    if not call.name.strip():
        yield "has a call without a name"
    if not is_object(call.arguments):
        yield "has a call whose arguments are no JSON object"
    if any(mend(text) != text for text in (call.id, call.name, call.arguments)):
        yield "has a call that is no valid Unicode"
