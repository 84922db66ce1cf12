"""A way to a server that can be cut: a port of this machine that passes everything on to another one.

with Relay.to("postgres://postgres@127.0.0.1:5432/x") as relay:
    relay.url                   # the same URL, through the relay
    relay.cut()                 # what is open is reset, what comes is refused: the server has died
    relay.swallow()             # nothing is answered, not even by the kernel: the cable is out
    relay.mend()                # as if nothing had been

After `swallow` the sockets drop every packet that comes in (a filter in the kernel, Linux only), so the other side
sees no acknowledgement, and new connections hang: only its own timeouts help it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import threading
from typing import Self
from urllib.parse import urlsplit

#: Of <asm/socket.h>; Python has no names for these.
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
DEFAULT_PORTS = {"postgres": 5432, "postgresql": 5432, "redis": 6379, "amqp": 5672}


class Relay:
    """An event loop in a thread of its own. What is called from outside returns when it has been done."""

    def __init__(self, host: str, port: int, url: str = "") -> None:
        self._target = (host, port)
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        #: Those that were let in, from their first moment on.
        self._met: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0
        self._url = url

    @classmethod
    def to(cls, url: str) -> Self:
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORTS[parts.scheme], url)

    @property
    def url(self) -> str:
        parts = urlsplit(self._url)
        account, at, _host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{account}{at}127.0.0.1:{self.port}").geturl()

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *how: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        self._do(self._cut())

    def swallow(self) -> None:
        self._do(self._swallow())

    def mend(self) -> None:
        self._do(self._mend())

    def _do(self, what: object) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)  # type: ignore[arg-type]

    # --- on the loop ------------------------------------------------------------------------------

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in [*self._met, *(writer for pair in self._pairs for writer in pair)]:
            _reset(writer)
        # The tasks see it, and the sockets are gone when this returns.
        while self._met:  # noqa: ASYNC110 - a few milliseconds
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)

    async def _swallow(self) -> None:
        self._passing.clear()
        for sock in self._near_sockets():
            _drop_all_that_comes_in(sock)

    async def _mend(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._meet, "127.0.0.1", self.port, backlog=200)
            self.port = self._server.sockets[0].getsockname()[1]
        for sock in self._near_sockets():
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self._passing.set()

    def _near_sockets(self) -> list[socket.socket]:
        writers = [near.get_extra_info("socket") for near, _far in self._pairs]
        return [*(self._server.sockets if self._server else ()), *writers]

    async def _meet(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self._met.add(near)
        try:
            await self._pass_between(reader, near)
        finally:
            self._met.discard(near)

    async def _pass_between(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            far_reader, far = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(near)
            return
        if near.transport.is_closing():  # cut meanwhile
            _reset(far)
            return
        pair = (near, far)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pass(reader, far), self._pass(far_reader, near))
        except OSError:
            pass
        finally:
            for writer in pair:
                _reset(writer)
            self._pairs.discard(pair)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        await self._passing.wait()
        # One side said goodbye: so does the other, and that ends both.
        raise ConnectionResetError


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _drop_all_that_comes_in(sock: socket.socket) -> None:
    # One instruction of classic BPF, `ret #0`: accept nothing of the packet.
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
