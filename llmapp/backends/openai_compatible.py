"""Our own client for every endpoint that speaks the OpenAI chat format.

Options of an endpoint:

* `api_version`: sent as the query parameter `api-version` (Azure).
* `key_header`: the header that takes the bare key, instead of `Authorization: Bearer`.
* `output_limit_parameter`: what the provider calls the limit; else OpenAI's own name for OpenAI, and
  `max_tokens` for everybody else.
* `stream_options`: false where a provider refuses to be asked for usage.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlencode

from llmapp.core.errors import BackendError, ErrorFacts, ErrorKind
from llmapp.core.stream import Delta, Head

from .base import Backend, Endpoint, ModelRequest, Secret
from .http import REFUSAL_BODY, Answer, HttpClient, drain
from .openai_answer import AnswerReader, parse_body
from .openai_format import limit_name, request_body
from .redact import redacted, redacted_headers

#: Bytes of a refusal that are read.
MAX_REFUSAL = 64 * 1024


class OpenAICompatible(Backend):
    """Chat completions over HTTP."""

    supports_tools = True
    reports_usage = True

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._http = HttpClient(endpoint)
        self._url = _url(endpoint)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        try:
            body = json.dumps(self._body(request), ensure_ascii=False, default=str).encode(errors="replace")
            async with self._http.post(self._url, self._headers(request), body) as answer:
                if not 200 <= answer.status < 300:
                    raise await self._refusal(answer)
                yield Head(answer.status, redacted_headers(answer.headers, request.secret))
                reader = AnswerReader(self.endpoint.name, answer.status, answer.headers)
                async with contextlib.aclosing(_deltas(reader, answer)) as deltas:
                    async for delta in deltas:
                        yield delta
        except BackendError as error:
            raise redacted(error, request.secret) from None

    async def aclose(self) -> None:
        await self._http.aclose()

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        options = self.endpoint.options
        return request_body(request, options, limit_name(self.endpoint.base_url, options))

    def _headers(self, request: ModelRequest) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if request.streaming else "application/json",
            "accept-encoding": "identity",  # a compressed stream arrives in lumps
            "user-agent": "llmapp",
        }
        headers.update({name.lower(): value for name, value in self.endpoint.headers.items()})
        headers.update(self._authorization(request.secret))
        return headers

    def _authorization(self, secret: Secret) -> dict[str, str]:
        key = secret.api_key.strip()
        if not key:
            return {}  # local servers need none
        if not (key.isascii() and key.isprintable()):
            # Refused here, because the exception that it would cause further down quotes it.
            facts = ErrorFacts(provider=self.endpoint.name, exception="the key has characters that no header can carry")
            raise BackendError(facts, ErrorKind.AUTH)
        if header := self.endpoint.options.get("key_header"):
            return {str(header).lower(): key}
        return {"authorization": f"Bearer {key}"}

    async def _refusal(self, answer: Answer) -> BackendError:
        raw = b""
        with contextlib.suppress(TimeoutError, BackendError):
            async with asyncio.timeout(REFUSAL_BODY):
                raw, _ = await answer.read(MAX_REFUSAL)
        facts = ErrorFacts(
            provider=self.endpoint.name, status=answer.status, headers=answer.headers, body=parse_body(raw)
        )
        # Redirects are not followed: a key must not travel to wherever an answer points.
        return BackendError(facts, ErrorKind.INVALID_RESPONSE if 300 <= answer.status < 400 else None)


async def _deltas(reader: AnswerReader, answer: Answer) -> AsyncGenerator[Delta]:
    async with contextlib.aclosing(answer.chunks()) as chunks:
        try:
            async for chunk in chunks:
                for delta in reader.feed(chunk):
                    yield delta
                if reader.ended:
                    break
        except BackendError:
            if not reader.finished:
                raise
        for delta in reader.end():
            yield delta
        if reader.ended:
            await drain(chunks)


def _url(endpoint: Endpoint) -> str:
    url = endpoint.base_url.rstrip("/")
    if not url.endswith("/chat/completions"):
        url += "/chat/completions"
    if version := endpoint.options.get("api_version"):
        url += "?" + urlencode({"api-version": version})
    return url
