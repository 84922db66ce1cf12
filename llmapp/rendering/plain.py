"""A paragraph of plain words: the same page as the parser and the sanitiser would make, for a twentieth of the time.

The rule of the room: what is not certain is not plain. Tests hold it to the full way.
"""

import re

# No mark of Markdown, no character that HTML writes in another way, nothing that is white in a line but a space.
_WORDS = r"[^\0-\x1f\x7f-\xa0*_`~\[\]<>&\\$|]*"
# Each line begins with a letter: one with a digit or a mark may be an item, a rule, a heading.
_PARAGRAPH = re.compile(rf"[^\W\d_]{_WORDS}(?:(?<! )\n[^\W\d_]{_WORDS})*")


def paragraph(text: str) -> str | None:
    """Write a paragraph as HTML, if it is plain and nothing but a paragraph."""
    words = text.rstrip(" \n")
    is_plain = _PARAGRAPH.fullmatch(words) and "://" not in words and not words[-1].isspace()
    return f"<p>{words}</p>\n" if is_plain else None
