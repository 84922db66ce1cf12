"""No key leaves a backend: a provider that echoes the key in its error gets it blacked out."""

from __future__ import annotations

from typing import Any

from llmapp.core.errors import BackendError, ErrorFacts

from .base import Secret

BLACKED_OUT = "[key]"

#: Shorter ones are not secrets, and would black out ordinary words.
SHORTEST = 6


def redacted(error: BackendError, secret: Secret) -> BackendError:
    """Return the error without any part of `secret` in its facts."""
    secrets = [s for s in (secret.api_key, *secret.extra.values()) if len(s) >= SHORTEST]
    facts = error.facts
    clean = ErrorFacts(
        provider=facts.provider,
        status=facts.status,
        headers={name: _clean_text(value, secrets) for name, value in facts.headers.items()},
        body=_clean(facts.body, secrets),
        exception=None if facts.exception is None else _clean_text(facts.exception, secrets),
    )
    return BackendError(clean, error.kind)


def _clean(value: Any, secrets: list[str]) -> Any:
    match value:
        case str():
            return _clean_text(value, secrets)
        case dict():
            return {_clean(key, secrets): _clean(item, secrets) for key, item in value.items()}
        case list():
            return [_clean(item, secrets) for item in value]
        case _:
            return value


def _clean_text(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, BLACKED_OUT)
    return text
