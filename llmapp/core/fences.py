"""Fences of code in Markdown that still grows."""

from __future__ import annotations

import re

#: The beginning of a line that may hold a fence: quotes, an item of a list, an indent.
_LINE = re.compile(r"^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(?P<mark>`{3,}|~{3,})(?P<info>[^\n]*)$", re.MULTILINE)


def open_fence(text: str) -> str:
    """Return the fence that is open at the end of a text, as it was opened: "```python"; else ""."""
    mark = info = ""
    for line in _LINE.finditer(text):
        found, rest = line["mark"], line["info"].strip()
        if not mark:
            if not (found[0] == "`" and "`" in rest):  # else it is code within a line
                mark, info = found, rest
        elif found[0] == mark[0] and len(found) >= len(mark) and not rest:
            mark = info = ""
    return mark + info
