"""Code blocks: coloured by classes, line after line, so that what has been sent never changes.

A lexer is asked only at "clean" lines, where it is back in the state in which it began. Where those are is read
from the code alone, never from how it arrived, so a code block that grew and one that was whole look the same.
"""

import re
from functools import cache
from html import escape
from itertools import groupby
from typing import Any

from pygments.lexers import find_lexer_class_by_name
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Generic, Keyword, Name, Number, Operator, String, Text
from pygments.util import ClassNotFound

Kind = Any  # a token type of Pygments, which is not typed
Tokens = list[tuple[Kind, str]]

LOOK = 400  # characters before the first search for a clean line
LIMIT = 8_000  # a stretch without a clean line that is longer leaves the rest of the block plain
GROWTH = 1.25  # after a line that was not clean, the stretch grows by this before the next search

# Closes whatever may be open (a comment, a long string), so that an open one swallows the start of the probe.
PROBE = "zqx */ \"\"\" ''' ` --> *) ]] -} #}\n"

TAIL = "</code></pre></div>\n"

CLASSES: dict[Kind, str] = {
    Comment: "hl-c",
    Comment.Preproc: "hl-d",
    Keyword: "hl-k",
    Keyword.Constant: "hl-n",
    Keyword.Type: "hl-t",
    Operator.Word: "hl-k",
    Name.Attribute: "hl-a",
    Name.Builtin: "hl-b",
    Name.Class: "hl-t",
    Name.Decorator: "hl-d",
    Name.Exception: "hl-t",
    Name.Function: "hl-f",
    Name.Tag: "hl-k",
    Name.Variable: "hl-v",
    Number: "hl-n",
    String: "hl-s",
    String.Escape: "hl-e",
    String.Interpol: "hl-e",
    Generic.Deleted: "hl-del",
    Generic.Inserted: "hl-ins",
    Generic.Heading: "hl-h",
    Generic.Subheading: "hl-h",
    Generic.Prompt: "hl-c",
}

_LANGUAGE = re.compile(r"[A-Za-z0-9+#._-]{1,30}")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def head(language: str) -> str:
    """Open a code block. `tabindex` lets a keyboard scroll a long line."""
    label = f' data-language="{escape(language)}"' if language else ""
    return f'<div class="llmapp-code"{label}><pre tabindex="0"><code>'


def language_of(info: str) -> str:
    """Read the language from the words behind the opening fence; "" when there is none to show."""
    words = info.split(maxsplit=1)
    return words[0].lower() if words and _LANGUAGE.fullmatch(words[0]) else ""


def code_block(code: str, language: str = "") -> str:
    """Write a whole code block; its lines end in a line feed."""
    highlighter = Highlighter(language)
    lines = [highlighter.add(line) for line in _LINE.findall(code)]
    return head(language) + "".join(lines) + highlighter.rest() + TAIL


class Highlighter:
    """Colours one code block while its lines come in. After `look` characters it begins to look for a clean line."""

    def __init__(self, language: str, look: int | None = None) -> None:
        self._language = language
        self._lexer = _lexer(language)
        self._look_first = LOOK if look is None else look
        self._lines: list[str] = []
        self._size = 0
        self._look_at = self._look_first
        self._preview: Preview | None = None
        self.lexed = 0  # characters handed to the lexer so far

    def add(self, line: str) -> str:
        """Take a finished line; return the HTML that is final now, often ""."""
        if self._lexer is None:
            return escape(line)
        if self._size + len(line) > LIMIT:
            return self._give_up() + escape(line)
        self._lines.append(line)
        self._size += len(line)
        return self._look() if self._size >= self._look_at else ""

    def rest(self) -> str:
        """Write what `add` has kept. Changes nothing."""
        return self.colour(self.kept)

    def preview(self, unfinished: str) -> str:
        """Write nearly what `rest` does, for a cost that does not grow with what `add` has kept."""
        if self._lexer is None:
            return escape(unfinished)
        if self._preview is None:
            self._preview = Preview(Highlighter(self._language, look=1))
        before = self._preview.highlighter.lexed
        shown = self._preview.show(self._lines, unfinished)
        self.lexed += self._preview.highlighter.lexed - before
        return shown

    @property
    def kept(self) -> str:
        """The lines that `add` has kept."""
        return "".join(self._lines)

    def colour(self, stretch: str) -> str:
        """Write code that begins at a clean line."""
        if self._lexer is None or len(stretch) > LIMIT:
            return escape(stretch)
        self.lexed += len(stretch)
        return _spans(_lex(self._lexer, stretch))

    def _begin(self) -> None:
        self._lines, self._size, self._look_at = [], 0, self._look_first
        self._preview = None

    def _look(self) -> str:
        assert self._lexer is not None
        stretch = self.kept
        self.lexed += len(stretch)
        tokens = _clean(self._lexer, stretch)
        if tokens is None:
            self._look_at = int(self._size * GROWTH)
            return ""
        self._begin()
        return _spans(tokens)

    def _give_up(self) -> str:
        html = self.rest()
        self._lexer = None
        self._begin()
        return html


