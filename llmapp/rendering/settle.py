"""Where growing Markdown can be cut: what stands before the cut never changes, whatever comes.

The rules:

1. Only complete lines are looked at.
2. A top-level block is final when the next one starts; so is an item of a top-level list. A row of a top-level
   table is final at once.
3. A paragraph, table, quote or heading is final at a blank line too. A list and indented code are not.
4. A heading, a rule, a formula and a closed fence are final at once, unless their last line has a bar
   (`# a | b` may become the head of a table).
5. Nothing is final while a formula waits for its end.
6. The text is read again only at lines that can decide something, and with a back-off (see `stream`).

This room decides and keeps nothing.
"""

import re
from dataclasses import dataclass, replace

from markdown_it.token import Token

from . import html
from .blocks import NO_STEM, Stem
from .fence import Fence

LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r(?=[^\n]))")  # a complete line; a last CR may be half of a CRLF
_LINE_END = re.compile(r"\r\n?")
_DECIDES = re.compile(r"[ \t]*(?:$|[-+*>#=_|`~$\\]|\d{1,9}[.)]|\t|[ ]{4})|.*\|")
_AT_ONCE = ("heading_open", "hr", "math_block", "fence")


@dataclass(frozen=True, slots=True)
class Cut:
    """The first `lines` lines are final. What follows goes on with a list, a table or a fence, or begins anew."""

    lines: int = 0
    stem: Stem = NO_STEM
    fence: Fence | None = None


def decides(line: str, after_blank: bool) -> bool:
    """Tell whether reading the text again can settle something, now that this line is complete."""
    return after_blank or _DECIDES.match(line.rstrip("\r\n")) is not None


def find_cut(text: str, stem: Stem) -> Cut:
    """Read complete lines and find the last place where they can be cut.

    `stem` stands for the items or rows that were cut off before; its own lines aren't counted.
    """
    text = _LINE_END.sub("\n", text)
    if not text.strip(" \t\n"):
        return Cut(text.count("\n"))
    env: html.Env = {}
    text = stem.text + text
    tokens = html.blocks(text, env)
    if not tokens or env.get("math_open"):
        return Cut(stem=stem)
    cut = _cut_at(tokens, text.split("\n")[:-1])
    return replace(cut, lines=cut.lines - stem.text.count("\n"))


def _cut_at(tokens: list[Token], lines: list[str]) -> Cut:
    position = max(number for number, token in enumerate(tokens) if token.level == 0 and token.map)
    last = tokens[position]
    start, end = last.map or (0, 0)
    if last.type in ("bullet_list_open", "ordered_list_open"):
        return _cut_at_item(tokens[position:])
    if last.type == "fence" and not _is_closed(last):
        unsure = "|" in lines[start] and end == len(lines) == start + 1
        return Cut(start) if unsure else Cut(start, fence=Fence.read(last, lines[start]))
    if not lines[-1].strip(" \t") and last.type != "code_block":
        return Cut(len(lines))
    if last.type == "table_open" and start + 2 < end == len(lines):
        return Cut(end, _table_stem(tokens[position:], lines[start + 1]))
    if last.type in _AT_ONCE and ("|" not in lines[end - 1] or end < len(lines)):
        return Cut(end)
    return Cut(start)


def _cut_at_item(tokens: list[Token]) -> Cut:
    """Keep the last item of a list open. A wide stand-in for those before it can't take it in as its child."""
    items = [token.map[0] for token in tokens if token.type == "list_item_open" and token.level == 1 and token.map]
    if len(items) == 1:
        return Cut(items[0])
    number = "1" if tokens[0].tag == "ol" else ""
    return Cut(items[-1], Stem("items", f"{number}{tokens[0].markup}    x\n"))


def _table_stem(tokens: list[Token], under_head: str) -> Stem:
    """Stand in for a table: a short head, and the line that says how its columns are aligned."""
    columns = sum(token.type == "th_open" for token in tokens)
    return Stem("rows", f"{'|x' * columns}|\n{under_head}\n")


def _is_closed(fence: Token) -> bool:
    start, end = fence.map or (0, 0)
    return fence.content.count("\n") == end - start - 2
