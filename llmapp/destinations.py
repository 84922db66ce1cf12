"""Where the keys of a provider go. When that changes, they are dropped until they are typed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from llmapp.models import Provider

PORTS = {"http": 80, "https": 443}

Destination = tuple[object, ...]


def destination(backend: str, base_url: str, options: Mapping[str, Any]) -> Destination:
    """Return what has to stay equal for keys to be kept: scheme, host and port of each address in the settings.

    Options may hold addresses too (litellm's `api_base`). Without any address the backend decides.
    """
    urls = [base_url, *(text for _name, text in sorted(options.items()) if isinstance(text, str) and "://" in text)]
    places = tuple(origin(url) for url in urls if url)
    return places or (backend,)


def destination_of(provider: Provider) -> Destination:
    return destination(provider.backend, provider.base_url, provider.options)


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port; of what is no URL, itself."""
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or ""), parts.port or PORTS.get(parts.scheme)
    except ValueError:
        # Whatever it was, it was another place.
        return "", url, None