class Preview:
    """Shows the lines of a stretch before it is known where the stretch ends.

    Its own highlighter cuts at every line that is clean, so a line is mostly lexed once. What that gets wrong is put
    right when the stretch ends. Lines behind which it finds no clean one are lexed again when there are `GROWTH`
    times as many, and are plain until then.
    """

    def __init__(self, highlighter: Highlighter) -> None:
        self.highlighter = highlighter
        self._count = 0  # lines of the stretch that have been looked at
        self._final = ""  # HTML of lines before a clean one
        self._coloured, self._size = "", 0  # HTML of lines behind that, and their length

    def show(self, lines: list[str], unfinished: str) -> str:
        """Write all lines of the stretch so far, and the one that is still being written."""
        for line in lines[self._count :]:
            if html := self.highlighter.add(line):
                self._final += html
                self._coloured, self._size = "", 0
        self._count = len(lines)
        return self._final + self._behind(self.highlighter.kept, unfinished)

    def _behind(self, kept: str, unfinished: str) -> str:
        if len(kept) + len(unfinished) <= LOOK:
            return self.highlighter.colour(kept + unfinished)
        if len(kept) > self._size * GROWTH:
            self._coloured, self._size = self.highlighter.colour(kept), len(kept)
        return self._coloured + escape(kept[self._size :] + unfinished)


def _lexer(language: str) -> Any:
    """Make a lexer of our own: some keep the state of a text on themselves. None: show the code plain."""
    try:
        found = find_lexer_class_by_name(language) if language else TextLexer
    except ClassNotFound:
        return None
    return None if found is TextLexer else found()


def _lex(lexer: Any, code: str) -> Tokens:
    """Split code by kind. A lexer that fails or loses text leaves it plain."""
    try:
        tokens = [(kind, text) for _, kind, text in lexer.get_tokens_unprocessed(code)]
    except Exception:  # a few hundred lexers, none of them ours
        return [(Text, code)]
    return tokens if "".join(text for _, text in tokens) == code else [(Text, code)]


def _clean(lexer: Any, stretch: str) -> Tokens | None:
    """Split the stretch if it ends in a clean line: a token begins there, of the same kind as at a start."""
    tokens = _lex(lexer, stretch + PROBE)
    done = size = 0
    while size < len(stretch):
        size += len(tokens[done][1])
        done += 1
    clean = size == len(stretch) and tokens[done][0] is _first_kind(lexer.__class__)
    return tokens[:done] if clean else None


@cache
def _first_kind(lexer_class: Any) -> Kind:
    return _lex(lexer_class(), PROBE)[0][0]


@cache
def _class(kind: Kind) -> str:
    while kind not in CLASSES and kind.parent is not None:
        kind = kind.parent
    return CLASSES.get(kind, "")


def _spans(tokens: Tokens) -> str:
    parts = []
    for name, group in groupby(tokens, key=lambda token: _class(token[0])):
        text = "".join(text for _, text in group)
        parts.append(f'<span class="{name}">{escape(text)}</span>' if name and text.strip() else escape(text))
    return "".join(parts)
