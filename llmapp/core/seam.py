"""Where an answer that broke off goes on: what of its continuation may be shown.

The model was asked to go on exactly where the shown text ends. What it does instead is told from its first characters,
which are held back until that is certain:

    it continues        its text passes; what repeats the end of the shown text is removed
    anew, the same      it begins with the whole of a short text, or 24 characters of a longer one, and goes on like it:
                        what was shown is swallowed, the rest passes
    anew, but differs   the seam is `abandoned`: the caller withdraws the old text, and all of the new one passes

A repetition of the end is believed from 12 characters on, and for a word, or an item or a row, that is begun again to
be finished ("wor" + "world"). It is not believed where the text repeats itself anyway ("very very very "): a text that
says something twice is better than one that lost something. A fence that is open and is opened again loses the second
line.

Held back are some twenty characters as a rule; more only while all of it is on the screen already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from .fences import open_fence

Kind = Literal["undecided", "continues", "anew"]

#: Characters that must equal the beginning of the shown text before the model counts as having started again.
SURE = 24

#: Characters from which on a repetition of the end is no chance.
OVERLAP = 12

#: Characters of the end in which repetitions are looked for.
REACH = 8000

#: White space, and dots, that are held back before they count as text.
SPACE = 200
NO_TEXT = " \t\r\n.…"

#: The shortest beginning of a word, or of a line of code, that may have been said again.
BEGUN = 3

#: How a line begins that is an item, a row, a heading, or indented.
_SHAPE = re.compile(r"[ \t]*(?:(?:[-*+>]|#{1,6}|\d{1,9}[.)]) |\|)|[ \t]{2}")

#: What some put before a continuation.
_ELLIPSIS = re.compile(r"\s*(?:\.\.\.|…)\s*")

_OPENING = re.compile(r"(?:`{3,}+|~{3,}+)[^\n]*+\n")


class Seam:
    """Takes a continuation as it comes, and returns what of it to show."""

    def __init__(self, shown: str) -> None:
        self.kind: Kind = "undecided"
        #: The model started again and says something else: what was shown has to be withdrawn.
        self.abandoned = False
        self._end = _End(shown)
        self._beginning = shown.lstrip()
        self._sure = _sure(self._beginning)
        self._held: list[str] = []
        #: How many characters of the beginning were said again; None when it does not look like that any more.
        self._same: int | None = 0
        self._passes = not self._beginning

    def feed(self, text: str) -> str:
        """Return what may be shown now."""
        if self._passes:
            self._decide("continues" if text else "undecided")
            return text
        self._held.append(text)
        return self._look(text, is_all=False)

    def flush(self) -> str:
        """Return the rest, when the continuation is over."""
        return "" if self._passes or not any(self._held) else self._look("", is_all=True)

    def _look(self, new: str, *, is_all: bool) -> str:
        if self._same is not None and self._is_the_same(new, is_all):
            return ""
        held = "".join(self._held)
        said = held.lstrip()
        if not said and not is_all and len(held) < SPACE:
            return ""
        same = _common(said, self._beginning)
        if same >= self._sure:
            if same == len(self._beginning) or same == len(said):
                return self._pass("anew", said[same:])
            if self._must_be_anew(same) and not self._end.is_repeated_by(held):
                self.abandoned = True
                return self._pass("anew", said)
        rest = self._end.go_on(held, is_all)
        return "" if rest is None else self._pass("continues", rest)

    def _must_be_anew(self, same: int) -> bool:
        """Say whether so many characters of the beginning cannot be a line that merely begins like the first one.

        In doubt it goes on: a line too many is better than a text that is withdrawn.
        """
        if self._beginning.find(self._beginning[: self._sure], 1) >= 0:
            return False  # the text has said so again before: its lines begin alike
        if same >= len(self._beginning.rstrip()) or not self._end.ends_line:
            return True  # in the middle of a line nothing begins like a text
        return same > len(self._beginning.partition("\n")[0]) + 1

    def _is_the_same(self, new: str, is_all: bool) -> bool:
        """Say whether all that was said so far is the beginning again, and not yet the whole of it."""
        assert self._same is not None
        new = new if self._same else new.lstrip()
        self._same = self._same + len(new) if self._beginning.startswith(new, self._same) else None
        return bool(self._same) and not is_all and self._same < len(self._beginning)  # type: ignore[operator]

    def _decide(self, kind: Kind) -> None:
        if self.kind == "undecided":
            self.kind = kind

    def _pass(self, kind: Kind, text: str) -> str:
        self._decide(kind)
        self._passes, self._held = True, []
        return text


class _End:
    """The end of a shown text, which the continuation may repeat."""

    def __init__(self, shown: str) -> None:
        self._tail = shown[-REACH:]
        self._fence = open_fence(shown)
        self.ends_line = shown.endswith("\n")
        #: What was begun and may be said again to be finished: a word, and after a repeated fence a line.
        self._word = _begun(_last_word(self._tail))
        self._line = self._tail.rpartition("\n")[2]
        self._line_has_shape = bool(_begun(self._line) and _SHAPE.match(self._line)) and self._is_believed(self._line)

    def go_on(self, held: str, is_all: bool) -> str | None:
        """Return what of a continuation is new; None as long as that is open."""
        text, reopened = self._without_fence(held)
        if not is_all and (text is None or self._may_repeat(text) or (reopened and self._may_repeat(held))):
            return None
        text = held if text is None else text
        if reopened and (size := self._repeated(held)):
            return held[size:]
        for start in _starts(text):
            if size := self._repeated(text[start:]):
                return text[start + size :]
            # Who says the fence again says the line again that was begun after it, however short that is.
            if self._line and (reopened or self._line_has_shape) and text.startswith(self._line, start):
                return text[start + len(self._line) :]
        first = re.match(r"\w*", text)
        if self._word and first and len(first[0]) > len(self._word) and text.startswith(self._word):
            return text[len(self._word) :]
        return text

    def is_repeated_by(self, text: str) -> bool:
        """Say whether a text begins with a repetition of the end."""
        return any(self._repeated(text[start:]) for start in _starts(text))

    def _without_fence(self, held: str) -> tuple[str | None, bool]:
        """Return the text without the line that opens the fence again, and whether it had one. None: not yet known.

        A bare fence may be meant to close.
        """
        said = held.lstrip()
        fence = self._fence.rstrip()
        if not fence.strip("`~"):
            return held, False
        if line := re.match(re.escape(fence) + r"[ \t]*\r?\n", said):
            space = held[: len(held) - len(said)]
            return ("" if self.ends_line else space) + said[line.end() :], True
        return (None if fence.startswith(said) or said.rstrip(" \t\r") == fence else held), False

    def _may_repeat(self, text: str) -> bool:
        """Say whether what comes next may make a repetition of the end out of it."""
        if self._word.startswith(text) or (not text.strip(NO_TEXT) and len(text) < SPACE):
            return True
        starts = (text[start:] for start in _starts(text))
        return any(said and self._tail.find(said, 0, -1) >= 0 for said in starts)

    def _repeated(self, text: str) -> int:
        """Return how much of the text repeats the end."""
        for size in range(min(len(text), len(self._tail)), OVERLAP - 1, -1):
            if self._tail.endswith(text[:size]) and self._is_believed(text[:size]):
                return size
        return 0

    def _is_believed(self, text: str) -> bool:
        """Say whether a repetition is one of the model's: not where the text repeats itself anyway."""
        if self._tail.endswith(text + text):
            return False
        return not any(text.startswith(text[period:]) for period in range(1, len(text) // 2 + 1))


def _starts(text: str) -> Iterator[int]:
    """Give where a text may begin: with its white space, without the empty lines, without any, behind an ellipsis."""
    ellipsis = _ELLIPSIS.match(text)
    spaces = {0, len(text) - len(text.lstrip("\r\n")), len(text) - len(text.lstrip())}
    yield from sorted(spaces | ({ellipsis.end()} if ellipsis else set()))


def _last_word(text: str) -> str:
    # Backwards, because a search from the front would try each character of each word.
    found = re.match(r"\w*", text[::-1])
    return text[len(text) - found.end() :] if found else ""


def _begun(text: str) -> str:
    """Return a text that says enough to be known again; else nothing."""
    letters = sum(map(str.isalpha, text))
    return text if letters and len(text.strip()) >= BEGUN else ""


def _sure(beginning: str) -> int:
    """Return how many characters must be the same. A fence alone says nothing: every code begins with it."""
    fence = _OPENING.match(beginning)
    return min(SURE + (fence.end() if fence else 0), len(beginning.rstrip()))


def _common(a: str, b: str) -> int:
    """Return the length of the common beginning."""
    if b.startswith(a):
        return len(a)
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
