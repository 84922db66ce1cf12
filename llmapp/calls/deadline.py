"""A time-out that every token puts off."""

from __future__ import annotations

import asyncio
from types import TracebackType

#: A timer that comes so many seconds late was kept from it: the process was paused, or its loop did not turn. Nobody
#: listened meanwhile, so this is not the provider's silence: what has come gets a moment to be read.
LATE, MOMENT = 0.25, 1.0


class Deadline:
    """`async with Deadline(when) as deadline`: raises `TimeoutError` at `when`, a time of the event loop's clock.

    `asyncio.timeout` cancels a timer and makes a new one each time it is moved: a quarter of what a worker did
    for a token. Here a timer that comes too early looks again later, and moving is an assignment.
    """

    def __init__(self, when: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._when = when
        self._timeout = asyncio.timeout(None)
        self._had_its_moment = False

    async def __aenter__(self) -> Deadline:
        await self._timeout.__aenter__()
        self._set_timer()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, at)

    def move(self, when: float) -> None:
        """Put it off, or bring it forward."""
        self._when, self._had_its_moment = when, False
        if self._timeout.when() is not None and not self._timeout.expired():
            # It was due in this very turn of the loop, and what put it off came in time.
            self._timeout.reschedule(None)
            self._set_timer()
        elif when < self._looks_at:
            self._timer.cancel()
            self._set_timer()

    def _set_timer(self) -> None:
        self._looks_at = max(self._when, self._loop.time())
        self._timer = self._loop.call_at(self._looks_at, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if now < self._when:
            self._set_timer()
        elif now - self._looks_at > LATE and not self._had_its_moment:
            self._when, self._had_its_moment = now + MOMENT, True
            self._set_timer()
        else:
            self._timeout.reschedule(self._when)
