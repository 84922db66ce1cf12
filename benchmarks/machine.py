"""What stands above every table: the machine, its load, the versions; and what would make the figures wrong."""

from __future__ import annotations

import os
import platform
import resource
from importlib import metadata
from pathlib import Path

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

#: Running processes per core, beside ours, above which a machine is busy.
BUSY = 0.3


def head() -> list[str]:
    """Describe machine and versions, a line each."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.release()}"
    return [
        f"{_processor()}, {os.cpu_count()} cores, {_memory() / 2**30:.0f} GiB, {system}",
        f"Python {platform.python_version()}, {versions}",
    ]


def warnings(streams: int) -> list[str]:
    """Say what would make the figures of so many streams wrong. Raises the limit of open files as far as it may."""
    found = []
    if (load := os.getloadavg()[0] / (os.cpu_count() or 1)) > BUSY:
        found.append(f"BUSY MACHINE: load {load:.1f} per core before the start; figures are too high")
    # A stream is a socket of the client, two of the web process or the proxy, and one to the provider.
    needed = 4 * streams + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
        if hard < needed:
            found.append(f"TOO FEW FILES: {streams} streams need {needed}, the limit is {hard}")
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
