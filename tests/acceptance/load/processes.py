"""What a process holds, as Linux tells it from outside: memory, threads, descriptors, sockets."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from llmapp.measuring.processes import with_children


def resident(pid: int) -> int:
    """Return resident memory in KiB."""
    return _number(pid, "VmRSS")


def threads(pid: int) -> int:
    return _number(pid, "Threads")


def descriptors(pid: int) -> list[str]:
    """Return what the open descriptors of a process lead to."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(link))
    return found


def sockets(pid: int) -> set[str]:
    return {target for target in descriptors(pid) if target.startswith("socket:")}


def children(pid: int) -> list[int]:
    return sorted(with_children([pid]) - {pid})


def connected(pid: int, port: int) -> set[str]:
    """Return the sockets of a process that are connected to a TCP port of this machine."""
    there = f"0100007F:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[2] == there} & sockets(pid)


def lowest(pid: int, seconds: float = 1.0) -> int:
    """Return the least resident memory that was seen for a moment: what comes and goes is none that stays."""
    until, least = time.monotonic() + seconds, resident(pid)
    while time.monotonic() < until:
        least = min(least, resident(pid))
        time.sleep(0.1)
    return least


def _number(pid: int, key: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{key}:"))
