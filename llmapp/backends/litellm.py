"""All other providers, through litellm: tamed in this one file.

* It is imported at the first use and in a thread: it takes seconds and 160 MB.
* It retries nothing, fetches nothing, logs nothing and prints nothing. Keys go with the call.
* Its exceptions end in `litellm_errors`.
* It invents `finish_reason="stop"` for a stream that was merely cut, and token counts where the provider
  gave none. Only `received_finish_reason`, and usage that came in a chunk, are the provider's own.
* All its connections are in one pool of ours, for each loop, that keeps no cookie.

Options of an endpoint go to litellm as arguments of the call, `custom_llm_provider` and `api_version` for
example. A model is named as litellm names it ("anthropic/claude-x"). A provider that only sends an end
marker, and no finish reason, counts as interrupted here, because litellm hides the marker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from llmapp.core.errors import BackendError, ErrorFacts, ErrorKind
from llmapp.core.stream import Delta, Finish, FinishReason, Head, UsageDelta
from llmapp.core.usage import Usage
from llmapp.core.usage_shapes import cost_stated, usage_from

from .base import Backend, Endpoint, ModelRequest
from .http import SharedConnections
from .litellm_errors import translated
from .openai_format import FINISH_REASONS, ChunkReader, request_body
from .redact import redacted, redacted_headers

#: litellm looks for a key in the environment unless it is given one, and local servers need none.
NO_KEY = "none"


class LiteLLM(Backend):
    """Any provider that litellm knows."""

    supports_tools = True
    reports_usage = True

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._pool: _Pool | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        started = False
        try:
            litellm = await asyncio.to_thread(load)
            self._pool = _Pool.join(litellm, self)
            answer = await litellm.acompletion(**self._arguments(request, self._pool.connections))
            head = Head(200, redacted_headers(_headers(answer), request.secret))
            reading = _streamed(answer, head) if request.streaming else _whole(answer, head)
            async with aclosing(reading) as deltas:
                async for delta in deltas:
                    started = started or not isinstance(delta, Head)
                    yield delta
        except BackendError as error:
            named = BackendError(replace(error.facts, provider=self.endpoint.name), error.kind)
            raise redacted(named, request.secret) from None
        except Exception as error:
            raise redacted(translated(error, self.endpoint.name, started), request.secret) from None

    async def aclose(self) -> None:
        if self._pool is not None:
            await self._pool.leave(self)

    def _arguments(self, request: ModelRequest, connections: SharedConnections) -> dict[str, Any]:
        secret = request.secret
        arguments = {
            **self.endpoint.options,
            **request_body(request, self.endpoint.options, thinking=True),
            **secret.extra,
            "api_key": secret.api_key.strip() or (None if secret.extra else NO_KEY),
            "num_retries": 0,
            "max_retries": 0,
            "timeout": connections.timeout(self.endpoint),
            "shared_session": connections.session,
        }
        if self.endpoint.base_url:
            arguments["api_base"] = self.endpoint.base_url
        if self.endpoint.headers:
            arguments["extra_headers"] = dict(self.endpoint.headers)
        if request.tools:
            arguments["_skip_mcp_handler"] = True  # else it imports a package that it does not depend on
        if arguments.get("stream_options") is not None and not isinstance(arguments["stream_options"], Mapping):
            del arguments["stream_options"]
        return arguments


def load() -> Any:
    """Import litellm, and make it quiet."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    # pydantic's remarks on litellm's own types; they come at the first use of each.
    warnings.filterwarnings("ignore", message=r"Item '\w+' on TypedDict class")
    warnings.filterwarnings("ignore", message=r"Accessing the 'model_\w+' attribute on the instance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm
    for name, value in QUIET.items():
        setattr(litellm, name, value)
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # At DEBUG it writes down heads of answers, and exceptions that hold the request's: with the key.
    logging.getLogger("openai._base_client").setLevel(logging.INFO)
    return litellm


QUIET: dict[str, Any] = {
    "disable_streaming_logging": True,
    "telemetry": False,
    "suppress_debug_info": True,
    "turn_off_message_logging": True,
    "disable_aiohttp_trust_env": True,
    "disable_hf_tokenizer_download": True,
    "num_retries": 0,
    # It ends an answer that repeats itself with an error of its own.
    "REPEATED_STREAMING_CHUNK_LIMIT": 10**9,
}


class _Pool:
    """The connections of one loop, shared by all endpoints, because litellm has one place for a client."""

    current: _Pool | None = None

    def __init__(self, litellm: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.connections = SharedConnections()
        self._litellm = litellm
        self._users: set[LiteLLM] = set()
        litellm.aclient_session = self.connections.client

    @classmethod
    def join(cls, litellm: Any, user: LiteLLM) -> _Pool:
        if cls.current is None or cls.current.loop is not asyncio.get_running_loop():
            cls.current = cls(litellm)
        cls.current._users.add(user)
        return cls.current

    async def leave(self, user: LiteLLM) -> None:
        self._users.discard(user)
        if self._users:
            return
        if _Pool.current is self:
            _Pool.current = None
            self._litellm.aclient_session = None
        # Its cache holds clients that are made of our connections, and some that have their own.
        with suppress(Exception):
            await self._litellm.close_litellm_async_clients()
        self._litellm.in_memory_llm_clients_cache.flush_cache()
        await self.connections.aclose()


# -- answers --------------------------------------------------------------------------------------


async def _streamed(answer: Any, head: Head) -> AsyncGenerator[Delta]:
    reader = ChunkReader()
    is_empty = None
    try:
        yield head
        async for chunk in _until_its_end(answer):
            for delta in reader.read({"choices": _choices(chunk)}):
                yield delta
            is_empty = is_empty is not False and _is_empty(chunk)
            # From here on it would count tokens and log; what is left of the stream is read below.
            if chunk.choices and chunk.choices[0].finish_reason:
                break
        for delta in reader.flush():
            yield delta
        reason = answer.received_finish_reason or answer.intermittent_finish_reason
        if reason:
            yield Finish(FINISH_REASONS.get(str(reason).lower(), FinishReason.STOP), str(reason)[:100])
        usages = [*_usages(answer.chunks)]
        async for usage in _rest(answer.completion_stream):
            usages.append(usage)
        if usages:
            yield _merged(usages)
        if not reason:
            raise _without_end(answer, bool(is_empty) and not reader.has_content)
    finally:
        await answer.aclose()


async def _until_its_end(answer: Any) -> AsyncGenerator[Any]:
    """Give the chunks. It reads on before it tells of a finish reason, and what fails then comes too late."""
    try:
        async for chunk in answer:
            yield chunk
    except Exception:
        if not answer.received_finish_reason:
            raise


async def _whole(answer: Any, head: Head) -> AsyncGenerator[Delta]:
    yield head
    reader = ChunkReader()
    for delta in reader.read(answer.model_dump()):
        yield delta
    if not reader.saw_choices:
        raise BackendError(ErrorFacts(status=200, body="an answer without choices"), ErrorKind.INVALID_RESPONSE)
    if not reader.finished:
        for delta in (*reader.flush(), Finish(FinishReason.STOP)):
            yield delta


def _choices(chunk: Any) -> list[dict[str, Any]]:
    # By hand, because dumping the model costs as much as all the rest. Its finish reason may be invented.
    if not chunk.choices:
        return []
    delta = chunk.choices[0].delta
    calls = [_plain(call) for call in getattr(delta, "tool_calls", None) or ()]
    content = {
        "content": getattr(delta, "content", None),
        "reasoning_content": getattr(delta, "reasoning_content", None),
        "tool_calls": calls,
    }
    return [{"delta": content}]


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def _headers(answer: Any) -> dict[str, str]:
    """Return the provider's own headers; a whole answer has them among litellm's notes."""
    headers = getattr(answer, "_response_headers", None)
    if not headers:
        headers = (getattr(answer, "_hidden_params", None) or {}).get("headers")
    return {str(k).lower(): str(v) for k, v in dict(headers or {}).items() if str(k).lower() != "set-cookie"}


def _usages(chunks: Any) -> Iterator[UsageDelta]:
    for chunk in chunks:
        usage = chunk.get("usage") if isinstance(chunk, Mapping) else getattr(chunk, "usage", None)
        plain = _plain(usage)
        if isinstance(plain, Mapping):
            yield UsageDelta(usage_from(plain), cost_stated(plain))


async def _rest(stream: Any) -> AsyncGenerator[UsageDelta]:
    """Read a stream to its end, so that its connection is used again; the usage comes after the finish reason."""
    if not hasattr(stream, "__aiter__"):
        return
    try:
        async for chunk in stream:
            for usage in _usages([chunk]):
                yield usage
    except Exception:
        return  # the answer is whole, or its missing end is the better explanation


def _merged(usages: list[UsageDelta]) -> UsageDelta:
    # Anthropic reports its input at the start and its output at the end; each is a running total.
    counts = [delta.usage.to_dict() for delta in usages]
    merged = {name: [count[name] for count in counts if count[name] is not None] for name in counts[0]}
    usage = Usage(**{name: max(values, default=None) for name, values in merged.items()})  # type: ignore[type-var]
    return UsageDelta(usage, next((delta.cost for delta in reversed(usages) if delta.cost is not None), None))


def _is_empty(chunk: Any) -> bool:
    # What litellm makes of an object without choices.
    return not chunk.choices or getattr(chunk.choices[0].delta, "role", None) is None


def _without_end(answer: Any, was_empty: bool) -> BackendError:
    headers = getattr(answer, "_response_headers", None) or {}
    kind = str(headers.get("content-type", ""))
    facts = ErrorFacts(status=200, exception=f"the stream ended without a finish reason ({kind})")
    is_answer = not was_empty and ("event-stream" in kind or not kind)
    return BackendError(facts, ErrorKind.STREAM_INTERRUPTED if is_answer else ErrorKind.INVALID_RESPONSE)
