"""No key leaves a backend: what a provider quotes of the key in its error is blacked out.

Also where it is quoted in pieces, or as it stands in a URL, in base64 or in hexadecimal: `PIECE` characters in a row
are never there by chance. Fewer are what providers show on purpose ("sk-pr...4f2a"), to tell which key it is.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from llmapp.core.errors import BackendError, ErrorFacts

from .base import Secret

BLACKED_OUT = "[key]"

#: Shorter ones are not secrets, and would black out ordinary words.
SHORTEST = 6

#: Characters of a key in a row that are blacked out.
PIECE = 8

#: As long as the text, which `str.lower` is not.
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def redacted(error: BackendError, secret: Secret) -> BackendError:
    """Return the error without any part of `secret` in its facts."""
    eraser = _Eraser(secret)
    facts = error.facts
    clean = ErrorFacts(
        provider=facts.provider,
        status=facts.status,
        headers=eraser.clean(facts.headers),
        body=eraser.clean(facts.body),
        exception=eraser.clean(facts.exception),
    )
    return BackendError(clean, error.kind)


def redacted_headers(headers: Mapping[str, str], secret: Secret) -> dict[str, str]:
    """Return the headers without any part of `secret` in their values."""
    clean: dict[str, str] = _Eraser(secret).clean(headers)
    return clean


class _Eraser:
    """Knows what of a secret must not be seen."""

    def __init__(self, secret: Secret) -> None:
        self._secrets = [s for s in (secret.api_key, *secret.extra.values()) if len(s) >= SHORTEST]
        written = (form.translate(LOWER) for s in self._secrets for form in _ways_to_write(s))
        self._pieces = {form[at : at + PIECE] for form in written for at in range(len(form) - PIECE + 1)}

    def clean(self, value: Any) -> Any:
        match value:
            case str():
                return self._clean_text(value)
            case Mapping():
                return {self.clean(key): self.clean(item) for key, item in value.items()}
            case list():
                return [self.clean(item) for item in value]
            case _:
                return value

    def _clean_text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, BLACKED_OUT)
        for start, end in reversed(list(self._found_in(text.translate(LOWER)))):
            text = text[:start] + BLACKED_OUT + text[end:]
        return text

    def _found_in(self, text: str) -> Iterator[tuple[int, int]]:
        """Give from where to where the text has pieces; those that overlap are one."""
        start = end = -1
        for at in range(len(text) - PIECE + 1 if self._pieces else 0):
            if text[at : at + PIECE] in self._pieces:
                if start >= 0 and at > end:
                    yield start, end
                    start = -1
                start, end = at if start < 0 else start, at + PIECE
        if start >= 0:
            yield start, end


def _ways_to_write(secret: str) -> Iterator[str]:
    yield from (secret, quote(secret), quote(secret, safe=""))
    raw = secret.encode()
    yield raw.hex()
    for before in range(3):
        # What stands before it shifts how base64 cuts it.
        coded = base64.b64encode(b"\0" * before + raw).decode()
        yield from (coded, coded.translate(str.maketrans("+/", "-_")))
