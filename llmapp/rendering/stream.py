"""Markdown that grows: each block goes out once, when nothing that follows can change it.

How the blocks are put together is said at `Block`; `assemble` is that rule in Python. Cost is linear in the
length of the text: items, rows and lines of code go out one by one, and text is read again only with a back-off.
"""

from collections.abc import Iterator

from . import html, settle
from .blocks import NO_STEM, Block, Mode
from .fence import OpenFence

CREDIT = 5  # characters that may be read again for each character that comes: a back-off of 25 %
SAVINGS = 20_000  # of them that are kept, so that ordinary text never has to wait
_BLANK = " \t\r\n"


class MarkdownStream:
    """Takes text as it comes and gives blocks. Feeding the same text in other pieces shows the same page.

    At the end, compare `assemble(blocks)` with `render(text)`: they differ only when a reference link was used
    before its definition came (`[text][1]` ... `[1]: https://...`), or when the rows of a table lack more cells in all
    than the library fills up (65,536). Not thread-safe; `feed` and `open` may take milliseconds, so keep them off an
    event loop.
    """

    def __init__(self) -> None:
        self.work = 0  # characters handed to the parser and to lexers so far, for tests and figures
        self._parts: list[str] = []
        self._open = ""  # what is not settled
        self._complete = 0  # length of the complete lines of it that have been looked at
        self._base = 0  # length of what is settled
        self._index = 0
        self._stem = NO_STEM
        self._fence: OpenFence | None = None
        self._links: html.Env = {}
        self._due = False
        self._credit = 0
        self._after_blank = False
        self._finished = False

    @property
    def text(self) -> str:
        """The whole text so far."""
        return "".join(self._parts)

    @property
    def open_cost(self) -> int:
        """The length of the open text in characters: what a call of `open` has to read."""
        return len(self._open)

    def feed(self, text: str) -> list[Block]:
        """Take more text; return the blocks that are settled by it. Raises RuntimeError after `finish`."""
        if self._finished:
            raise RuntimeError("This text is finished.")
        new_line = "\n" in text or "\r" in text or self._open.endswith("\r")
        self._parts.append(text)
        self._open += text
        self._credit = min(self._credit + CREDIT * len(text), max(SAVINGS, len(self._open)))
        return list(self._settle()) if new_line else []

    def open(self) -> Block | None:
        """Render what isn't settled as if it ended here, every open mark closed; None when it is blank.

        Marks that may still become anything (`**`, `- `, `|--`) are covered by the block but not shown.
        """
        if not (self._open if self._fence else self._open.strip(_BLANK)):
            return None
        if self._fence:
            mode, shown = self._fence.mode, self._fence.unfinished(self._open[self._complete :])
        else:
            mode, shown = self._stem.mode, html.open_piece(self._open, self._stem, self._links)
        return Block(self._index, mode, shown, self._base + len(self._open), settled=False)

    def finish(self) -> list[Block]:
        """End the text; return the blocks that were still open. A second call returns none."""
        if self._finished:
            return []
        self._finished = True
        if self._fence and self._open:
            shown = self._fence.end(self._open[self._complete :])
            return [self._emit(self._fence.mode, shown, len(self._open))]
        return [self._emit_prose(len(self._open))] if self._open.strip(_BLANK) else []

    # Settling, in the order of the calls

    def _settle(self) -> Iterator[Block]:
        while True:
            if self._fence:
                yield from self._settle_code(self._fence)
                if self._fence:
                    return
            self._look_at_lines()
            cut = self._find_cut()
            size = self._length(cut.lines)
            if self._open[:size].strip(_BLANK):
                yield self._emit_prose(size)
            else:
                self._take(size)
            self._stem = cut.stem
            if not cut.fence:
                return
            self._fence = OpenFence(cut.fence)
            self._complete = self._length(1)

    def _look_at_lines(self) -> None:
        while match := settle.LINE.match(self._open, self._complete):
            self._due = self._due or settle.decides(match.group(), self._after_blank)
            self._after_blank = not match.group().strip(_BLANK)
            self._complete = match.end()

    def _find_cut(self) -> settle.Cut:
        nothing = settle.Cut(stem=self._stem)
        if not self._due or self._credit < self._complete:
            return nothing
        self._due = False
        self._credit -= self._complete
        self.work += self._complete
        return settle.find_cut(self._open[: self._complete], self._stem)

    def _length(self, lines: int) -> int:
        end = 0
        for _ in range(lines):
            match = settle.LINE.match(self._open, end)
            end = match.end() if match else len(self._open)
        return end

    def _emit_prose(self, size: int) -> Block:
        self.work += size
        shown = html.piece(self._open[:size], self._stem, self._links)
        return self._emit(self._stem.mode, shown, size)

    def _settle_code(self, fence: OpenFence) -> Iterator[Block]:
        parts: list[str] = []
        settled = 0
        while not fence.closed and (match := settle.LINE.match(self._open, self._complete)):
            parts.append(fence.add(match.group()))
            self._complete = match.end()
            if parts[-1] or fence.closed:
                settled = match.end()
        if settled:
            yield self._emit(fence.mode, fence.wrap("".join(parts)), settled)
            fence.mode = "code"
        self.work += fence.lexed()
        if fence.closed:
            self._fence, self._after_blank = None, False

    def _emit(self, mode: Mode, shown: str, size: int) -> Block:
        self._take(size)
        self._index += 1
        return Block(self._index - 1, mode, shown, self._base, settled=True)

    def _take(self, size: int) -> None:
        self._base += size
        self._open = self._open[size:]
        self._complete = max(0, self._complete - size)
