"""Browsers that read a byte a second: no memory waits for them, and nobody else does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest

from llmapp.api import slow_readers
from tests.support.provider import Provider
from tests.support.site import Site

from .crowd import ENDS, Crowd, Heard
from .processes import resident

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: An answer of 600 KB in few tokens; it travels as text and as HTML.
LONG = (("x" * 499 + " ") * 8 + "\n\n") * 150
READERS = 40
#: KiB that the web process may grow by: what one brisk reader of such an answer costs, and a little for each slow one.
#: Without a bound it is 45,000 and more.
FLAT = 30_000


class Reader:
    """A client on a plain socket, which reads as fast as it is told to.

    Its kernel takes little in advance, and its segments are those of a line, not of loopback: with segments of 64 KB
    the server's kernel would take 2 MB and more of an answer at once, and nothing would be left to be kept.
    """

    def __init__(self, site: Site, token: str, path: str, upgrade: bool = False) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", site.port))
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{site.port}",
            f"Authorization: Bearer {token}",
        ]
        if upgrade:
            key = base64.b64encode(uuid.uuid4().bytes).decode()
            lines += ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}"]
            lines += ["Sec-WebSocket-Version: 13"]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.read = b""
        self._slow = threading.Event()
        self._thread = threading.Thread(target=self._trickle, daemon=True)

    def trickle(self) -> None:
        """Read a byte a second from now on."""
        self._thread.start()

    def _trickle(self) -> None:
        while not self._slow.wait(1):
            self.read += self.socket.recv(1)

    def hurry(self, enough: Callable[[bytes], bool]) -> bytes:
        """Read the rest as fast as it comes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**22)
        self._slow.set()
        if self._thread.is_alive():
            self._thread.join()
        return self.read_until(enough)

    def read_until(self, enough: Callable[[bytes], bool]) -> bytes:
        while not enough(self.read[-200_000:]):
            data = self.socket.recv(65536)
            assert data, "the line was cut"
            self.read += data
        return self.read

    def wait_until_cut(self, seconds: float) -> bool:
        """Wait for the server to cut the line, and read nothing."""
        line = select.poll()
        # Errors and the end of the line are told in any case, what could be read is not.
        line.register(self.socket, 0)
        return line.poll(seconds * 1000) != []

    def close(self) -> None:
        self._slow.set()
        with contextlib.suppress(OSError):
            # It wakes up who reads; a line that is down already has none.
            self.socket.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()
        self.socket.close()


def sse_reader(site: Site, token: str, thread: str, run: str) -> Reader:
    return Reader(site, token, f"/api/runs/{run}/events")


def socket_reader(site: Site, token: str, thread: str, run: str) -> Reader:
    reader = Reader(site, token, f"/ws/conversations/{thread}/", upgrade=True)
    # It hears of the run by itself only if that starts now.
    reader.read = reader.read_until(lambda data: b"\r\n\r\n" in data).partition(b"\r\n\r\n")[2]
    frame = json.dumps({"type": "subscribe", "run": run, "after": 0}).encode()
    # Masked with zeros, which changes nothing.
    reader.socket.sendall(b"\x81" + bytes([0x80 | len(frame)]) + bytes(4) + frame)
    return reader


def heard_as_sse(data: bytes) -> Heard:
    """Read the body of a chunked answer: HTTP's own lines are none of ours."""
    heard, body, rest = Heard(), b"", data.partition(b"\r\n\r\n")[2]
    while rest and (size := int(rest.partition(b"\r\n")[0], 16)):
        rest = rest.partition(b"\r\n")[2]
        body, rest = body + rest[:size], rest[size + 2 :]
    for event in body.split(b"\n\n"):
        if event.startswith(b"id:"):
            number, _, text = event.partition(b"\n")
            heard.take(int(number[3:]), json.loads(text.removeprefix(b"data:")))
    return heard


