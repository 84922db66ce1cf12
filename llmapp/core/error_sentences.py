"""What providers' sentences mean: the second table of `classify`, in two halves.

`SPECIAL` sentences hold whatever the status and the usual words beside them are: an overflow behind a 500, a
bill behind an "invalid request". `GENERAL` ones yield to usual words, and to a status that knows better.

The first row that fits wins. A row is a kind and its phrases: one phrase a line, in lower case, English first and
then Chinese; ` | ` stands between several on one line. A phrase is a regular expression, its gaps are bounded, so
that no text makes it slow. It is about a meaning, in as many wordings as are known, never about one message.
"""

from __future__ import annotations

import re

from .error_sentences_general import GENERAL_PHRASES
from .error_sentences_limits import HISTORY_PHRASES, LIMIT_PHRASES
from .error_sentences_refusals import REFUSAL_PHRASES
from .errors import ErrorKind

Row = tuple[ErrorKind, re.Pattern[str]]


def compiled(text: str) -> re.Pattern[str]:
    """Make one pattern of the phrases of a row."""
    phrases = (phrase.strip() for line in text.splitlines() for phrase in line.split(" | "))
    return re.compile("|".join(phrase for phrase in phrases if phrase))


SPECIAL: tuple[Row, ...] = tuple((kind, compiled(text)) for kind, text in LIMIT_PHRASES + REFUSAL_PHRASES)
GENERAL: tuple[Row, ...] = tuple((kind, compiled(text)) for kind, text in GENERAL_PHRASES)
HISTORY = compiled(HISTORY_PHRASES)


def meaning(rows: tuple[Row, ...], text: str) -> ErrorKind | None:
    """Return what the text says, in lower case, by the first row that fits."""
    return next((kind for kind, pattern in rows if pattern.search(text)), None)
