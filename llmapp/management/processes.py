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

from llmapp.conf import app_settings
from llmapp.runs import watchdog
from llmapp.runs.pulse import PULSE
from llmapp.supervised import LIFELINE, WHERE

Say = Callable[[str], None]

#: Seconds before a child that died is started again: the first time, and at most.
BACK_OFF, LONGEST_BACK_OFF = 0.5, 15.0

#: A child that lived this long had started well: the next back-off begins anew.
SETTLED = 30.0

#: For so many leases a child may be silent (18 s): longer than a worker takes to end itself.
LEASES = 1.5

#: Seconds of silence that one look can count for: what a pause of ours, or of the machine, lasted beyond is no silence.
ONE_LOOK = 1.0

#: Seconds in which a child that is to be killed says where it stands.
LAST_WORDS = 1.0

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
        self._pulse: Pulse | None = None
        #: When it is killed, if it is to be.
        self._condemned: float | None = None

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
        elif self._pulse is not None:
            self._feel(self._pulse)

    def _start(self, lifeline: int, environment: Mapping[str, str]) -> None:
        self._due, self._started = None, time.monotonic()
        self._condemned = None
        self._pulse = Pulse()
        self._process = subprocess.Popen(
            self._command,
            env={**environment, LIFELINE: str(lifeline), PULSE: str(self._pulse.mouth)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A group of its own: Ctrl-C reaches the parent only.
            process_group=0,
            pass_fds=(lifeline, self._pulse.mouth, *self._descriptors),
        )
        self._pulse.only_listen()
        threading.Thread(target=self._pass_on, args=(self._process,), daemon=True).start()

    def _pass_on(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.strip():
                    self._say(f"{self.name:<8} | {line.rstrip()}")

    def _feel(self, pulse: Pulse) -> None:
        """Kill it when its event loop stands still, having asked it where."""
        assert self._process is not None
        now, silent = time.monotonic(), pulse.silence()
        if silent == 0:
            self._condemned = None
        elif self._condemned is not None:
            if now >= self._condemned:
                self.kill()
        elif silent > LEASES * app_settings.LEASE_SECONDS:
            self._condemned = now + LAST_WORDS
            text = _("{name} has not moved for {seconds:.0f} s; it is killed. Where it stands, if it can say so:")
            self._say(text.format(name=self.name, seconds=silent))
            self._process.send_signal(WHERE)

    def _mourn(self, code: int) -> None:
        if self._pulse is not None:
            self._pulse.close()
            self._pulse = None
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


class Pulse:
    """What a child says of its event loop. Before its first word it is starting, and that takes as long as it takes."""

    def __init__(self) -> None:
        self._ear, self.mouth = os.pipe()
        os.set_blocking(self._ear, False)
        self._has_begun = False
        self._silent = 0.0
        self._looked = time.monotonic()

    def only_listen(self) -> None:
        """The child has the other end now."""
        os.close(self.mouth)

    def close(self) -> None:
        os.close(self._ear)

    def silence(self) -> float:
        """Return for how many seconds nothing was heard, of those in which it was listened."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, ONE_LOOK), now
        if self._heard():
            self._has_begun, self._silent = True, 0.0
        elif self._has_begun:
            self._silent += passed
        return self._silent

    def _heard(self) -> bool:
        try:
            return bool(os.read(self._ear, 4096))
        except BlockingIOError:
            return False


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
    if code == watchdog.STUCK:
        return _("its event loop stood still, and it says above where")
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
