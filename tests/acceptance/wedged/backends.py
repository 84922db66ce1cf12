"""Ways of a backend not to come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from llmapp.backends.base import Backend, ModelRequest
from llmapp.core.stream import Delta, TextDelta

FOR_EVER = 3600.0


class Blocks(Backend):
    """Keeps the event loop for itself, as a library does that knows nothing of loops."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        time.sleep(FOR_EVER)  # noqa: ASYNC251
        yield TextDelta("never said")


class Ignores(Backend):
    """Takes a cancellation for something to get over."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        until = time.monotonic() + FOR_EVER
        yield TextDelta("begun ")
        while time.monotonic() < until:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue


class Threads(Backend):
    """Waits in a thread for what comes far too late: a process cannot end before its threads do."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        await asyncio.to_thread(time.sleep, 10)
        yield TextDelta("never said")
