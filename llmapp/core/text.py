"""Text that a database and a browser can take: valid Unicode, no NUL.

JSON can carry half an emoji: a provider that cuts its text by UTF-16 units sends `"\\ud83d"` in one
delta and `"\\ude00"` in the next. The first half is held back until the second comes; a half that stays
alone becomes U+FFFD, and so does NUL, which Postgres refuses.
"""

from __future__ import annotations

REPLACEMENT = "\ufffd"


def mend(text: str) -> str:
    """Return `text` with surrogate pairs joined, and lone ones and NULs replaced by U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    if "\0" in text:
        text = text.replace("\0", REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Mender:
    """Mends a text that comes in pieces. The pieces that it returns add up to the mended whole."""

    def __init__(self) -> None:
        self._high = ""

    def feed(self, piece: str) -> str:
        """Return what of the text so far is certain and was not returned yet."""
        if not self._high and piece.isascii() and "\0" not in piece:
            return piece
        text = self._high + piece
        self._high = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return mend(text[: len(text) - len(self._high)])

    def flush(self) -> str:
        """Return the end of the text: U+FFFD for a half that stayed alone, else nothing."""
        rest, self._high = self._high, ""
        return mend(rest)
