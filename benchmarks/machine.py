"""What stands above every table: the machine, its load, the versions; and what would make the figures wrong."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from llmapp.measuring import processes

from . import peer_stacks

PACKAGES = (
    "django",
    "channels",
    "daphne",
    "celery",
    "httpx",
    "aiohttp",
    "uvloop",
    "psycopg",
    "channels-redis",
    "litellm",
)

#: Seconds for which the machine is watched before anything is started.
WATCH = 2.0
#: The share of its cores that others use then, above which a machine is busy.
BUSY = 0.1


def head() -> list[str]:
    """Describe machine and versions, a line each."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.release()}"
    return [
        f"{_processor()}, {_cores()} cores, {_memory() / 2**30:.0f} GiB, {system}",
        f"Python {platform.python_version()}, {versions}",
    ]


def warnings(streams: int, stacks: Iterable[str] = ()) -> list[str]:
    """Say what would make the figures of so many streams of these stacks wrong, a line each.

    Raises the limit of open files as far as it may.
    """
    return [*_busy(), *_too_few_files(streams), *_not_installed(stacks)]


def _busy() -> list[str]:
    used = _used_by_others(WATCH)
    return [f"BUSY MACHINE: others use {used:.0%} of its cores; figures are too high"] if used > BUSY else []


def _used_by_others(seconds: float) -> float:
    """Watch the machine while we do nothing: which share of its cores is used?

    Not the load average: for a minute that is the last measurement's own.
    """
    began, idle = time.monotonic(), processes.idle()
    time.sleep(seconds)
    return max(0.0, 1 - (processes.idle() - idle) / (time.monotonic() - began) / _cores())


def _too_few_files(streams: int) -> list[str]:
    # A stream is a socket of the client, two of the web process or the proxy, and one to the provider.
    needed = 4 * streams + 200
    allowed = processes.allow_files(needed)
    return [f"TOO FEW FILES: {streams} streams need {needed}, the limit is {allowed}"] if allowed < needed else []


def _not_installed(stacks: Iterable[str]) -> list[str]:
    missing = [stack for stack in stacks if stack in peer_stacks.NAMES and not peer_stacks.is_installed(stack)]
    return [f"NOT INSTALLED: {', '.join(missing)}; `make bench-peers` does it"] if missing else []


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _cores() -> int:
    return os.cpu_count() or 1


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
