"""An app that lets a test look into the processes of a site: how many asyncio tasks there are, and what they do.

Nothing outside of a process can count those. In it, SIGUSR2 writes them down: `write_down`; `tasks_of` asks, and reads.
"""

from __future__ import annotations

import asyncio.tasks
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any


def tasks_of(home: Path, pid: int, within: float = 20.0) -> Counter[str]:
    """Return how many tasks of each kind a process has, by the names of their coroutines."""
    path = _path(home, pid)
    path.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    until = time.monotonic() + within
    while not path.exists():
        assert time.monotonic() < until, f"process {pid} says nothing"
        time.sleep(0.02)
    return Counter(json.loads(path.read_text()))


def write_down(*_: Any) -> None:
    alive = [task for task in _everyone() if not task.done()]
    path = _path(Path(os.environ["LLMAPP_HOME"]), os.getpid())
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(Counter(task.get_coro().__qualname__ for task in alive)))
    beside.rename(path)


def _everyone() -> list[asyncio.Task[Any]]:
    """Return the tasks of all loops of this process: `asyncio.all_tasks` knows those of the running one only."""
    tasks: Any = asyncio.tasks
    known = tasks._all_tasks if hasattr(tasks, "_all_tasks") else tasks._scheduled_tasks  # until 3.11; from 3.12
    while True:
        try:
            return list(known)
        except RuntimeError:
            # A loop in another thread started one meanwhile.
            continue


def _path(home: Path, pid: int) -> Path:
    return home / f"tasks-{pid}.json"
