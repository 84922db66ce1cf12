"""Requests take turns: so many at a time work in the threads of one process, and the others wait in order.

Each request has a thread of its own. Hundreds at once would all ask for a connection, of which there are few, or on
SQLite for the one place of a writer, which nobody gets in order; who had waited for too long would get an error, and a
worker beside them would not get to renew its lease. A request that waits here holds nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest

#: Fewer than a pool has connections: the hub and the sockets need some too.
AT_A_TIME = 6

#: Seconds that one waits for its turn. Whoever asked has seen nothing for so long, and is told to come back.
PATIENCE = 30.0

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class Busy(Exception):
    """Nobody had time for a request."""


@asynccontextmanager
async def turn(request: HttpRequest) -> AsyncIterator[None]:
    """Wait for a turn, and have it inside of this block. Raises `Busy`."""
    if isinstance(request, WSGIRequest):
        # Such a server has its own number of threads, and each has a loop for itself.
        yield
        return
    turns = _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_A_TIME))
    try:
        async with asyncio.timeout(PATIENCE):
            await turns.acquire()
    except TimeoutError:
        raise Busy from None
    try:
        yield
    finally:
        turns.release()
