"""An event loop whose clock jumps to the next timer: minutes of waiting pass in a moment, in their order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Instead of waiting for the next timer it moves the clock there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("it would wait for ever")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Nothing outside of it may be waited for: no sockets, no threads."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(main: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Run `main`, and return its result and how many virtual seconds it took."""
    loop = VirtualLoop()
    try:
        began = loop.time()
        return loop.run_until_complete(main), loop.time() - began
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
