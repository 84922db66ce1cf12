"""The runs that one socket follows, each in a task that waits for the socket before it reads on.

Rules:

* A run that starts while the socket is open is followed from its first event, unasked.
* The first `subscribe` to such a run goes on where the socket is: nothing comes twice. A second one
  starts again from its `after`, and so does any `subscribe` to another run.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, cast

from llmapp.runs.hub import get_hub

#: Runs that a socket may follow at the same time.
LIMIT = 20


class TooMany(Exception):
    """The socket follows as many runs as it may."""


class _Following:
    """One run on one socket. `last` is the seq of the last event that was sent."""

    def __init__(self, run: str, after: int, unasked: bool) -> None:
        #: The beginning of every frame. Events pass on as the text that they are.
        self.head = f'{{"type":"event","run":{json.dumps(run)},"seq":'
        self.last = after
        self.unasked = unasked
        self.task: asyncio.Task[None] | None = None

    @property
    def live(self) -> bool:
        return self.task is not None and not self.task.done()


class Subscriptions:
    """`send` takes a frame's text and waits until the socket has taken it; `spawn` starts a watched task."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._send = send
        self._spawn = spawn
        self._followed: dict[uuid.UUID, _Following] = {}

    def follow(self, run_pk: uuid.UUID, run: str) -> None:
        """Follow a run that has just started."""
        if run_pk not in self._followed:
            self._start(run_pk, _Following(run, after=0, unasked=True))

    async def subscribe(self, run_pk: uuid.UUID, run: str, after: int) -> None:
        """Follow a run because the client asks for it. Raises `TooMany`."""
        current = self._followed.get(run_pk)
        if current is not None and current.unasked and after <= current.last:
            current.unasked = False
            return
        if sum(other.live for other in self._followed.values() if other is not current) >= LIMIT:
            raise TooMany
        if current is not None:
            await _cancel(current)
        self._start(run_pk, _Following(run, after, unasked=False))

    def _start(self, run_pk: uuid.UUID, following: _Following) -> None:
        self._followed[run_pk] = following
        following.task = self._spawn(self._pump(run_pk, following))

    async def _pump(self, run_pk: uuid.UUID, following: _Following) -> None:
        stream = cast("AsyncGenerator[tuple[int, str]]", get_hub().stream(run_pk, after=following.last))
        async with aclosing(stream) as events:
            async for seq, data in events:
                await self._send(f'{following.head}{seq},"event":{data}}}')
                following.last = seq


async def _cancel(following: _Following) -> None:
    if following.task is not None:
        following.task.cancel()
        with suppress(asyncio.CancelledError):
            await following.task