def heard_as_frames(data: bytes) -> Heard:
    """Read the frames of a server, which are not masked."""
    heard = Heard()
    while len(data) > 10:
        size, head = data[1], 2
        if size > 125:
            head = 4 if size == 126 else 10
            size = int.from_bytes(data[2:head], "big")
        payload, data = data[head : head + size], data[head + size :]
        if payload.startswith(b'{"type":"event"') and len(payload) == size:
            frame = json.loads(payload)
            heard.take(frame["seq"], frame["event"])
    return heard


KINDS = {"sse": (sse_reader, heard_as_sse), "websocket": (socket_reader, heard_as_frames)}


@contextlib.contextmanager
def closing(readers: list[Reader]) -> Iterator[None]:
    try:
        yield
    finally:
        for reader in readers:
            reader.close()


@pytest.fixture
def web(site: Site) -> int:
    """Return a new web process: one that has been larger would have room to hide a growth in."""
    (old,) = site.webs()
    os.kill(old, signal.SIGTERM)
    site.wait_for(lambda: site.webs() not in ([old], []), 20)
    assert site.send("direct", "Hello")[-1]["type"] == ENDS[0]
    (new,) = site.webs()
    return new


@pytest.mark.parametrize("kind", KINDS)
async def test_slow_readers_cost_no_memory_and_delay_nobody(
    site: Site, provider: Provider, crowd: Crowd, web: int, kind: str
) -> None:
    """The whole answer is there while they have read a few bytes; later they get all of it, each entry once."""
    opened, understood = KINDS[kind]
    token, thread = site.http.headers["Authorization"].removeprefix("Bearer "), str(uuid.uuid4())
    provider.push({"answer": LONG, "wait_after": 1, "tokens_per_second": 200})
    run = await crowd.start(token, "Say much", thread=thread)
    readers = [await asyncio.to_thread(opened, site, token, thread, run) for _ in range(READERS)]
    with closing(readers):
        for reader in readers:
            reader.trickle()
        memory, slowest = [resident(web)], 0.0
        provider.release()
        brisk = Heard(run)
        reading = asyncio.create_task(crowd.read_on(token, brisk))
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            while not reading.done():
                asked = time.monotonic()
                assert (await http.get(f"{site.url}/health/live")).status_code == 200
                slowest = max(slowest, time.monotonic() - asked)
                memory.append(resident(web))
                await asyncio.sleep(0.1)
        await reading
        await asyncio.sleep(0.5)
        memory.append(resident(web))
        assert brisk.text == LONG
        assert brisk.faults == []
        assert all(len(reader.read) < 1_000 for reader in readers)
        grown = max(memory) - memory[0]
        print(f"{kind}: {READERS} readers, {memory[0]} KiB and {grown} more, health in {slowest * 1000:.0f} ms")
        assert grown < FLAT
        assert slowest < 2
        late = understood(await asyncio.to_thread(readers[0].hurry, lambda data: ENDS[0].encode() in data))
        assert late.text == LONG
        assert late.faults == []


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_a_reader_that_takes_nothing_for_a_minute_is_cut_off(
    site: Site, provider: Provider, crowd: Crowd, kind: str
) -> None:
    """It holds a place; when it comes back, all is there."""
    opened, _understood = KINDS[kind]
    token, thread, said = site.http.headers["Authorization"].removeprefix("Bearer "), str(uuid.uuid4()), len(site.lines)
    provider.push({"answer": LONG, "wait_after": 1})
    run = await crowd.start(token, "Say much", thread=thread)
    reader = await asyncio.to_thread(opened, site, token, thread, run)
    with closing([reader]):
        provider.release()
        brisk = Heard(run)
        await crowd.read_on(token, brisk)
        ended = time.monotonic()
        assert await asyncio.to_thread(reader.wait_until_cut, slow_readers.PATIENCE + 30)
        print(f"{kind}: cut off {time.monotonic() - ended:.0f} s after the answer's end")
        if kind == "sse":
            # A websocket has not answered a ping by then, and is gone without a word.
            await asyncio.to_thread(site.wait_for_line, "is cut off", 5, said)
    heard = Heard(run)
    await crowd.read_on(token, heard)
    assert heard.text == brisk.text == LONG
