"""Whether the broker answers, asked at most every few seconds for a whole process."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from llmapp.runs import queue

#: Seconds for which an answer is good.
FRESH = 2.0
#: Seconds after which a broker that says nothing is away.
PATIENCE = 3.0


class BrokerWatch:
    """One for each event loop. It asks in a thread, one at a time: a broker that hangs holds up nobody."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")

    async def answers(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= FRESH):
            self._asked_at = now
            self._asking = asyncio.create_task(asyncio.to_thread(queue.reach))
            # `reach` has said what it was; asyncio would say it again when it comes too late for us.
            self._asking.add_done_callback(_look_at)
        done, _pending = await asyncio.wait({self._asking}, timeout=PATIENCE)
        return bool(done) and self._asking.exception() is None


def _look_at(asking: asyncio.Task[None]) -> None:
    if not asking.cancelled():
        asking.exception()


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, BrokerWatch] = WeakKeyDictionary()


def broker_watch() -> BrokerWatch:
    """Return the watch of the running loop."""
    return _watches.setdefault(asyncio.get_running_loop(), BrokerWatch())
