"""What processes cost, as Linux counts it: CPU seconds and resident memory, of a process and its children."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def with_children(pids: Iterable[int]) -> set[int]:
    """Return these processes and all that descend from them."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, ahead = set(), list(pids)
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead += parents.get(pid, [])
    return found


def cpu(pids: Iterable[int]) -> float:
    """Return the CPU seconds that these have used so far."""
    return sum((int(fields[11]) + int(fields[12])) / TICKS for pid in pids if (fields := _stat(pid)))


def memory(pids: Iterable[int]) -> int:
    """Return the resident bytes of these, each shared page split among those who share it."""
    return sum(_proportional(pid) for pid in pids)


def _stat(pid: int) -> list[str] | None:
    """Return what follows the name in /proc/PID/stat: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _proportional(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def provider(rate: float, tokens: int) -> Iterator[str]:
    """Start a provider, and give its base URL."""
    command = [sys.executable, "-m", "benchmarks.provider", "--rate", str(rate), "--tokens", str(tokens)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://{process.stdout.readline().split()[1]}/v1"
        finally:
            process.terminate()
