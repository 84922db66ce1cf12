"""Whether any worker is alive, asked of the database at most every second for a whole process."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from llmapp.runs.lease import present_workers

from .bridge import in_thread

#: Seconds for which an answer is good.
FRESH = 1.0


class WorkerWatch:
    """One for each event loop. All sockets of the process share its answers."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._alive = False

    async def alive(self) -> bool:
        """Return whether a worker was heard of just now, as of `FRESH` seconds ago at most."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at >= FRESH:
                self._alive = await in_thread(any_alive)
                self._asked_at = now
        return self._alive


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, WorkerWatch] = WeakKeyDictionary()


def worker_watch() -> WorkerWatch:
    """Return the watch of the running loop."""
    return _watches.setdefault(asyncio.get_running_loop(), WorkerWatch())


def any_alive() -> bool:
    return present_workers().exists()
