"""A provider on loopback, for tests: it speaks the OpenAI chat format over real sockets, and it can lie.

In a test, on a thread of its own:

    with Provider() as provider:
        provider.url                    # "http://127.0.0.1:PORT/v1", the base_url of an endpoint
        provider.models["bad"] = {"status": 503, "body": {"error": {"message": "no"}}}
        provider.push({"stall_after": 5})           # for the next request only, whatever its model
        provider.plans["Hi"] = [{"status": 503}, {}]    # for requests that answer "Hi", in turn; then the last
        ...
        provider.requests[0].body["messages"]       # what came in: path, headers, body, connection
        provider.requests[0].closed_at              # time.time() when the client closed its socket too early
        provider.wait_closed()                      # waits for that, and returns the request
        provider.connections                        # how many were opened

    with Provider(tls=Authority().server("127.0.0.1")) as provider:     # https; see `certificates`

As a process, with the behaviour chosen by the model's name or over HTTP:

    python -m tests.support.provider --port 4010 --tokens-per-second 50
    curl -d '{"push": {"status": 429}}' localhost:4010/_control
    curl -d '{"models": {"bad": {"stall_after": 5}}}' localhost:4010/_control
    curl -d '{"default": {"tokens_per_second": 0}}' localhost:4010/_control
    curl -d '{"reset": true}' localhost:4010/_control
    curl localhost:4010/_stats          # {"connections", "open", "requests": [{...}]}

The first of these decides what a request gets: the plan for the user message that it is about, what was pushed (each
entry once), `models[model]`, `NAMED[model]` below (so that a configured model called "stall" stalls), `default`. Keys
of a behaviour:

    answer              text to say; else `answer_for(last user message)`, the same on every run
    overlap             characters of a cut answer that it says again when it is asked to go on with it
    anew                true: it says all of it again then
    reasoning           text to think before it
    tool_calls          list of tool calls as OpenAI streams them, after the text
    tokens_per_second   0 (at once) in a test, 50 as a process
    first_token_delay   seconds
    stop_after          number of tokens after which the answer stops as `end` says, without its ending
    stall_after         number of tokens after which nothing comes any more
    wait_after          number of tokens after which nothing comes until `provider.release()`
    hold_after          [number of tokens, threading.Event]: goes on after these tokens once the event is set, at its
                        own speed; after all of them, with its ending. Not over HTTP
    comments            seconds between ": ping" comments while it waits or stalls
    finish_reason       "stop"; null leaves it out. `done`: false leaves `data: [DONE]` out
    usage               true (counted), false, or the object itself
    chunks              extra objects that are sent before the finish reason
    error_after         [number of tokens, error object]: an error inside the stream
    end                 "clean" (default): ends the body properly; "fin", "rst": closes in mid-body; "never"
    end_delay           seconds between the last event and the end of the body
    framing             "chunked" (default), "length", "close": how the end of the body is told
    line_end            "\\n" (default), "\\r", "\\r\\n"
    cut_bytes           sends the body in pieces of this many bytes
    cookie              the value of a Set-Cookie header
    close_after         seconds after a whole answer at which it closes the idle connection unasked
    drop_reused         true: a second request on one connection is dropped without an answer
    echo_key            true: refuses with 401 and quotes the Authorization header, in the body and in the head
    window              tokens: refuses what is longer by its own count, and states this limit. It counts
                        `chars_per_token` (4) characters for each, and says so in the usage of its answers
    status headers body refuses with this instead of an answer; `body` is an object or text. `headers` alone: those
                        of the answer
    delay               seconds before the head of the answer
    slow_head           seconds between two bytes of the head
    raw                 text that is sent as the body of a 200 event stream as it is
    bytes               text (latin-1) that is sent instead of any HTTP answer, then the socket is closed
    silent              true: never answers
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import threading
import time
from collections import deque
from dataclasses import asdict
from typing import Any, Self

from .provider_answers import Behaviour, answer_for, tokens_of, user_messages
from .provider_wire import Connection, Received

__all__ = ["HTML", "NAMED", "Provider", "Received", "answer_for", "tokens_of"]

HTML = "<!doctype html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"

NAMED: dict[str, Behaviour] = {
    "fast": {"tokens_per_second": 0},
    "slow": {"tokens_per_second": 10},
    "stall": {"stall_after": 5},
    "silent": {"silent": True},
    "trickle": {"stall_after": 0, "comments": 0.2},
    "cut": {"stop_after": 5, "end": "fin"},
    "reset": {"stop_after": 5, "end": "rst"},
    "clean-cut": {"stop_after": 5, "end": "clean"},
    "html": {"status": 200, "headers": {"content-type": "text/html"}, "body": HTML},
    "bad-json": {"raw": 'data: {"choices": [{"delta": {"cont\n\ndata: [DONE]\n\n'},
    "no-choices": {"raw": 'data: {"id": "x", "object": "chat.completion.chunk"}\n\ndata: [DONE]\n\n'},
    "overloaded": {"status": 503, "body": {"error": {"message": "overloaded", "type": "overloaded_error"}}},
    "rate-limited": {"status": 429, "headers": {"retry-after": "1"}, "body": {"error": {"message": "slow down"}}},
    "bad-key": {"status": 401, "body": {"error": {"message": "bad key", "code": "invalid_api_key"}}},
    "missing": {"status": 404, "body": {"error": {"message": "no such model", "code": "model_not_found"}}},
    "error-in-stream": {"error_after": [5, {"message": "overloaded", "type": "overloaded_error"}]},
    "cookie": {"cookie": "session=of-someone-else; Path=/"},
    "thinks": {"reasoning": "First I look at it from all sides. "},
}


class Provider:
    """The server. Use it as a context manager, or `start()` and `stop()` it."""

    def __init__(
        self, port: int = 0, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, **default: Any
    ) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.default: Behaviour = default
        self.models: dict[str, Behaviour] = {}
        self.pushed: deque[Behaviour] = deque()
        self.plans: dict[str, list[Behaviour]] = {}
        self.requests: list[Received] = []
        self.connections = 0
        self.open: set[Connection] = set()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._released = asyncio.Event()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}/v1"

    def push(self, *behaviours: Behaviour) -> None:
        """Queue behaviours, each for one request."""
        self.pushed.extend(behaviours)

    def reset(self) -> None:
        """Forget behaviours, requests and counts."""
        self.models.clear()
        self.pushed.clear()
        self.plans.clear()
        self.requests.clear()
        self.connections = 0

    def wait_closed(self, timeout: float = 5.0) -> Received:
        """Wait until some request was abandoned by its client, and return it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for request in self.requests:
                if request.closed_at is not None:
                    return request
            time.sleep(0.01)
        raise AssertionError("no client closed its socket")

    def unanswered(self) -> list[Received]:
        """Return the requests that hold a socket now: neither answered to the end nor given up by their client.

        A connection without one is idle, and kept for the next request.
        """
        return [request for request in self.requests if request.ended_at is None and request.closed_at is None]

    def release(self) -> None:
        """Let answers go on that were held, and hold none from now on until `hold`."""
        assert self._loop
        self._loop.call_soon_threadsafe(self._released.set)

    def hold(self) -> None:
        assert self._loop
        self._loop.call_soon_threadsafe(self._released.clear)

    async def released(self) -> None:
        await self._released.wait()

    def close_idle(self) -> None:
        """Close all connections that are between two requests."""
        assert self._loop
        done = threading.Event()

        def close() -> None:
            for connection in list(self.open):
                if connection.task is None and connection.transport:
                    connection.transport.close()
            done.set()

        self._loop.call_soon_threadsafe(close)
        done.wait(5)

    def behaviour_for(self, body: dict[str, Any]) -> Behaviour:
        model = body.get("model", "")
        if planned := next((self.plans[said] for said in user_messages(body) if said in self.plans), None):
            return self.default | (planned.pop(0) if len(planned) > 1 else planned[0])
        if self.pushed:
            return self.default | self.pushed.popleft()
        return self.default | self.models.get(model, NAMED.get(model, {}))

    # -- life

    def start(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), name="provider", daemon=True)
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def stop(self) -> None:
        if self._loop and self._stop:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread:
            self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def serve(self) -> None:
        """Serve until stopped."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self._loop.create_server(lambda: Connection(self), self.host, self.port, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = [connection.task for connection in self.open if connection.task]
        for connection in list(self.open):
            connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # who was let in at this very moment
        for connection in list(self.open):
            connection.abort()
        await asyncio.sleep(0)

    # -- its own pages

    def control(self, order: dict[str, Any]) -> dict[str, Any]:
        if order.get("reset"):
            self.reset()
        pushed = order.get("push", [])
        self.push(*(pushed if isinstance(pushed, list) else [pushed]))
        self.models.update(order.get("models", {}))
        self.default.update(order.get("default", {}))
        return {"ok": True}

    def models_page(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name} for name in (*NAMED, *self.models)]}

    def stats(self) -> dict[str, Any]:
        return {
            "connections": self.connections,
            "open": len(self.open),
            "requests": [asdict(request) for request in self.requests],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="A provider on loopback that can lie.")
    parser.add_argument("--port", type=int, default=4010)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--tokens-per-second", type=float, default=50)
    arguments = parser.parse_args()
    with Provider(arguments.port, arguments.host, tokens_per_second=arguments.tokens_per_second) as provider:
        # Once it listens: port 0 takes a free one.
        print(f"provider at {provider.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
