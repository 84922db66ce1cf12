"""Whether a reply is a whole answer, and what to ask for when it is not.

| flaw | what it is | what helps |
|---|---|---|
| `LENGTH` | text that the output limit cut off | going on where it ends |
| `THOUGHT_TOO_LONG` | no text, because thinking took the whole budget | a larger limit, or less effort |
| `BROKEN_CALL` | a tool call without a name, or with arguments that are no JSON object | asking again |
| `EMPTY` | nothing that could be shown or done | asking again |

What the provider says about the end is not enough: some say `tool_calls` for arguments that were cut off, and `stop`
for an answer that never came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from .fences import open_fence
from .history import is_object
from .messages import ChatMessage, Role, ToolCall
from .seam import Seam
from .stream import FinishReason, Reply

__all__ = [
    "Flaw",
    "Seam",
    "asks_to_go_on",
    "continuation",
    "judge",
    "larger_limit",
    "lower_effort",
    "open_fence",
    "spoken",
]

#: Part of the output that must be thinking, or of the limit that must be used, to say that thinking took it all.
MOSTLY = 0.8

#: Tokens: what an output limit is raised to at least, and what no guess of ours goes beyond.
LEAST_LIMIT, LARGEST_LIMIT = 2048, 131_072

#: Tokens: the smallest budget for thinking that providers take.
LEAST_THINKING = 1024

#: From much to little. Below "low" not every model that thinks knows a word.
EFFORTS = ("max", "xhigh", "high", "medium", "low")

#: What a text ends with.
ENDS = tuple(".!?…:;)]}>|`\"'”’»*_。！？；：」』）】")

#: Characters of the shown text that the wish to go on quotes.
QUOTED = 80

#: Thinking that a model writes into its text, at the beginning.
_THOUGHTS = re.compile(r"\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)

WISH = (
    "(A note of the program, not a question: your message above was cut off before its end. Go on exactly where it"
    " ends, in the middle of the word or the line if need be. Do not repeat any of it, do not start again, and add no"
    " greeting, remark or apology.{fence} The last characters were: {end})"
)
FENCE = " A block of code is still open ({fence}): go on inside of it, and do not open it again."


class Flaw(StrEnum):
    LENGTH = "length"
    THOUGHT_TOO_LONG = "thought_too_long"
    BROKEN_CALL = "broken_call"
    EMPTY = "empty"


def judge(reply: Reply, output_limit: int | None) -> Flaw | None:
    """Return what is wrong with a reply that the provider ended; None when it is whole."""
    cut_off = reply.finish_reason is FinishReason.LENGTH
    if reply.tool_calls:
        return Flaw.BROKEN_CALL if any(_is_broken(call, cut_off) for call in reply.tool_calls) else None
    if spoken(reply.text).strip():
        return Flaw.LENGTH if cut_off else None
    return Flaw.THOUGHT_TOO_LONG if _thought_too_long(reply, output_limit) else Flaw.EMPTY


def spoken(text: str) -> str:
    """Return a text without the thinking that some models lead it with."""
    thoughts = _THOUGHTS.match(text)
    return text[thoughts.end() :] if thoughts else text


def is_an_end(text: str) -> bool:
    """Say whether a text may be over where it ends: after a sentence, a block of code, a table or a closing mark."""
    text = text.rstrip()
    return not open_fence(text) and text.endswith(ENDS)


def _is_broken(call: ToolCall, cut_off: bool) -> bool:
    # Some models call a tool that takes nothing without any arguments at all.
    nothing = not call.arguments.strip() and not cut_off
    return not call.name.strip() or not (nothing or is_object(call.arguments))


def _thought_too_long(reply: Reply, output_limit: int | None) -> bool:
    """Say whether thinking took all: as the provider counted it, or as far as we have seen it."""
    if reply.finish_reason not in (FinishReason.LENGTH, FinishReason.STOP):
        return False
    written, thought = reply.usage.output_tokens, reply.usage.reasoning_tokens
    counted = bool(written) and thought is not None and thought >= MOSTLY * (written or 0)
    seen = bool(reply.reasoning.strip() or reply.text.strip())
    if reply.finish_reason is FinishReason.LENGTH:
        return counted or seen or thought is None
    # It says that it wanted to stop: believed, unless its counts show that the limit was met.
    return counted and bool(output_limit) and (written or 0) >= MOSTLY * (output_limit or 0)


def continuation(shown: str) -> tuple[ChatMessage, ChatMessage]:
    """Return what was said, and the wish to go on there. The roles take turns, and nothing is asked."""
    fence = open_fence(shown)
    wish = WISH.format(fence=FENCE.format(fence=fence) if fence else "", end=shown[-QUOTED:])
    return ChatMessage(Role.ASSISTANT, shown), ChatMessage(Role.USER, wish)


def asks_to_go_on(messages: Sequence[ChatMessage]) -> bool:
    """Say whether these are messages that end with `continuation`: the last but one is the text that was shown."""
    return len(messages) > 1 and messages[-1].content.startswith(WISH[: WISH.index("{")])


# -- a larger budget, or less to spend it on --------------------------------------------------------


def larger_limit(current: int | None, ceiling: int | None) -> int | None:
    """Return the next output limit: twice as much, up to the model's ceiling. None when there is no larger one.

    Without a current limit the provider's own holds, which is not known: only a ceiling says more.
    """
    highest = ceiling if ceiling and ceiling > 0 else LARGEST_LIMIT
    if current is None:
        return highest if ceiling and ceiling > 0 else None
    wanted = min(max(2 * current, LEAST_LIMIT), highest)
    return wanted if wanted > current else None


def lower_effort(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the settings with less thinking, in whichever way they ask for it. None when nothing can be lowered."""
    changes: dict[str, Any] = {}
    if effort := _less(settings.get("reasoning_effort")):
        changes["reasoning_effort"] = effort
    if reasoning := _less_of(settings.get("reasoning"), "max_tokens"):
        changes["reasoning"] = reasoning
    if thinking := _less_of(settings.get("thinking"), "budget_tokens"):
        changes["thinking"] = thinking
    return {**settings, **changes} if changes else None


def _less(effort: object) -> str | None:
    """Return the next lower word; None for the lowest, and for words that are unknown."""
    if not isinstance(effort, str) or effort not in EFFORTS[:-1]:
        return None
    return "high" if effort == "max" else EFFORTS[EFFORTS.index(effort) + 1]


def _less_of(table: object, budget: str) -> dict[str, Any] | None:
    """Return a table with a lower effort or half the budget."""
    if not isinstance(table, Mapping):
        return None
    changes: dict[str, Any] = {}
    if effort := _less(table.get("effort")):
        changes["effort"] = effort
    tokens = table.get(budget)
    if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens > LEAST_THINKING:
        changes[budget] = max(tokens // 2, LEAST_THINKING)
    return {**table, **changes} if changes else None
