"""How the children of a prefork pool hear that their parent stops.

Celery tells the parent alone, which waits until each child has finished its task: a run would go on for as long as its
answer takes, until whoever sent the SIGTERM loses patience. So the parent holds one end of a pipe, and each child
waits at the other. It closes when the parent takes no more tasks, and also when it was killed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

#: The ends of the pipe: where children wait, and the parent's own, None once it is closed.
_waiting_end: int | None = None
_parents_end: int | None = None


def prepare() -> None:
    """In the parent, before the first fork."""
    global _waiting_end, _parents_end
    _waiting_end, _parents_end = os.pipe()


def follow(stopping: Callable[[], None]) -> None:
    """In a child: call this once the parent stops. Does nothing in another pool's process."""
    global _parents_end
    if _waiting_end is None:
        return
    if _parents_end is not None:
        # Of this end each child has inherited a copy, and the pipe closes with the last one.
        os.close(_parents_end)
        _parents_end = None
    threading.Thread(target=_wait, args=(_waiting_end, stopping), name="llmapp-parent", daemon=True).start()


def let_go() -> None:
    """In the parent: tell the children. What is forked from now on hears it at once."""
    global _parents_end
    if _parents_end is not None:
        os.close(_parents_end)
        _parents_end = None


def _wait(descriptor: int, stopping: Callable[[], None]) -> None:
    os.read(descriptor, 1)
    stopping()
