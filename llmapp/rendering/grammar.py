"""Which Markdown we read: CommonMark, tables, strikethrough, task lists, bare URLs, and math kept as source.

The rule of the room: nothing that is written may get lost or take more than linear time, however hostile.
"""

import re
from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_block import StateBlock, blockquote, list_block, table
from markdown_it.rules_inline import StateInline

DEPTH = 24  # nested block levels (a list counts two); deeper ones are read as paragraphs
CELLS = 2  # per character of a row; the library fills short rows up, which could make a page of a line
MATH_LINES = 100  # a formula has fewer
MATH_CHARACTERS = 1_000  # inline, likewise

BlockRule = Callable[[StateBlock, int, int, bool], bool]

_MATH_ENDS = {"$$": "$$", "\\[": "\\]"}
_INLINE_ENDS = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}
_URL = re.compile(r"://[^\s<>\x00-\x1f]+")
_URL_TAIL = "?!.,:;*_~'\"[]|`"


class Parser(MarkdownIt):
    """Reads every link; which of them become links is decided in one place, `tidy.links`."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 - the library's name
        return True


def parser(renderer: Callable[[MarkdownIt], RendererProtocol]) -> Parser:
    """Make a parser. It keeps nothing between two texts, so threads may share it."""
    md = Parser("default", {"html": False, "tasklists": True, "maxNesting": 100}, renderer_cls=renderer)
    md.block.ruler.at("table", table_in_bounds, {"alt": ["paragraph", "reference"]})
    md.block.ruler.at("list", _not_too_deep(list_block), {"alt": ["paragraph", "reference", "blockquote"]})
    md.block.ruler.at(
        "blockquote", _not_too_deep(blockquote), {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    md.block.ruler.before("fence", "math", math_block, {"alt": ["paragraph", "reference", "blockquote"]})
    md.inline.ruler.before("escape", "math", math_inline)
    md.inline.ruler.push("bare_url", bare_url)
    return md


def _not_too_deep(rule: BlockRule) -> BlockRule:
    """Refuse a container below `DEPTH`: the library's own limit drops the rest of the document."""

    def limited(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        # Asked silently, it still ends a paragraph, or an outer list would be swallowed by a deep one.
        return (silent or state.level < DEPTH) and rule(state, start, end, silent)

    return limited


def table_in_bounds(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a table up to the row that lacks more cells than `CELLS` allows; the rest is a paragraph.

    Each row is judged alone, by the line below the head: so a table can be read in pieces.
    """
    if not table(state, start, end, True):
        return False
    return silent or table(state, start, _table_end(state, start, end), False)


def _table_end(state: StateBlock, start: int, end: int) -> int:
    others = state.md.block.ruler.getRules("blockquote")
    columns = _line(state, start + 1).count("|")
    for number in range(start + 2, end):
        row = _line(state, number)
        too_short = columns - row.count("|") > CELLS * (len(row) + 1)
        if not row or too_short or any(rule(state, number, end, True) for rule in others):
            return number
    return end


def math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read `$$ ... $$` or `\\[ ... \\]` over whole lines without a blank one.

    Sets `env["math_open"]` when the text ends while it still looks for the end.
    """
    closer = _MATH_ENDS.get(_line(state, start)[:2])
    if closer is None or state.is_code_block(start):
        return False
    last = _last_math_line(state, start, end, closer)
    if last is None:
        return False
    if not silent:
        state.line = last + 1
        token = state.push("math_block", "div", 0)
        token.map = [start, last + 1]
        token.content = state.getLines(start, last + 1, state.blkIndent, False).strip()
    return True


def _last_math_line(state: StateBlock, start: int, end: int, closer: str) -> int | None:
    limit = min(end, start + MATH_LINES)
    for number in range(start, limit):
        text = _line(state, number)[2 if number == start else 0 :].rstrip()
        if number > start and (not text or state.sCount[number] < state.blkIndent):
            return None
        if closer in text:
            return number if text.index(closer) == len(text) - 2 else None
    if limit == len(state.bMarks) - 1:
        state.env["math_open"] = True
    return None


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def math_inline(state: StateInline, silent: bool) -> bool:
    """Keep `$x$`, `$$x$$`, `\\(x\\)` and `\\[x\\]` as they are, so that no underscore becomes emphasis."""
    opener = state.src[state.pos : state.pos + 2]
    if opener[:1] not in ("$", "\\"):
        return False
    end = _math_end(state, opener)
    if end is None:
        return False
    if not silent:
        state.push("math_inline", "span", 0).content = state.src[state.pos : end]
    state.pos = end
    return True


def _math_end(state: StateInline, opener: str) -> int | None:
    closer = _INLINE_ENDS.get(opener)
    if closer is None:
        return _dollar_end(state) if opener[0] == "$" else None
    found = state.src.find(closer, state.pos + 3, min(state.posMax, state.pos + MATH_CHARACTERS))
    return None if found < 0 else found + 2


def _dollar_end(state: StateInline) -> int | None:
    """Find the end of `$x$`; "$5 and $6" is money: no space inside the dollars, no digit after them."""
    start = state.pos + 1
    found = state.src.find("$", start, min(state.posMax, start + MATH_CHARACTERS))
    if found <= start or state.src[start].isspace() or state.src[found - 1] in " \t\n\\":
        return None
    return None if state.src[found + 1 : found + 2].isdigit() else found + 1


def bare_url(state: StateInline, silent: bool) -> bool:
    """Turn `https://...` into a link. An address that still grows at the end of open text stays text."""
    scheme = _scheme_before(state)
    if silent or scheme is None or state.linkLevel > 0:
        return False
    match = _URL.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if match.end() == len(state.src) and state.src in state.env.get("tails", ()):
        state.append_pending(match.group())
        state.pos = match.end()
        return True
    rest = _without_tail(match.group())
    if len(rest) <= 3:
        return False
    state.pending = state.pending[: -len(scheme)]
    _push_link(state, scheme + rest)
    state.pos += len(rest)
    return True


def _scheme_before(state: StateInline) -> str | None:
    if state.src[state.pos] != ":":
        return None
    before = state.src[max(0, state.pos - 6) : state.pos]
    for scheme in ("https", "http"):
        if before.endswith(scheme) and state.pending.endswith(scheme):
            return None if before[: -len(scheme)][-1:].isalnum() else scheme
    return None


def _without_tail(url: str) -> str:
    """Leave out what belongs to the sentence: punctuation, and a closing bracket that was not opened."""
    surplus = url.count(")") - url.count("(")
    end = len(url)
    while end and (url[end - 1] in _URL_TAIL or (url[end - 1] == ")" and surplus > 0)):
        surplus -= url[end - 1] == ")"
        end -= 1
    return url[:end]


def _push_link(state: StateInline, url: str) -> None:
    state.push("link_open", "a", 1).attrs = {"href": state.md.normalizeLink(url)}
    state.push("text", "", 0).content = url
    state.push("link_close", "a", -1)
