"""Writes values as TOML; the standard library only reads it."""

from __future__ import annotations

import re
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")

#: What a string of TOML must not hold as it is.
_TO_ESCAPE = re.compile(r'["\\\x00-\x1f\x7f]')

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def line(key: str, value: Any) -> str:
    """Return `key = value`. A text of several lines stays one."""
    written = _lines(value) if isinstance(value, str) and "\n" in value else inline(value)
    return f"{_key(key)} = {written}"


def inline(value: Any) -> str:
    """Return a value on one line. Null does not exist in TOML: it is left out of tables and lists."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return f'"{_TO_ESCAPE.sub(_escaped, value)}"'
        case list():
            return f"[{', '.join(inline(item) for item in value if item is not None)}]"
        case dict():
            parts = [f"{_key(key)} = {inline(item)}" for key, item in value.items() if item is not None]
            return f"{{ {', '.join(parts)} }}" if parts else "{}"
    raise TypeError(type(value).__name__)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else inline(key)


def _lines(text: str) -> str:
    # The first line break after the quotes is none; each further quote is escaped, so that three never meet.
    escaped = _TO_ESCAPE.sub(lambda found: "\n" if found[0] == "\n" else _escaped(found), text)
    return f'"""\n{escaped}"""'


def _escaped(found: re.Match[str]) -> str:
    return _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}"
