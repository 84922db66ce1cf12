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
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connections

from . import away

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds for which a thread keeps its connection without a look whether it still is one. To give a connection back to
#: a pool after each call, and take one again, costs as much as the query.
KEPT = 1.0

#: Seconds between tries while the database is away; the last one over and over.
WAITS = (0.1, 0.3, 1.0)


class DatabaseThreads:
    """`await threads.call(function, ...)` runs it in a thread that may use the ORM."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._idle = threading.local()

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: self._run(function, *args, **kwargs))

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
        if time.monotonic() - getattr(self._idle, "since", 0.0) > KEPT:
            close_old_connections()
        try:
            with away.watched():
                return function(*args, **kwargs)
        except BaseException:
            close_old_connections()
            raise
        finally:
            self._idle.since = time.monotonic()

    def close(self) -> None:
        """Close each thread's connections, then the threads. Waits for what they are doing."""
        everyone = threading.Barrier(self._size)
        for _ in range(self._size):
            self._pool.submit(_close_connections, everyone)
        self._pool.shutdown(wait=True)


def _close_connections(everyone: threading.Barrier) -> None:
    connections.close_all()
    # Whoever waits here leaves the next task to another thread.
    with contextlib.suppress(threading.BrokenBarrierError):
        everyone.wait(timeout=5)
