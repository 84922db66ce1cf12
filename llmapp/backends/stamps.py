"""A token that says when it was made: five characters and a mark, about as long as a token of English.

The clock is the machine's monotonic one, which all of its processes share. A stamp counts tens of microseconds and
begins anew after ten minutes, so a token must not be older than that.
"""

from __future__ import annotations

import re
import time

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
LENGTH = 5
#: Microseconds that a stamp counts in.
UNIT = 10
#: Units after which the same stamp comes again.
ROUND: int = len(DIGITS) ** LENGTH

#: What stands before a stamp, and in no other text that is measured. Letters: any other mark might mean something in
#: Markdown, and to render that in every word would be measured too.
MARK = "Zq"
#: A stamp in the bytes of a JSON string.
FOUND = re.compile(rb"Zq([0-9a-z]{5})")

#: Tokens of a paragraph. Text without an end would be one block for ever, which nobody writes.
PARAGRAPH = 60
#: Every second paragraph has a bold word, this one: what has a mark is rendered at ten times the cost of plain words.
BOLD = 10


def now() -> int:
    """Return the machine's monotonic time in microseconds."""
    return time.monotonic_ns() // 1000


def stamp(at: int) -> str:
    """Write a time (microseconds) as a token."""
    at = at // UNIT % ROUND
    digits = []
    for _ in range(LENGTH):
        at, digit = divmod(at, len(DIGITS))
        digits.append(DIGITS[digit])
    return MARK + "".join(reversed(digits))


def token(number: int) -> str:
    """Make the token with this number, from 1 on, of a text in paragraphs, and stamp it."""
    paragraph, word = divmod(number - 1, PARAGRAPH)
    text = stamp(now())
    if paragraph % 2 and word == BOLD:
        text = f"**{text}**"
    return text + ("\n\n" if word == PARAGRAPH - 1 else " ")


def age(token: bytes, at: int) -> int:
    """Return how old a stamp (without its mark) is at a time; both in microseconds."""
    return (at // UNIT - int(token, len(DIGITS))) % ROUND * UNIT
