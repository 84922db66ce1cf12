"""HTTP for backends: the only file that knows httpx and aiohttp.

* A client keeps connections and nothing else: no cookies, no default headers, no key, no proxy or
  password from the environment. It follows no redirect. So it talks to the transport directly; an
  `httpx.AsyncClient` would remember cookies, and so would aiohttp's session if it were let.
* Only connecting has a time limit here; how long an answer may take is the executor's business.
* Whatever goes wrong leaves as `BackendError`. httpx-aiohttp calls most failures `ConnectTimeout` and
  lets some of aiohttp's own through, so the innermost exception is what counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Mapping, Sequence
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from llmapp.core.errors import BackendError, ErrorFacts, ErrorKind

from .base import Endpoint

#: Seconds that an idle connection is kept. Many providers close theirs after 60.
KEEP_ALIVE = 50.0

#: Seconds to wait for the end of a body that has said all it had to say, so that its connection can be used again.
DRAIN = 0.5

#: Seconds to wait for the body of a refusal: its status is known, and must not be lost to a slow body.
REFUSAL_BODY = 5.0

_reused: ContextVar[bool] = ContextVar("reused", default=False)


def _make_session(limit: int, keep: bool = True) -> aiohttp.ClientSession:
    """Make a pool of at most `limit` connections, 0 for any number; which are kept for the next request, or not."""
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_note_reuse)
    kept: dict[str, Any] = {"keepalive_timeout": KEEP_ALIVE} if keep else {"force_close": True}
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, ssl=ssl_context(), **kept),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=[tracing],
    )


class _Steady(AiohttpTransport):
    """Sends a request again when its connection, a kept one, turned out to be closed.

    Once, and on a connection that nobody has used: of several kept ones, all may have been closed meanwhile.
    """

    def __init__(self, limit: int, session: aiohttp.ClientSession | None = None) -> None:
        super().__init__(verify=ssl_context(), client=session or functools.partial(_make_session, limit))
        self._fresh = AiohttpTransport(verify=ssl_context(), client=functools.partial(_make_session, limit, keep=False))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _reused.set(False)
        try:
            return await super().handle_async_request(request)
        except Exception as error:
            if not (_reused.get() and _was_stale(error)):
                raise
        return await self._fresh.handle_async_request(request)

    async def aclose(self) -> None:
        await super().aclose()
        await self._fresh.aclose()


class HttpClient:
    """Connections to one provider, on one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport = _Steady(limit=max(endpoint.concurrency, 1))

    @contextlib.asynccontextmanager
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AsyncGenerator[Answer]:
        """Send a request and give its answer, whatever its status. Leaving closes what was not read to its end."""
        response = await self._send(url, headers, body)
        try:
            yield Answer(response, self._endpoint.name)
        finally:
            await _quietly(response.aclose())

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        try:
            request = httpx.Request("POST", url, headers=dict(headers), content=body, extensions=self._limits())
            return await self._transport.handle_async_request(request)
        except Exception as error:
            raise _before_the_answer(error, self._endpoint.name) from None

    def _limits(self) -> dict[str, Any]:
        return {"timeout": {"connect": self._endpoint.timeouts.connect, "read": None, "write": None, "pool": None}}

    async def aclose(self) -> None:
        await _quietly(self._transport.aclose())


class Answer:
    """The head of an answer, and its body as it comes."""

    def __init__(self, response: httpx.Response, provider: str) -> None:
        self._response = response
        self._provider = provider
        self.status = response.status_code
        self.headers = {k.lower(): v for k, v in response.headers.items() if k.lower() != "set-cookie"}

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Give the body as it arrives, decompressed. Raises `BackendError` when it breaks off."""
        source = self._response.aiter_bytes() if "content-encoding" in self.headers else self._response.stream
        assert not isinstance(source, httpx.SyncByteStream)
        iterator = aiter(source)
        try:
            async for chunk in iterator:
                yield chunk
        except Exception as error:
            raise _within_the_answer(error, self._provider, self.status) from None
        finally:
            if isinstance(iterator, AsyncGenerator):
                await _quietly(iterator.aclose())

    async def read(self, limit: int) -> tuple[bytes, bool]:
        """Return up to `limit` bytes of the body, and whether that was all of it."""
        parts: list[bytes] = []
        size = 0
        async with contextlib.aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                parts.append(chunk[: limit - size])
                size += len(chunk)
                if size > limit:
                    break
        return b"".join(parts), size <= limit


class _Draining(_Steady):
    """Reads a body to its end before it is closed, when its reader left at the end marker.

    OpenAI's own client closes there, a moment before the body ends, and so loses the connection.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        # The provider's own words, which httpx logs: they may be anything, the key too.
        response.extensions.pop("reason_phrase", None)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _DrainedStream(response.stream)
        return response


