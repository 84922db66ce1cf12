"""A provider in a process of its own: OpenAI's chat format, and every token says when it was made.

    python -m benchmarks.provider --rate 50 --tokens 600
    listening 127.0.0.1:40213

It does as little as possible: what it costs is in the figures of everything that is measured through it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

from llmapp.backends.stamps import token

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
#: A message with these words gets a short answer.
WARM_UP, WARM_UP_TOKENS = "Warm up.", 5


class Connection(asyncio.Protocol):
    def __init__(self, rate: float, tokens: int) -> None:
        self._rate, self._tokens = rate, tokens
        self._received = bytearray()
        #: Where the body of the request begins and ends, once its head is there.
        self._body: slice | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.startswith(b"GET ") and b"\r\n\r\n" in self._received:
            self._received.clear()
            self._answer_json({"object": "list", "data": [{"id": "bench", "object": "model", "owned_by": "bench"}]})
            return
        if self._body is None and (length := LENGTH.search(self._received)) is not None:
            begins = self._received.find(b"\r\n\r\n") + 4
            self._body = slice(begins, begins + int(length[1])) if begins > 3 else None
        if self._body is None or len(self._received) < self._body.stop:
            return
        request = json.loads(self._received[self._body])
        self._received.clear()
        self._body = None
        self._task = asyncio.get_running_loop().create_task(self._answer(request))

    def connection_lost(self, error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, request: dict[str, Any]) -> None:
        if not request.get("stream"):
            self._answer_whole()
            return
        self._transport.write(HEAD)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(self._length(request)):
            await asyncio.sleep(began + number / self._rate - loop.time())
            self._send({"content": token(number + 1)})
        self._send(
            {}, "stop", {"prompt_tokens": 20, "completion_tokens": self._tokens, "total_tokens": self._tokens + 20}
        )
        self._chunk(b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")

    def _length(self, request: dict[str, Any]) -> int:
        return WARM_UP_TOKENS if WARM_UP in json.dumps(request["messages"][-1]) else self._tokens

    def _send(self, delta: dict[str, str], reason: str | None = None, usage: dict[str, int] | None = None) -> None:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "bench",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        if usage is not None:
            chunk["usage"] = usage
        self._chunk(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _answer_whole(self) -> None:
        """Answer what a peer asks beside the chat, such as a title."""
        message = {"role": "assistant", "content": "ok"}
        self._answer_json(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "bench",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )

    def _answer_json(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
        self._transport.write(head + data)


async def serve(rate: float, tokens: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(rate, tokens), "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    print(f"listening {host}:{port}", flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def running(rate: float, tokens: int) -> Iterator[str]:
    """Start a provider, and give its base URL."""
    command = [sys.executable, "-m", __name__, "--rate", str(rate), "--tokens", str(tokens)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://{process.stdout.readline().split()[1]}/v1"
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=50, help="tokens a second of each stream")
    parser.add_argument("--tokens", type=int, default=500, help="tokens of an answer")
    options = parser.parse_args()
    import uvloop

    uvloop.run(serve(options.rate, options.tokens))


if __name__ == "__main__":
    main()
