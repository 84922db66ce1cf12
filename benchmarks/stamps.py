"""A token that says when it was made: five characters, as long as a token of English is on average.

The clock is the machine's monotonic one, which all processes share. A stamp counts microseconds and begins
anew after 60 seconds, so a token must not be older than that.
"""

from __future__ import annotations

import re
import time

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
LENGTH = 5
#: Microseconds after which the same stamp comes again.
ROUND = len(DIGITS) ** LENGTH

#: A stamp in the bytes of a JSON string. The mark before it is in no other text of the benchmark.
FOUND = re.compile(rb"~([0-9a-z]{5})")


def now() -> int:
    """Return the machine's monotonic time in microseconds."""
    return time.monotonic_ns() // 1000


def stamp(at: int) -> str:
    """Write a time (microseconds) as a token."""
    at %= ROUND
    digits = []
    for _ in range(LENGTH):
        at, digit = divmod(at, len(DIGITS))
        digits.append(DIGITS[digit])
    return "~" + "".join(reversed(digits))


def age(token: bytes, at: int) -> int:
    """Return how old a stamp (without its mark) is at a time; both in microseconds."""
    return (at - int(token, len(DIGITS))) % ROUND
