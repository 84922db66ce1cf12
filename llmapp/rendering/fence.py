"""A fence of code at the top level that is still open: its finished lines go out without reading anything again."""

from dataclasses import dataclass

from markdown_it.token import Token

from . import code, html
from .blocks import Mode


@dataclass(frozen=True, slots=True)
class Fence:
    """An open fence at the top level."""

    mark: str
    length: int
    indent: int  # columns, taken off each line
    language: str

    @classmethod
    def read(cls, token: Token, line: str) -> "Fence":
        """Take the facts from the token of a fence and its first line."""
        indent = len(line) - len(line.lstrip(" "))
        return cls(token.markup[0], len(token.markup), indent, code.language_of(token.info))

    def closes(self, line: str) -> bool:
        """Tell whether the line ends the fence."""
        text = line.strip(" \t\r\n")
        deep = line[:4] == "    " or "\t" in line[: len(line) - len(line.lstrip(" \t"))]
        return not deep and len(text) >= self.length and text.strip(self.mark) == ""

    def content(self, line: str) -> str:
        """Take the indent of the fence off a line of code, as far as it has one."""
        spaces = len(line) - len(line.lstrip(" "))
        if spaces < self.indent and line[spaces : spaces + 1] == "\t":
            return " " * (4 - self.indent) + line[spaces + 1 :]
        return line[min(spaces, self.indent) :]


class OpenFence:
    """The lines of an open fence on their way to the page."""

    def __init__(self, fence: Fence) -> None:
        self.mode: Mode = "new"  # of the next block; "code" once the block has begun on the page
        self.closed = False
        self._fence = fence
        self._highlighter = code.Highlighter(fence.language)

    def add(self, line: str) -> str:
        """Take a complete line; return the HTML that is final now, often ""."""
        if self._fence.closes(line):
            self.closed = True
            return self._highlighter.rest()
        text = line.rstrip("\r\n").replace("\0", "\ufffd")
        return self._highlighter.add(self._fence.content(text) + "\n")

    def wrap(self, lines: str) -> str:
        """Make a block of finished lines."""
        if self.mode == "new":
            lines = code.head(self._fence.language) + lines + code.TAIL
        return html.clean(lines)

    def unfinished(self, line: str) -> str:
        """Show the lines that aren't final and the one that is being written, unless that may close the fence."""
        shown = "" if line.strip(" \t\r").strip(self._fence.mark) == "" else self._fence.content(line)
        return self.wrap(self._highlighter.preview(shown))

    def end(self, line: str) -> str:
        """Show what is left when the text ends in the middle of this line, or of none."""
        last = self.add(line.rstrip("\r\n") + "\n") if line else ""
        return self.wrap(last if self.closed else last + self._highlighter.rest())

    def lexed(self) -> int:
        """Tell how many characters went to the lexer since the last question."""
        count, self._highlighter.lexed = self._highlighter.lexed, 0
        return count
