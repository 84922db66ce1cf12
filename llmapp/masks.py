"""Secrets in what people set up beside keys, such as a header `Authorization`: they leave the database as a mask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MASK = "***"

#: Names whose values are secrets. `max_tokens` is none.
_SECRET = re.compile(r"auth|cookie|credential|key|passw|secret|token(?!s)", re.IGNORECASE)

#: Options of our backends that are named like a secret, and only name a header.
_HARMLESS = {"key_header"}

_PASSWORD_IN_URL = re.compile(r"://[^/@\s]+@")


class Forgotten(Exception):
    """A secret that was masked is not stored any more. The text is its name."""


def masked(value: Any, name: str = "") -> Any:
    """Return `value` with a mask for each secret in it."""
    match value:
        case dict():
            return {key: masked(item, key) for key, item in value.items()}
        case list():
            return [masked(item, name) for item in value]
        case str() if value and (_is_secret(name) or _PASSWORD_IN_URL.search(value)):
            return MASK
    return value


def unmasked(value: Any, stored: Any, name: str = "") -> Any:
    """Put back what is stored where a mask is. Raises `Forgotten`."""
    match value:
        case dict():
            known = stored if isinstance(stored, dict) else {}
            return {key: unmasked(item, known.get(key), key) for key, item in value.items()}
        case list():
            items = stored if isinstance(stored, list) else []
            return [unmasked(item, items[at] if at < len(items) else None, name) for at, item in enumerate(value)]
        case str() if value == MASK:
            if not isinstance(stored, str):
                raise Forgotten(name)
            return stored
    return value


def paths(value: Any, *above: str) -> Iterator[tuple[str, ...]]:
    """Give the way to each mask."""
    match value:
        case dict():
            for key, item in value.items():
                yield from paths(item, *above, key)
        case list():
            for at, item in enumerate(value, start=1):
                yield from paths(item, *above, str(at))
        case str() if value == MASK:
            yield above


def _is_secret(name: str) -> bool:
    return name not in _HARMLESS and _SECRET.search(name) is not None
