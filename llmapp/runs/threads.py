"""The only way from the event loop to the ORM: a few threads, each with its own connection.

Not the threads that Celery has waiting for runs: each of those would hold a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import Any, ParamSpec, TypeVar

from django.db import close_old_connections, connections

from . import away

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds for which a thread keeps its connection: so often it is looked at while it is used, by Django's own rules,
#: and so long after its last use it is given back. To take one from a pool for each call costs as much as the query.
KEPT = 1.0

#: Seconds between tries while the database is away; the last one over and over.
WAITS = (0.1, 0.3, 1.0)


class DatabaseThreads:
    """`await threads.call(function, ...)` runs it in a thread that may use the ORM."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._thread = threading.local()
        self._running: set[asyncio.Future[Any]] = set()
        self._used_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, lambda: self._run(function, *args, **kwargs))
        self._running.add(work)
        try:
            return await work
        finally:
            self._running.discard(work)
            self._used_at = loop.time()
            if self._timer is None:
                self._timer = loop.call_later(KEPT, self._give_back, loop)

    async def patiently(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `call`, again and again while the database is away.

        Only for what may be done twice: nobody knows whether the last try arrived. It ends with the task
        that waits for it.
        """
        for wait in chain(WAITS, repeat(WAITS[-1])):
            try:
                return await self.call(function, *args, **kwargs)
            except Exception as error:
                if not away.is_away(error):
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("the waits never end")

    def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if (now := time.monotonic()) - getattr(self._thread, "looked_at", 0.0) > KEPT:
            self._thread.looked_at = now
            close_old_connections()
        try:
            with away.watched():
                return function(*args, **kwargs)
        except BaseException:
            close_old_connections()
            raise

    def _give_back(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the connections back, unless they are used now or were a moment ago."""
        self._timer = None
        left = KEPT if self._running else self._used_at + KEPT - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._give_back, loop)
        else:
            self._in_each(close_old_connections)

    def close(self) -> None:
        """Close each thread's connections, then the threads. Waits for what they are doing."""
        if self._timer is not None:
            self._timer.cancel()
        self._in_each(connections.close_all)
        self._pool.shutdown(wait=True)

    def _in_each(self, function: Callable[[], None]) -> None:
        everyone = threading.Barrier(self._size)
        for _ in range(self._size):
            # Shut down already: then there is nothing to be closed.
            with contextlib.suppress(RuntimeError):
                self._pool.submit(_meet, function, everyone)


def _meet(function: Callable[[], None], everyone: threading.Barrier) -> None:
    function()
    # Whoever waits here leaves the next task to another thread.
    with contextlib.suppress(threading.BrokenBarrierError):
        everyone.wait(timeout=5)
