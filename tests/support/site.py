"""A real site in processes of its own: `manage.py llmapp serve` on a home and a port that nobody else has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent.parent

#: Seconds in which a site has to be ready: the promise of the README.
READY_WITHIN = 20.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), "llmapp", *arguments]


def manage(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end."""
    return subprocess.run(
        command(*arguments), env=_environment(home, environment), capture_output=True, text=True, timeout=60
    )


def _environment(home: Path, more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "LLMAPP_HOME": str(home), "LANGUAGE": "en", **more}


class Site:
    """`with Site(home, "--demo") as site:` gives a site that is ready; leaving stops it."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.lines: list[str] = []
        self._command = command("serve", "--port", "0", *arguments)
        self._environment = _environment(home, environment)
        self._changed = threading.Condition()

    def __enter__(self) -> Site:
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.url = self.wait_for("ready http").removeprefix("ready ").rstrip("/")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()

    def wait_for(self, words: str, within: float = READY_WITHIN, after: int = 0) -> str:
        """Return the first line with these words, from line `after` on."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._find(words, after), within)
            assert found, f"no {words!r} in:\n" + "\n".join(self.lines)
            return found

    def _find(self, words: str, after: int) -> str | None:
        return next((line for line in self.lines[after:] if words in line), None)

    @property
    def sign_in_link(self) -> str:
        return next(word for word in self.wait_for("/demo/").split() if word.startswith("http"))

    def children(self) -> dict[str, int]:
        """Return the pids of daphne and celery."""
        found = {}
        for pid, line in processes(self.process.pid):
            for name in ("daphne", "celery"):
                if f" {name} " in line:
                    found[name] = pid
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(5)
            assert self.process.stdout is not None
            self.process.stdout.close()
        return code


def processes(parent: int) -> Iterator[tuple[int, str]]:
    """Give the pid and the command line of each child of `parent`."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            ppid = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text().replace("\0", " ")
        except (OSError, IndexError):
            continue
        if ppid == parent:
            yield int(folder.name), line


def alive(pids: Sequence[int]) -> list[int]:
    """Return those that have not exited. A zombie has."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def wait_until_gone(pids: Sequence[int], within: float) -> float:
    """Wait until none of them is there, and return how long that took."""
    started = time.monotonic()
    while still := alive(pids):
        assert time.monotonic() - started < within, f"still there after {within} s: {still}"
        time.sleep(0.05)
    return time.monotonic() - started
