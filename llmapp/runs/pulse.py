"""How a child of `serve` says that its event loop turns: a byte a second, through a pipe."""

from __future__ import annotations

import contextlib
import os

#: The environment variable that names the pipe's descriptor.
PULSE = "LLMAPP_PULSE"
#: Seconds.
EACH = 1.0

_pipe: int | None = None


def take() -> None:
    """Find the pipe, if there is one, and keep it from what this process starts in its turn."""
    global _pipe
    if descriptor := os.environ.pop(PULSE, ""):
        _pipe = int(descriptor)
        os.set_inheritable(_pipe, False)
        os.set_blocking(_pipe, False)


def is_heard() -> bool:
    """Say whether `serve` listens to this process."""
    return _pipe is not None


def beat() -> None:
    """Say so. Costs nothing where nobody listens."""
    if _pipe is not None:
        # A parent that is gone ends us by another pipe; one that is paused reads later.
        with contextlib.suppress(OSError):
            os.write(_pipe, b".")
