"""What processes of this machine cost, as Linux counts it: CPU seconds, resident memory, open files."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
#: The state of a TCP socket that accepts connections, in /proc/net/tcp.
LISTEN = "0A"


def with_children(pids: Iterable[int]) -> set[int]:
    """Return these processes and all that descend from them."""
    parents: dict[int, list[int]] = {}
    for pid in _all():
        if fields := _stat(pid):
            parents.setdefault(int(fields[1]), []).append(pid)
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


def idle() -> float:
    """Return the seconds for which this machine's cores had nothing to do so far, all of them together."""
    return int(Path("/proc/stat").read_text().split()[4]) / TICKS


def memory(pids: Iterable[int]) -> int:
    """Return the resident bytes of these, each shared page split among those who share it; 0 where we may not look."""
    return sum(_proportional(pid) for pid in pids)


def listening(port: int) -> set[int]:
    """Return the processes that accept connections on a TCP port of this machine, as far as we may look.

    Who only holds the port for its children, as `serve` does, is not one of them.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    holders = {pid for pid in _all() if sockets & _open(pid)}
    return holders - {int(fields[1]) for pid in holders if (fields := _stat(pid))}


def program(pid: int) -> str:
    """Return the name of the file that a process runs; an empty text where we may not look."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


def files_allowed(pid: int) -> int | None:
    """Return how many files a process may have open now; None where we may not look."""
    with contextlib.suppress(OSError):
        soft, _hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        return soft
    return None


def allow_files(needed: int) -> int:
    """Let this process, and those that it starts, open so many files, or as many as it may; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def _all() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


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


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _open(pid: int) -> set[str]:
    """Return what a process has open; nothing where we may not look."""
    found = set()
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(file))
    return found
