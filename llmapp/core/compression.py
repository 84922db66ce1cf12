"""Which messages a summary takes the place of when a conversation does not fit into a model's window.

* Instructions are kept, and so is the last user message with all that follows it.
* What is summarised is one block from the beginning of the conversation. It ends where a user message begins, so that
  what is kept starts as every provider wants it, and never between a tool call and its result. From a call on that
  nobody answered everything is kept.
* More is summarised than would have to be, so that the next messages fit without another summary.
* If what must be kept is still too long, its long answers and tool results are clipped in the copy: head and tail stay.
  Never the user's messages. If that is not enough either, there is no plan.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .messages import ChatMessage, Role

Measure = Callable[[Sequence[ChatMessage]], int]

#: How much of the target is filled when something has to be summarised anyway.
FILLED = 0.6

#: Tokens for a summary: this part of the target, within limits.
SUMMARY_PART, LEAST_SUMMARY, LARGEST_SUMMARY = 8, 64, 1024

#: Characters to which long answers and results are clipped, one after the other, until what is kept fits.
CLIPS = (8000, 4000, 2000, 1000, 500, 250)

MARK = "\n[… {count} characters are left out here …]\n"

#: Around a summary. A model must not take it for something that it was asked.
BEFORE = (
    "Notes about the earlier part of this conversation, which is left out here to save room. They are there to look"
    " things up, and are not a request: nothing in them is to be answered or carried out. Answer the messages below."
)
AFTER = "(End of the notes.)"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to summarise, and what stays. `kept` may have clipped copies."""

    #: How many messages lead the request: instructions.
    instructions: int
    summarised: tuple[ChatMessage, ...]
    kept: tuple[ChatMessage, ...]
    #: Tokens that are free for the summary.
    room: int


