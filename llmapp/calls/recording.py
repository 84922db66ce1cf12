"""Entries of the ledger: each that is opened is closed, whatever happens in between, cancellation included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

#: Entries that are being closed while nobody waits for them any more; a loop keeps no strong reference to tasks.
_closing: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def entry(
    opening: Coroutine[Any, Any, int], close: Callable[[int], Coroutine[Any, Any, None]]
) -> AsyncGenerator[int]:
    """Open an entry, give its id, and close it at the end.

    Opening goes to its end even when it is cancelled, because what it wrote has to be closed. A second
    cancellation does not wait for the closing, which goes on by itself.
    """
    opened = asyncio.ensure_future(opening)
    try:
        yield await asyncio.shield(opened)
    finally:
        task = asyncio.ensure_future(_close(opened, close))
        _closing.add(task)
        task.add_done_callback(_closing.discard)
        await asyncio.shield(task)


async def _close(opened: asyncio.Future[int], close: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    try:
        id = await opened
    except Exception:
        return  # it was never opened, and whoever waited for it has the exception already
    await close(id)
