"""Children that are started, watched, started again when they die, and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from django.utils.translation import gettext as _

from llmapp.supervised import LIFELINE

Say = Callable[[str], None]

#: Seconds before a child that died is started again: the first time, and at most.
BACK_OFF, LONGEST_BACK_OFF = 0.5, 15.0

#: A child that lived this long had started well: the next back-off begins anew.
SETTLED = 30.0

#: Seconds for a clean stop. A worker takes a few to hand its runs back.
PATIENCE = 15.0


class Child:
    """One program. Its lines come out with its name in front."""

    def __init__(self, name: str, command: Sequence[str], say: Say, descriptors: Sequence[int] = ()) -> None:
        """`descriptors` are what it inherits, each under its own number."""
        self.name = name
        #: How often it died without having settled.
        self.failures = 0
        self._command = [sys.executable, "-m", "llmapp.supervised", *command]
        self._say = say
        self._descriptors = descriptors
        self._process: subprocess.Popen[str] | None = None
        self._started = 0.0
        self._due: float | None = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def tend(self, lifeline: int, environment: Mapping[str, str]) -> None:
        """Start it if that is due; notice it if it died."""
        if self._due is not None:
            if time.monotonic() >= self._due:
                self._start(lifeline, environment)
        elif self._process is not None and (code := self._process.poll()) is not None:
            self._mourn(code)

    def _start(self, lifeline: int, environment: Mapping[str, str]) -> None:
        self._due, self._started = None, time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            env={**environment, LIFELINE: str(lifeline)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A group of its own: Ctrl-C reaches the parent only.
            process_group=0,
            pass_fds=(lifeline, *self._descriptors),
        )
        threading.Thread(target=self._pass_on, args=(self._process,), daemon=True).start()

    def _pass_on(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                self._say(f"{self.name:<8} | {line.rstrip()}")

    def _mourn(self, code: int) -> None:
        if time.monotonic() - self._started > SETTLED:
            self.failures = 0
        wait = min(BACK_OFF * 2**self.failures, LONGEST_BACK_OFF)
        self.failures += 1
        self._due = time.monotonic() + wait
        self._say(
            _("{name} ended ({how}); starting it again in {seconds:.1f} s").format(
                name=self.name, how=how_it_ended(code), seconds=wait
            )
        )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it, and whatever it started, at once."""
        if self._process is not None and self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Children:
    """All of them, on one pipe: when it closes, they stop."""

    def __init__(self, children: Sequence[Child], environment: Mapping[str, str]) -> None:
        self._children = children
        self._environment = dict(environment)
        self._read, self._write = os.pipe()

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children)

    def tend(self) -> None:
        for child in self._children:
            child.tend(self._read, self._environment)

    def stop(self, impatient: threading.Event) -> None:
        """Let them end by themselves; kill what has not ended in time, or at once when somebody is impatient."""
        os.close(self._write)
        deadline = time.monotonic() + PATIENCE
        while any(child.running for child in self._children):
            if time.monotonic() > deadline or impatient.is_set():
                break
            time.sleep(0.05)
        for child in self._children:
            child.kill()
        os.close(self._read)


def how_it_ended(code: int) -> str:
    if code >= 0:
        return _("exit code {code}").format(code=code)
    return _("killed by {signal}").format(signal=signal.Signals(-code).name)


def environment(**values: str) -> dict[str, str]:
    """Return what children inherit: the parent's environment and import path, and `values`."""
    return {
        **os.environ,
        # All of it: what the parent found, wherever it was started from, the children find.
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "PYTHONUNBUFFERED": "1",
        # Threads that come and go would otherwise each leave a heap of their own behind (glibc).
        "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2"),
        **values,
    }
