"""How the loopback provider says it: sockets, HTTP and events, well-formed or not.

Written by hand, because a proper server would refuse to cut, stall and lie.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from .provider_answers import Behaviour, chunk, deltas_of, too_long, usage_of, whole_answer


@dataclass
class Received:
    """One request as it came in. Times are `time.time()`."""

    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    started_at: float = field(default_factory=time.time)
    #: When the client closed its socket before it had the whole answer, else None.
    closed_at: float | None = None
    #: When the whole answer was sent.
    ended_at: float | None = None


class Director(Protocol):
    """Who decides what a connection does: the provider."""

    requests: list[Received]
    connections: int
    open: set[Connection]

    def behaviour_for(self, body: dict[str, Any]) -> Behaviour: ...

    def control(self, order: dict[str, Any]) -> dict[str, Any]: ...

    def stats(self) -> dict[str, Any]: ...

    def models_page(self) -> dict[str, Any]: ...

    async def released(self) -> None: ...


class Connection(asyncio.Protocol):
    """One socket: reads requests, one after the other, and answers them in a task."""

    def __init__(self, provider: Director) -> None:
        self.provider = provider
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self.request: Received | None = None
        self.buffer = b""
        self.served = 0
        self.number = 0
        self.writable = asyncio.Event()
        self.writable.set()

    # -- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.provider.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.provider.open.discard(self)
        if self.request and self.request.ended_at is None and self.request.closed_at is None:
            self.request.closed_at = time.time()
        if self.task:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.task is None:
            self.next_request()

    def abort(self) -> None:
        """Reset the connection (RST)."""
        assert self.transport
        if sock := self.transport.get_extra_info("socket"):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # -- requests

    def next_request(self) -> None:
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        self.served += 1
        method, path, _ = first.split(" ", 2)
        body = json.loads(rest[:length]) if length else None
        self.task = asyncio.get_running_loop().create_task(self.respond(method, path, headers, body))

    async def respond(self, method: str, path: str, headers: dict[str, str], body: Any) -> None:
        try:
            await self.route(method, path, headers, body)
        except (asyncio.CancelledError, ConnectionError):
            return
        finally:
            self.task = None
        if self.transport and not self.transport.is_closing():
            self.next_request()

    async def route(self, method: str, path: str, headers: dict[str, str], body: Any) -> None:
        if path == "/_control":
            await self.send_document(200, {}, self.provider.control(body))
        elif path == "/_stats":
            await self.send_document(200, {}, self.provider.stats())
        elif path.endswith("/models"):
            await self.send_document(200, {}, self.provider.models_page())
        else:
            if not self.number:  # the control pages' own connections are not counted
                self.provider.connections += 1
                self.number = self.provider.connections
            request = Received(path, headers, body, self.number)
            self.provider.requests.append(request)
            self.request = request
            await self.answer(request, self.provider.behaviour_for(body or {}))
            request.ended_at = time.time()

    async def answer(self, request: Received, behaviour: Behaviour) -> None:
        assert self.transport
        if behaviour.get("drop_reused") and self.served > 1:
            request.ended_at = time.time()
            return self.transport.close()
        if behaviour.get("silent"):
            await asyncio.sleep(3600)
        await asyncio.sleep(behaviour.get("delay", 0))
        if "slow_head" in behaviour:
            for byte in _head(200, {"content-type": "text/event-stream"}, None, "chunked"):
                await self.write(bytes([byte]))
                await asyncio.sleep(behaviour["slow_head"])
        if "bytes" in behaviour:
            self.transport.write(behaviour["bytes"].encode("latin-1"))
            return self.transport.close()
        if behaviour.get("echo_key"):
            said = f"the key {request.headers.get('authorization')} is wrong"
            behaviour = {"status": 401, "headers": {"x-echo": said}, "body": {"error": {"message": said}}}
        behaviour = too_long(request.body or {}, behaviour) or behaviour
        if "status" in behaviour or "body" in behaviour:
            head = _cookie(behaviour) | behaviour.get("headers", {})
            return await self.send_document(behaviour.get("status", 200), head, behaviour.get("body", ""))
        if not (request.body or {}).get("stream"):
            head = _cookie(behaviour) | behaviour.get("headers", {})
            return await self.send_document(200, head, whole_answer(request.body, behaviour))
        await _Stream(self, request, behaviour).send()

    # -- writing

    async def write(self, data: bytes) -> None:
        assert self.transport
        if self.transport.is_closing():
            raise ConnectionResetError
        self.transport.write(data)
        await self.writable.wait()

    async def send_document(self, status: int, headers: dict[str, str], body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        await self.write(_head(status, {"content-type": "application/json"} | headers, len(data)) + data)


class _Stream:
    """One streamed answer."""

    def __init__(self, connection: Connection, request: Received, behaviour: Behaviour) -> None:
        self.connection = connection
        self.request = request
        self.behaviour = behaviour
        self.framing = behaviour.get("framing", "chunked")
        self.speed = float(behaviour.get("tokens_per_second", 0))
        self.sent = 0
        self.held: list[bytes] = []

    async def send(self) -> None:
        headers = {"content-type": "text/event-stream"} | _cookie(self.behaviour) | self.behaviour.get("headers", {})
        if self.framing != "length":
            await self.connection.write(_head(200, headers, None, self.framing))
        whole = await self.send_body()
        end = self.behaviour.get("end", "clean")
        if self.framing == "length":
            data = b"".join(self.held)
            missing = 0 if whole or end == "clean" else 10
            await self.connection.write(_head(200, headers, len(data) + missing) + data)
        await self.finish("clean" if whole else end)

    async def finish(self, end: str) -> None:
        assert self.connection.transport
        if end == "rst":
            await asyncio.sleep(0.05)  # so that the client reads what came before
            self.request.ended_at = time.time()
            return self.connection.abort()
        if end == "never":
            await asyncio.sleep(3600)
        await asyncio.sleep(self.behaviour.get("end_delay", 0))
        if end == "clean" and self.framing == "chunked":
            await self.connection.write(b"0\r\n\r\n")
        self.request.ended_at = time.time()
        if end != "clean" or self.framing == "close":
            self.connection.transport.close()
        elif "close_after" in self.behaviour:
            asyncio.get_running_loop().call_later(self.behaviour["close_after"], self.connection.transport.close)

    async def send_body(self) -> bool:
        """Send the events; return whether the answer was a whole one."""
        if "raw" in self.behaviour:
            await self.send_bytes(self.behaviour["raw"].encode())
            return str(self.behaviour.get("end", "clean")) == "clean"
        await self.wait(self.behaviour.get("first_token_delay", 0))
        async for delta in self.tokens():
            await self.send_event(chunk(self.request.body, delta))
            self.sent += 1
            if self.sent == self.behaviour.get("stop_after"):
                return False
        if "error_after" in self.behaviour:
            return False
        await self.send_ending()
        return True

    async def tokens(self) -> AsyncIterator[dict[str, Any]]:
        start = time.monotonic()
        held_at, gate = self.behaviour.get("hold_after", (None, None))
        for number, delta in enumerate(deltas_of(self.request.body, self.behaviour)):
            if number == held_at:
                await _opened(gate)
                start = time.monotonic() - number / (self.speed or 1)
            if self.speed:
                await asyncio.sleep(max(start + number / self.speed - time.monotonic(), 0))
            if number == self.behaviour.get("stall_after"):
                await self.wait(3600)
            if number == self.behaviour.get("wait_after"):
                await self.connection.provider.released()
            at, error = self.behaviour.get("error_after", (None, None))
            if number == at:
                await self.send_event({"error": error})
                return
            yield delta

    async def send_ending(self) -> None:
        body, behaviour = self.request.body, self.behaviour
        held_at, gate = behaviour.get("hold_after", (None, None))
        if held_at is not None and held_at >= self.sent:
            await _opened(gate)
        for extra in behaviour.get("chunks", []):
            await self.send_event(extra)
        if behaviour.get("finish_reason", "stop"):
            reason = behaviour.get("finish_reason", "tool_calls" if behaviour.get("tool_calls") else "stop")
            await self.send_event(chunk(body, {}, reason))
        usage = behaviour.get("usage", True)
        if usage and (body.get("stream_options") or {}).get("include_usage"):
            counted = usage_of(body, behaviour) if usage is True else usage
            await self.send_event({**chunk(body, {}), "choices": [], "usage": counted})
        if behaviour.get("done", True):
            await self.send_line("data: [DONE]")

    async def wait(self, seconds: float) -> None:
        interval = self.behaviour.get("comments")
        until = time.monotonic() + seconds
        while interval and time.monotonic() + interval < until:
            await asyncio.sleep(interval)
            await self.send_line(": ping")
        await asyncio.sleep(max(until - time.monotonic(), 0))

    async def send_event(self, event: dict[str, Any]) -> None:
        await self.send_line("data: " + json.dumps(event))

    async def send_line(self, line: str) -> None:
        end = self.behaviour.get("line_end", "\n")
        await self.send_bytes((line + end + end).encode())

    async def send_bytes(self, data: bytes) -> None:
        size = self.behaviour.get("cut_bytes") or len(data)
        for at in range(0, len(data), size):
            await self.send_piece(data[at : at + size])

    async def send_piece(self, piece: bytes) -> None:
        if self.framing == "length":
            return self.held.append(piece)
        if self.framing == "chunked":
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        await self.connection.write(piece)
        if self.behaviour.get("cut_bytes"):
            await asyncio.sleep(0)


async def _opened(gate: threading.Event) -> None:
    # Whoever sets it is on another thread, and knows no loop.
    while not gate.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _cookie(behaviour: Behaviour) -> dict[str, str]:
    return {"set-cookie": behaviour["cookie"]} if "cookie" in behaviour else {}


def _head(status: int, headers: dict[str, str], length: int | None, framing: str = "length") -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"content-length: {length}")
    elif framing == "chunked":
        lines.append("transfer-encoding: chunked")
    else:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