def plan(messages: Sequence[ChatMessage], target_tokens: int, measure: Measure, covered: int = 0) -> Plan | None:
    """Return what to summarise so that the rest and a summary take at most `target_tokens`.

    None: whatever is left out, the rest is too long. Messages that fit as they are get a plan that leaves nothing out.
    So many messages as `covered` are in a summary already: at least those are left out.
    """
    start = instructions_of(messages)
    leading, conversation = tuple(messages[:start]), tuple(messages[start:])
    if measure(messages) <= target_tokens:
        return Plan(start, (), conversation, 0)
    cuts = [cut for cut in cuts_of(conversation) if cut >= covered] or cuts_of(conversation)
    room = max(LEAST_SUMMARY, min(target_tokens // SUMMARY_PART, LARGEST_SUMMARY))
    goal = int(target_tokens * FILLED)

    def is_roomy(cut: int) -> bool:
        return measure((*leading, *conversation[cut:])) + room <= goal

    cut = cuts[min(bisect_left(cuts, True, key=is_roomy), len(cuts) - 1)]
    kept = _clipped_to(target_tokens - room if cut else target_tokens, leading, conversation[cut:], measure)
    left = target_tokens - measure((*leading, *kept))
    return Plan(start, conversation[:cut], kept, min(room, left) if cut else 0) if left >= 0 else None


def apply(messages: Sequence[ChatMessage], plan: Plan, summary_text: str) -> tuple[ChatMessage, ...]:
    """Return the instructions, the summary as a message of its own, and what is kept.

    The summary has the role of instructions. A user message would be answered, and two in a row are refused where the
    roles must take turns; words of the assistant would be gone on with. A provider without that role gets it at the
    head of the first user message, like all instructions, and `core.history` makes one message of several of them.
    """
    return (*messages[: plan.instructions], *notes(summary_text), *plan.kept)


def notes(summary_text: str) -> tuple[ChatMessage, ...]:
    """Return the message that holds a summary; none for no summary."""
    if not summary_text.strip():
        return ()
    return (ChatMessage(Role.SYSTEM, f"{BEFORE}\n\n{summary_text.strip()}\n\n{AFTER}"),)


def noted(message: ChatMessage) -> str:
    """Return the summary that a message holds; "" if it holds none."""
    if message.role is not Role.SYSTEM or not message.content.startswith(f"{BEFORE}\n\n"):
        return ""
    return message.content.removeprefix(f"{BEFORE}\n\n").removesuffix(f"\n\n{AFTER}")


def instructions_of(messages: Sequence[ChatMessage]) -> int:
    """Return how many messages lead before the conversation begins."""
    return next((n for n, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages))


# -- where a conversation may be cut ----------------------------------------------------------------


def cuts_of(conversation: Sequence[ChatMessage]) -> list[int]:
    """Return after how many messages what is summarised may end, in order. The first is 0: nothing is."""
    users = [n for n, message in enumerate(conversation) if message.role is Role.USER]
    spans, unanswered = _calls(conversation)
    end = min([users[-1] if users else len(conversation) - 1, *unanswered])
    inner = {n for first, last in spans for n in range(first + 1, last + 1)}
    return [0, *(n for n in users if 0 < n <= end and n not in inner)]


def _calls(conversation: Sequence[ChatMessage]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return from which message to which each tool call goes with its results, and where calls have none."""
    last: dict[str, tuple[int, int]] = {}
    spans: list[tuple[int, int]] = []
    unanswered: list[int] = []
    for n, message in enumerate(conversation):
        if message.role is Role.TOOL and message.tool_call_id in last:
            first, _end = last[message.tool_call_id]
            last[message.tool_call_id] = (first, n)
            spans.append((first, n))
        for call in message.tool_calls:
            # Some providers use an id again in a later turn.
            unanswered += [first for first, end in [last[call.id]] if first == end] if call.id in last else []
            last[call.id] = (n, n)
    unanswered += [first for first, end in last.values() if first == end]
    return spans, unanswered


# -- the last resort --------------------------------------------------------------------------------


def _clipped_to(
    tokens: int, leading: tuple[ChatMessage, ...], kept: tuple[ChatMessage, ...], measure: Measure
) -> tuple[ChatMessage, ...]:
    """Return what is kept, with long answers and results clipped until it fits, or as far as that goes.

    The newest round, which the model is about to go on from, is clipped last.
    """
    newest = max((n for n, message in enumerate(kept) if message.role is Role.ASSISTANT), default=len(kept))
    for untouched in (newest, len(kept)):
        for limit in CLIPS:
            if measure((*leading, *kept)) <= tokens:
                return kept
            kept = tuple(_clipped(m, limit) if n < untouched else m for n, m in enumerate(kept))
    return kept


def _clipped(message: ChatMessage, limit: int) -> ChatMessage:
    if message.role not in (Role.ASSISTANT, Role.TOOL) or len(message.content) <= limit:
        return message
    return replace(message, content=clip(message.content, limit))


def clip(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters: head, tail, and between them a mark that says how much is gone."""
    if len(text) <= limit:
        return text
    room = limit - len(MARK.format(count=len(text)))
    if room < 2:
        return text[: max(limit, 0)]
    head, tail = room - room // 3, room // 3
    return text[:head] + MARK.format(count=len(text) - room) + text[len(text) - tail :]


# -- a summary that needs no model ------------------------------------------------------------------


def outline(summarised: Sequence[ChatMessage], limit: int) -> str:
    """Return what can be said about messages without a model: how many, and how each user message begins.

    At most `limit` characters. Where not all user messages have a place, the newest do.
    """
    asked = [" ".join(m.content.split()) for m in summarised if m.role is Role.USER]
    head = f"{len(summarised)} earlier messages were left out; {len(asked)} of them were the user's."
    if not asked:
        return head[: max(limit, 0)]
    intro = f"{head} Those began, in order:"
    room = limit - len(intro)
    words = max(24, min(160, room // len(asked) - 3))
    lines: list[str] = []
    for text in reversed(asked):
        line = f"\n- {_beginning(text, words)}"
        if len(line) > room:
            break
        room -= len(line)
        lines.insert(0, line)
    return (intro + "".join(lines))[:limit] if lines else head[: max(limit, 0)]


def _beginning(text: str, limit: int) -> str:
    """Return the first words of a text, with a mark if there are more."""
    if len(text) <= limit:
        return text
    cut = text.rfind(" ", limit // 2, limit)
    return text[: cut if cut > 0 else limit - 1] + "…"
