"""The clients of one measurement, in a process of their own: so many streams, each token's age on arrival.

Reads one `Job` as JSON from standard input, and writes one `Result`, as JSON, to standard output.
Nothing is parsed that need not be: a client that is slow would be measured, not the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp

from .stamps import FOUND, age, now

Socket = aiohttp.ClientWebSocketResponse


@dataclass(frozen=True, slots=True)
class Job:
    #: One request for each stream: {"method", "url", "headers", "json"}; or, for a websocket that is open before its
    #: stream starts as a page's is, {"socket": url, "headers", "frame"}.
    requests: list[dict[str, Any]]
    #: Only events with these bytes hold tokens; empty for all. llmapp sends text as it is, and rendered.
    marker: str
    #: Streams that are started in a second.
    starts: float
    #: Seconds for all of it.
    patience: float


@dataclass(slots=True)
class Result:
    #: Microseconds from each token's making to its arrival, while all streams ran.
    delays: list[int] = field(default_factory=list)
    #: Microseconds from the request to the first token, of each stream.
    first: list[int] = field(default_factory=list)
    #: Tokens that arrived, of each stream.
    tokens: list[int] = field(default_factory=list)
    #: What went wrong, in words.
    errors: list[str] = field(default_factory=list)
    #: Seconds from the moment when all streams ran to the moment when the first one ended.
    steady: float = 0.0


class Clients:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._marker = job.marker.encode()
        self._running = 0
        self._all_since: int | None = None
        self._over: int | None = None
        self.result = Result()
        #: (arrival, age) of each token.
        self._arrivals: list[tuple[int, int]] = []

    async def run(self) -> Result:
        timeout = aiohttp.ClientTimeout(total=self._job.patience)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=2**18) as session:
            sockets = [await self._open(session, request) for request in self._job.requests]
            tasks = []
            for request, socket in zip(self._job.requests, sockets, strict=True):
                tasks.append(asyncio.create_task(self._follow(session, request, socket)))
                await asyncio.sleep(1 / self._job.starts)
            await asyncio.gather(*tasks)
        self._settle()
        return self.result

    async def _open(self, session: aiohttp.ClientSession, request: dict[str, Any]) -> Socket | None:
        return await session.ws_connect(request["socket"], headers=request["headers"]) if "socket" in request else None

    async def _follow(self, session: aiohttp.ClientSession, request: dict[str, Any], socket: Socket | None) -> None:
        count = 0
        try:
            began = now()
            if socket is not None:
                await socket.send_json(request["frame"])
                async with asyncio.timeout(self._job.patience):
                    count = await self._hear(socket, began)
                await socket.close()
                return
            async with session.request(**request) as answer:
                if answer.status != 200:
                    self.result.errors.append(f"{answer.status}: {(await answer.text())[:200]}")
                    return
                count = await self._read(answer, began)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.result.errors.append(repr(error)[:200])
        finally:
            self.result.tokens.append(count)
            self._over = self._over or now()

    async def _read(self, answer: aiohttp.ClientResponse, began: int) -> int:
        count, rest = 0, b""
        async for data in answer.content.iter_any():
            at = now()
            events, found, rest = (rest + data).rpartition(b"\n\n")
            if not found:
                continue
            for event in events.split(b"\n\n"):
                if self._marker in event:
                    count = self._note(event, at, began, count)
        return count

    async def _hear(self, socket: Socket, began: int) -> int:
        count = 0
        while True:
            message = await socket.receive()
            at = now()
            if message.type is not aiohttp.WSMsgType.TEXT:
                self.result.errors.append(f"the socket closed: {message.data}")
                return count
            frame = message.data.encode()
            if self._marker in frame:
                count = self._note(frame, at, began, count)
            elif b'"RUN_FINISHED"' in frame or b'"RUN_ERROR"' in frame:
                return count
            elif b'"type": "error"' in frame:
                self.result.errors.append(message.data[:200])
                return count

    def _note(self, event: bytes, at: int, began: int, count: int) -> int:
        """Note the tokens of an event, and return the new count."""
        for token in FOUND.findall(event):
            self._arrivals.append((at, age(token, at)))
            count += 1
            if count == 1:
                self._begun(at - began)
        return count

    def _begun(self, first: int) -> None:
        self.result.first.append(first)
        self._running += 1
        if self._running == len(self._job.requests):
            self._all_since = now()

    def _settle(self) -> None:
        """Keep the tokens that were made while all streams ran: the start of a crowd is another question."""
        if self._all_since is None or self._over is None:
            return
        self.result.steady = max(0.0, (self._over - self._all_since) / 1e6)
        self.result.delays = [old for at, old in self._arrivals if self._all_since <= at - old < self._over]


def main() -> None:
    import uvloop

    job = Job(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(Clients(job).run())), sys.stdout)


if __name__ == "__main__":
    main()
