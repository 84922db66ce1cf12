"""A token that says when it was made: five characters and a mark, as long as a token of English is on average.

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

#: A stamp in the bytes of a JSON string. The mark before it is in no other text that is measured.
FOUND = re.compile(rb"~([0-9a-z]{5})")

#: Tokens of a paragraph. Text without an end would be one block for ever, which nobody writes.
PARAGRAPH = 60


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
    return "~" + "".join(reversed(digits))


def token(number: int) -> str:
    """Make the token with this number, from 1 on, of a text in paragraphs, and stamp it."""
    return stamp(now()) + ("\n\n" if number % PARAGRAPH == 0 else " ")


def age(token: bytes, at: int) -> int:
    """Return how old a stamp (without its mark) is at a time; both in microseconds."""
    return (at // UNIT - int(token, len(DIGITS))) % ROUND * UNIT
