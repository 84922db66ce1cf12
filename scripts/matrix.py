#!/usr/bin/env python3
"""Runs the test suite on every Python and Django that is promised and that this machine has: `make matrix`.

    scripts/matrix.py [arguments of pytest]

PYTHONS="/opt/a/bin/python ~/b*/bin/python" names the interpreters; else those on PATH and of pyenv are tried.
DJANGOS="5.2 6.1" takes some of the releases. Environments and logs are kept in `.matrix/`. What is missing is a line
of the table like what ran. Exits with 1 when a suite failed, or when none ran.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".matrix"

PYTHONS = ("3.11", "3.12", "3.13")

#: Release of Django -> the Python that it wants at least.
DJANGOS = {"5.2": "3.10", "6.0": "3.12", "6.1": "3.12"}

#: Seconds until a suite counts as hanging.
LIMIT = 3600

#: Says its version, if an environment can be made with it at all.
PROBE = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True)
class Row:
    """A line of the table. `ok` is None for what did not run."""

    python: str
    django: str
    result: str
    seconds: float | None = None
    ok: bool | None = None


def main(arguments: list[str]) -> int:
    wanted = os.environ.get("DJANGOS", "").split() or list(DJANGOS)
    found = interpreters(candidates(os.environ.get("PYTHONS", "")))
    rows = []
    for python in PYTHONS:
        for django in wanted:
            row = missing(python, django, found) or tried(found[python], python, django, arguments)
            rows.append(row)
            print(line(row), flush=True)
    print("\n" + "\n".join(["Python    Django    Seconds   Result", *map(line, rows)]))
    return 1 if any(row.ok is False for row in rows) or not any(row.ok for row in rows) else 0


# What there is


def candidates(named: str) -> Iterator[str]:
    """Give the interpreters to try: those that are named, else those where they usually are."""
    if named:
        for pattern in named.split():
            yield from sorted(glob.glob(os.path.expanduser(pattern))) or [pattern]
        return
    for version in PYTHONS:
        yield from (f"{folder}/python{version}" for folder in os.environ.get("PATH", "").split(os.pathsep))
        yield from sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")), reverse=True)


def interpreters(paths: Iterable[str]) -> dict[str, str]:
    """Return the first of each version that really runs. A shim of pyenv may be there and not run."""
    found: dict[str, str] = {}
    for path in paths:
        try:
            done = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), path)
    return found


def missing(python: str, django: str, found: dict[str, str]) -> Row | None:
    """Return the line of what cannot be tried."""
    if django not in DJANGOS:
        return Row(python, django, f"MISSING: DJANGOS knows {', '.join(DJANGOS)}")
    if number(python) < number(DJANGOS[django]):
        return Row(python, django, f"not possible: Django {django} needs Python {DJANGOS[django]}")
    if python not in found:
        return Row(python, django, f"MISSING: no Python {python} on this machine")
    return None


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


# One combination


def tried(interpreter: str, python: str, django: str, arguments: list[str]) -> Row:
    name = f"{python}-{django}"
    log = FOLDER / f"{name}.log"
    FOLDER.mkdir(exist_ok=True)
    began = time.monotonic()
    print(f"== Python {python}, Django {django}: {log.relative_to(ROOT)}", flush=True)
    with log.open("w") as output:
        environment = installed(interpreter, name, django, output)
        if environment is None:
            return Row(python, django, "FAILED: it could not be installed", time.monotonic() - began, False)
        versions = real_versions(environment)
        result, ok = tested(environment, name, arguments, output)
    return Row(*versions, result, time.monotonic() - began, ok)


def installed(interpreter: str, name: str, django: str, output: object) -> Path | None:
    """Make the environment, or bring it up to date, and return its Python."""
    constraints = FOLDER / f"{name}.txt"
    constraints.write_text(constraints_for(django, (ROOT / "constraints.txt").read_text()))
    # Another interpreter, or other constraints: another environment.
    mark = hashlib.sha256(f"{os.path.realpath(interpreter)}\n{constraints.read_text()}".encode()).hexdigest()[:8]
    python = FOLDER / f"{name}-{mark}" / "bin" / "python"
    commands = [
        [interpreter, "-m", "venv", str(python.parent.parent)],
        [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), "-e", f"{ROOT}[test]"],
    ]
    for command in commands[python.exists() :]:
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode:  # type: ignore[call-overload]
            return None
    return python


def constraints_for(django: str, text: str) -> str:
    """Return the constraints with another Django: the newest of its release."""
    major, minor = number(django)
    kept = re.sub(r"(?im)^django==.*\n", "", text)
    return f"{kept}Django>={django},<{major}.{minor + 1}\n"


def real_versions(python: Path) -> tuple[str, str]:
    code = "import django, platform; print(platform.python_version(), django.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    return first, second


def tested(python: Path, name: str, arguments: list[str], output: object) -> tuple[str, bool]:
    """Run the suite; return what came of it in words, and whether that is good."""
    report = FOLDER / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-q", f"--junit-xml={report}", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, timeout=LIMIT, check=False)  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        return f"FAILED: not done after {LIMIT} seconds", False
    if not report.exists():
        return f"FAILED: pytest ended with {done.returncode}", False
    ok = done.returncode == 0
    return f"{'' if ok else 'FAILED: '}{counted(report.read_text())}", ok


def counted(report: str) -> str:
    """Say how many tests passed, failed and were skipped, from JUnit's XML."""
    suites = list(ElementTree.fromstring(report).iter("testsuite"))
    total, failed, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    counts = {"passed": total - failed - errors - skipped, "failed": failed, "errors": errors, "skipped": skipped}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "passed")


def line(row: Row) -> str:
    seconds = "-" if row.seconds is None else f"{row.seconds:.0f}"
    return f"{row.python:<9} {row.django:<9} {seconds:>7}   {row.result}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
