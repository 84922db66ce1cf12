"""A time-out that every token puts off."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """`async with Deadline(when) as deadline`: raises `TimeoutError` at `when`, a time of the event loop's clock.

    `asyncio.timeout` cancels a timer and makes a new one each time it is moved: a quarter of what a worker did
    for a token. Here a timer that comes too early looks again later, and moving is an assignment.
    """

    def __init__(self, when: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._when = when
        self._timeout = asyncio.timeout(None)

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
        self._when = when
        if self._timeout.when() is not None and not self._timeout.expired():
            # It was due in this very turn of the loop, and what put it off came in time.
            self._timeout.reschedule(None)
            self._set_timer()
        elif when < self._looks_at:
            self._timer.cancel()
            self._set_timer()

    def _set_timer(self) -> None:
        self._looks_at = self._when
        self._timer = self._loop.call_at(self._looks_at, self._look)

    def _look(self) -> None:
        if self._loop.time() < self._when:
            self._set_timer()
        else:
            self._timeout.reschedule(self._when)
