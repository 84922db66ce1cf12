"""Many people at once: their accounts, and clients that keep what they hear and come back when they are cut off.

tokens = people(site, 20)
async with Crowd(site) as crowd:
    heard = await crowd.ask(tokens[0], "Hello")             # server-sent events, to the end
    heard = await crowd.follow(tokens[0], thread, run)      # a websocket, to the end, however often it breaks
    heard.text, heard.faults
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from llmapp.core.transcript import Transcript
from tests.support.site import Event, Site

ENDS = ("RUN_FINISHED", "RUN_ERROR")

#: Makes people, and prints a token for each.
MAKE = """
from django.contrib.auth import get_user_model
from llmapp import tokens
users = get_user_model()
for number in range({number}):
    user, made = users.objects.get_or_create(username=f"{name}-{{number}}", defaults={{"is_staff": True}})
    print("token", tokens.issue(user))
"""


def people(site: Site, number: int, name: str = "one-of-many") -> list[str]:
    """Make so many members of the staff, `name`-0 and so on, and return a token of each."""
    said = site.manage("shell", "-v", "0", "-c", MAKE.format(number=number, name=name)).stdout
    return [line.removeprefix("token ") for line in said.splitlines() if line.startswith("token ")]


@dataclass
class Heard:
    """What one client has of one run. Times are `time.monotonic()`."""

    run: str = field(default_factory=lambda: str(uuid.uuid4()))
    events: list[Event] = field(default_factory=list)
    #: When the first piece of text came, and the end.
    first_at: float | None = None
    ended_at: float | None = None
    #: Characters of text that came.
    length: int = 0
    #: How often it had to come back.
    returns: int = 0
    #: What must not be: entries that came twice, or that are missing.
    faults: list[str] = field(default_factory=list)

    @property
    def last(self) -> int:
        return len(self.events)

    @property
    def text(self) -> str:
        return "".join(Transcript(self.events).texts.values())

    @property
    def status(self) -> str:
        return str(self.events[-1]["type"]) if self.events else ""

    def take(self, seq: int, event: Event) -> None:
        if seq != self.last + 1:
            self.faults.append(f"{self.run}: {seq} after {self.last}")
        self.events.append(event)
        if event["type"] == "TEXT_MESSAGE_CONTENT":
            self.length += len(event["delta"])
            self.first_at = self.first_at or time.monotonic()
        if event["type"] in ENDS:
            self.ended_at = time.monotonic()


class Crowd:
    def __init__(self, site: Site, base_url: str = "") -> None:
        self._url = base_url or site.url

    async def __aenter__(self) -> Self:
        # A line of a long answer's snapshot may be long.
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=2**22,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, token: str, text: str, agent: str = "direct", thread: str | None = None) -> Heard:
        """Send a message and read the answer to its end."""
        heard = Heard()
        body = {
            "threadId": thread or str(uuid.uuid4()),
            "runId": heard.run,
            "messages": [{"id": str(uuid.uuid4()), "role": "user", "content": text}],
        }
        await self._read("POST", f"/api/agents/{agent}/runs", token, heard, json=body)
        return heard

    async def start(self, token: str, text: str, agent: str = "direct", thread: str | None = None) -> str:
        """Send a message, and hang up once the run is there."""
        heard = Heard()
        body = {
            "threadId": thread or str(uuid.uuid4()),
            "runId": heard.run,
            "messages": [{"id": str(uuid.uuid4()), "role": "user", "content": text}],
        }
        await self._read("POST", f"/api/agents/{agent}/runs", token, heard, lambda: heard.last > 0, json=body)
        return heard.run

    async def read_on(self, token: str, heard: Heard, enough: Callable[[], bool] = lambda: False) -> None:
        """Read the rest of a run, from where the client is, to its end or until it has enough."""
        await self._read("GET", f"/api/runs/{heard.run}/events?after={heard.last}", token, heard, enough)

    async def post(self, token: str, path: str) -> int:
        async with self.session.post(self._url + path, headers=_of(token)) as answer:
            return answer.status

    async def _read(
        self,
        method: str,
        path: str,
        token: str,
        heard: Heard,
        enough: Callable[[], bool] = lambda: False,
        **more: Any,
    ) -> None:
        async with self.session.request(method, self._url + path, headers=_of(token), **more) as answer:
            if answer.status != 200:
                raise AssertionError(f"{answer.status}: {await answer.text()}")
            seq = 0
            async for line in answer.content:
                if line.startswith(b"id:"):
                    seq = int(line[3:])
                elif line.startswith(b"data:"):
                    heard.take(seq, json.loads(line[5:]))
                    if enough():
                        return

    async def follow(self, token: str, thread: str, heard: Heard, ready: asyncio.Event | None = None) -> Heard:
        """Follow a run over a websocket to its end, as the chat page does: cut off, it comes back and goes on."""
        attempt = 0
        while heard.ended_at is None:
            try:
                url = f"{self._url}/ws/conversations/{thread}/"
                async with self.session.ws_connect(url, headers=_of(token), max_msg_size=0) as socket:
                    attempt = 0
                    await socket.send_json({"type": "subscribe", "run": heard.run, "after": heard.last})
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            self._hear(json.loads(message.data), heard)
                        if ready is not None and heard.first_at is not None:
                            ready.set()
                        if heard.ended_at is not None:
                            return heard
            except (aiohttp.ClientError, ConnectionError):
                pass
            heard.returns += 1
            # As `backoff.js` waits: twice as long each time, with chance.
            await asyncio.sleep(min(0.25 * 2**attempt, 10) * random.uniform(0.5, 1))
            attempt += 1
        return heard

    def _hear(self, frame: dict[str, Any], heard: Heard) -> None:
        if frame["type"] == "event" and frame["run"] == heard.run:
            heard.take(frame["seq"], frame["event"])
        elif frame["type"] == "error":
            heard.faults.append(str(frame))


def _of(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