class _DrainedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._tail = b""

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        async for chunk in self._stream:
            self._tail = (self._tail + chunk)[-20:]
            yield chunk

    async def aclose(self) -> None:
        if self._tail.rstrip().endswith(b"[DONE]"):
            await _quietly(_read_to_the_end(self._stream))
        await self._stream.aclose()


class SharedConnections:
    """One pool for a library that makes httpx clients of its own: an aiohttp session, and a client on it.

    Neither keeps a cookie, follows a redirect or reads the environment.
    """

    def __init__(self) -> None:
        # No limit: what the library opens here belongs to several endpoints, and must not make one wait for another.
        self.session = _make_session(limit=0)
        self.client = httpx.AsyncClient(
            transport=_Draining(limit=0, session=self.session),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            trust_env=False,
        )

    @staticmethod
    def timeout(endpoint: Endpoint) -> httpx.Timeout:
        """Return the time limits of a request: to connect, and the attempt's own as the outermost guard."""
        return httpx.Timeout(endpoint.timeouts.total + 5, connect=endpoint.timeouts.connect, pool=None)

    async def aclose(self) -> None:
        await _quietly(self.client.aclose())
        await _quietly(self.session.close())


async def drain(chunks: AsyncGenerator[bytes]) -> None:
    """Read the rest of a body that has nothing more to say, so that its connection is used again."""
    with contextlib.suppress(BackendError, TimeoutError):
        await _read_to_the_end(chunks)


async def _read_to_the_end(chunks: AsyncIterable[bytes]) -> None:
    async with asyncio.timeout(DRAIN):
        async for _ in chunks:
            pass


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """Trust certifi's authorities, or those of `SSL_CERT_FILE` or `SSL_CERT_DIR`: a company may have its own."""
    return httpx.create_ssl_context()


async def _note_reuse(*_: object) -> None:
    _reused.set(True)


async def _quietly(closing: Awaitable[object]) -> None:
    # What fails while giving a connection up is of no interest to whoever has his answer or his error already.
    with contextlib.suppress(Exception):
        await closing


def _causes(error: BaseException | None) -> list[BaseException]:
    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__
    return causes


def _was_stale(error: Exception) -> bool:
    """Say whether a kept connection turned out to be closed before the provider answered a byte of its head."""
    return any(
        isinstance(cause, ConnectionResetError | BrokenPipeError)
        or (isinstance(cause, aiohttp.ServerDisconnectedError) and isinstance(cause.message, str))
        for cause in _causes(error)
    )


#: What an exception of the transport means; the first that fits.
TRANSPORT_KINDS: tuple[tuple[tuple[type[BaseException], ...], ErrorKind], ...] = (
    ((aiohttp.InvalidURL, httpx.InvalidURL, httpx.UnsupportedProtocol), ErrorKind.INVALID_REQUEST),
    ((aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError, TimeoutError), ErrorKind.TIMEOUT),
    # The provider did answer, but not in HTTP.
    ((aiohttp.ClientResponseError, aiohttp.http_exceptions.HttpProcessingError), ErrorKind.INVALID_RESPONSE),
    ((aiohttp.ClientPayloadError,), ErrorKind.STREAM_INTERRUPTED),
    ((aiohttp.ClientError, OSError, httpx.TransportError), ErrorKind.CONNECTION),
)


def transport_kind(causes: Sequence[BaseException]) -> ErrorKind | None:
    """Return what kind of failure of the transport is among these exceptions, if any is."""
    for types, kind in TRANSPORT_KINDS:
        if any(isinstance(cause, types) for cause in causes):
            return kind
    return None


def describe(error: BaseException) -> str:
    """Return an exception's type and text."""
    return f"{type(error).__module__}.{type(error).__qualname__}: {error}"[:500]


def _before_the_answer(error: Exception, provider: str) -> BackendError:
    causes = _causes(error)
    return BackendError(ErrorFacts(provider=provider, exception=describe(causes[-1])), transport_kind(causes))


def _within_the_answer(error: Exception, provider: str, status: int) -> BackendError:
    garbled = any(isinstance(cause, httpx.DecodingError | aiohttp.ContentTypeError) for cause in _causes(error))
    kind = ErrorKind.INVALID_RESPONSE if garbled else ErrorKind.STREAM_INTERRUPTED
    return BackendError(ErrorFacts(provider=provider, status=status, exception=describe(_causes(error)[-1])), kind)
