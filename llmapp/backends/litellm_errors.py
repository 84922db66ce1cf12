"""litellm's exceptions, turned into facts.

What counts is what the provider said, and that is at the bottom of the chain of exceptions. Above it
litellm guesses: it makes statuses up (500 for a connection that broke, 408 for a time-out), and responses,
and has classes of its own that cannot even be unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmapp.core.errors import BackendError, ErrorFacts, ErrorKind

from .http import describe, transport_kind
from .openai_answer import parse_body

MAX_QUOTE = 64 * 1024


def translated(error: Exception, provider: str, started: bool) -> BackendError:
    """Turn one of litellm's exceptions into facts. `started`: some of the answer had come already."""
    causes = _causes(error)
    kind = transport_kind(causes)
    if kind is not None and not any(_response(cause) is not None for cause in causes):
        if started and kind is not ErrorKind.TIMEOUT:
            kind = ErrorKind.STREAM_INTERRUPTED
        return BackendError(ErrorFacts(provider=provider, exception=describe(causes[-1])), kind)
    if any(isinstance(cause, json.JSONDecodeError) for cause in causes):
        facts = ErrorFacts(provider=provider, status=200, exception=describe(causes[-1]))
        return BackendError(facts, ErrorKind.INVALID_RESPONSE)
    return BackendError(_said(causes, provider, started))


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = getattr(error, "original_exception", None) or error.__cause__ or error.__context__
    return causes


def _said(causes: list[BaseException], provider: str, started: bool) -> ErrorFacts:
    # From the bottom: there is the provider's own answer, above it litellm's guesses at status and type.
    body: object = None
    status: int | None = None
    headers: Mapping[str, str] = {}
    for cause in reversed(causes):
        if (response := _response(cause)) is not None:
            status = status or response.status_code
            headers = headers or {k.lower(): v for k, v in response.headers.items() if k.lower() != "set-cookie"}
        body = body or _body(cause)
        if status is None and body is None:
            status = getattr(cause, "status_code", None)
    if status is None and (started or isinstance(body, Mapping)):
        status = 200  # an error within the stream
    text = None if body else describe(causes[-1])
    return ErrorFacts(provider=provider, status=status, headers=headers, body=body, exception=text)


def _response(cause: BaseException) -> Any:
    """Return the HTTP response that an exception came with; not those that litellm makes up."""
    response = getattr(cause, "response", None)
    if response is None or not type(cause).__module__.startswith(("httpx", "openai")):
        return None
    return response if hasattr(response, "headers") else None


def _body(cause: BaseException) -> object:
    if (response := _response(cause)) is not None:
        try:
            return parse_body(response.content[:MAX_QUOTE]) or None
        except Exception:
            return None  # it was never read
    body = getattr(cause, "body", None)
    if body:
        return {"error": body} if isinstance(body, Mapping) and "error" not in body else body
    # The exceptions of litellm's own handlers carry the provider's text as their message.
    text = getattr(cause, "message", None)
    is_raw = isinstance(text, str) and type(cause).__module__.startswith("litellm.llms")
    return parse_body(str(text).encode()) if is_raw else None
