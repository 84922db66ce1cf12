"""The open block: shown as if its author stopped right here, with every mark closed that still waits for its end.

The rule of the room: no asterisk, backtick or bracket stands about raw while it is being typed. Only the open
block comes here; what is settled is shown as it is written.
"""

import re
from itertools import zip_longest

from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token

# A line that has only marks so far: it may become an item, a heading, a rule, a fence, a table, bold text.
_MARKS = re.compile(
    r"[ \t>]*(?:[-+*]|\d{1,9}[.)]?|#{1,6}|[-=_*][-=_* \t]*|`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}[^~]*|[|:][|:\- \t]*)?[ \t]*"
)
_ITEM_WITH_MARKS = re.compile(r"[ \t>]*(?:[-+*]|\d{1,9}[.)])[ \t]+(?:[*_~`\[]+|\[[ xX]\]?)[ \t]*")
_SPAN = re.compile(r"\\.|(`+)", re.DOTALL)
_LINK = re.compile(r"(?<!\\)!?\[([^\[\]]{0,300})(?:\](?:\((?:[^()\n]|\([^()\n]*\))*(?:\([^()\n]*)?)?)?$")
_ANGLE = re.compile(r"<(?=(?:h|ht|htt|https?|https?:[^\s<>]*|mailto:[^\s<>]*)?$)")
_LOOK_BACK = 2_000  # characters; a link that is longer is no link any more


def without_marks(text: str) -> str:
    """Leave out the last line while it has only marks."""
    start = text.rfind("\n") + 1
    line = text[start:]
    marks = len(line) < 200 and (_MARKS.fullmatch(line) or _ITEM_WITH_MARKS.fullmatch(line))
    return text[:start] if marks else text


def close_tails(state: StateCore) -> None:
    """Close what is open in each inline text that reaches the last line (a table row has several)."""
    lines = state.src.rstrip("\n").count("\n") + 1
    if state.src.endswith("\n\n"):
        return
    tails = state.env.setdefault("tails", set())
    for before, token, after in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if token.type == "inline" and token.map and token.map[1] >= lines:
            token.content = closed(token.content)
            if before.type == "paragraph_open":
                _hide_table_line(before, token, after)
            tails.add(token.content)


def _hide_table_line(before: Token, token: Token, after: Token) -> None:
    """Hold back a line that begins with a bar: it is the head of a table that has no second line yet."""
    lines = token.content.split("\n")
    if not lines[-1].lstrip().startswith("|"):
        return
    token.content = "\n".join(lines[:-1])
    if not token.content:
        before.hidden = after.hidden = True


def closed(text: str) -> str:
    """Close a code span, take the brackets off an unfinished link, drop a last run of marks."""
    masked, start = _without_code(text)
    inside = text[start:].strip("`").strip()
    if inside:
        ticks = text[start : len(text) - len(text[start:].lstrip("`"))]
        return _without_brackets(text[:start], masked) + ticks + inside + ticks
    return _without_tail(_without_brackets(text[:start], masked))


def _without_code(text: str) -> tuple[str, int]:
    """Blot out the code spans; return that and where the span begins that is still open (else the end)."""
    parts: list[str] = []
    done = position = 0
    while match := _SPAN.search(text, position):
        position = match.end()
        ticks = match.group(1)
        if ticks:
            end = re.compile(rf"(?<!`){ticks}(?!`)").search(text, position)
            if end is None:
                return "".join(parts) + text[done : match.start()], match.start()
            parts += [text[done : match.start()], "\0" * (end.end() - match.start())]
            done = position = end.end()
    return "".join(parts) + text[done:], len(text)


def _without_brackets(text: str, masked: str) -> str:
    """Show the text of an unfinished `[text](https://...`, and `<https://...` without its angle."""
    offset = max(0, len(text) - _LOOK_BACK)
    link = _LINK.search(masked, offset)
    if link is not None:
        text = text[: link.start()] + text[link.start(1) : link.end(1)]
    angle = _ANGLE.search(text, max(0, len(text) - _LOOK_BACK))
    return text if angle is None else text[: angle.start()] + text[angle.end() :]


def _without_tail(text: str) -> str:
    text = text.rstrip(" \t\n*_~")
    slashes = len(text) - len(text.rstrip("\\"))
    return text[:-1] if slashes % 2 else text


def close_emphasis(state: StateInline) -> None:
    """Turn marks that wait for their end into emphasis that ends with the text.

    Runs after the library has paired what it can; pairs of marks that lie inside a finished pair stay text.
    """
    if state.src not in state.env.get("tails", ()):
        return
    for tag in reversed(_opened(state)):
        state.tokens.append(Token(f"{tag}_close", tag, -1))


def _opened(state: StateInline) -> list[str]:
    """Make an opening tag of each waiting mark, of two neighbours `**` a strong one; return the tags in order."""
    tags: list[str] = []
    waiting = _waiting(state.delimiters)
    for one, following in zip_longest(waiting, waiting[1:]):
        token = state.tokens[one.token]
        if not token.content:
            continue  # the second of two neighbours
        tag = "s" if token.content == "~~" else "em"
        if tag == "em" and following and (following.token, following.marker) == (one.token + 1, one.marker):
            tag = "strong"
            state.tokens[following.token].content = ""
        token.type, token.tag, token.nesting, token.content = f"{tag}_open", tag, 1, ""
        tags.append(tag)
    return tags


def _waiting(delimiters: list[Delimiter]) -> list[Delimiter]:
    found, paired_until = [], -1
    for number, one in enumerate(delimiters):
        if one.end >= 0:
            paired_until = max(paired_until, one.end)
        elif one.open and number > paired_until:
            found.append(one)
    return found
