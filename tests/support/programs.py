"""A real site whose processes are started one by one, as systemd or a container engine would: without `serve`.

with Programs(home, toml, {"web": [...], "worker": [...]}) as site:      # ready when the block begins
    site.programs["web"]                    # a Program: its lines, its process
    site.programs["worker"].stop()          # SIGTERM, and seconds until it has ended
    site.programs["worker"].start()
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from . import stack
from .site import ROOT, Site

#: Where this environment's `daphne`, `celery` and `python` are.
BIN = Path(sys.executable).parent


class Program:
    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path = ROOT) -> None:
        self.command, self.environment, self.folder = list(command), environment, folder
        self.lines: list[str] = []

    def start(self) -> None:
        # A group of its own, as it has everywhere: a signal to the tests is not one to it.
        self.process = subprocess.Popen(
            self.command,
            env=dict(self.environment),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.lines.append(line.rstrip())

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 40) -> float:
        """Send one signal to the main process; return how many seconds it took to end."""
        started = time.monotonic()
        self.process.send_signal(how)
        try:
            self.process.wait(within)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self._reader.join(10)
        return time.monotonic() - started


class Programs(Site):
    def __init__(
        self, home: Path, toml: str, commands: Mapping[str, Sequence[str]], environment: dict[str, str] | None = None
    ) -> None:
        super().__init__(home, toml, environment=environment)
        self._commands = commands
        self.programs: dict[str, Program] = {}

    def start(self) -> None:
        """Prepare the database, start all of them, and wait until each web process is ready."""
        self.env |= self._services.enter_context(stack.services())
        try:
            self.prepare()
            if self._toml:
                self.manage("llmapp", "configure", self._config()[1])
            for name, command in self._commands.items():
                program = Program(command, self.environment_for(name), self.folder or ROOT)
                program.start()
                self.programs[name] = program
            for url in self.urls():
                self.wait_until_ready(url)
        except BaseException:
            self.stop()
            raise
        self.url = self.urls()[0]
        self.http.base_url = httpx.URL(self.url)

    def prepare(self) -> None:
        """Do what comes before the first start."""
        self.manage("migrate", "--no-input")

    def environment_for(self, name: str) -> dict[str, str]:
        return self.env

    def urls(self) -> list[str]:
        """Return where the web processes listen: whoever has a port in its command line is one."""
        words = (word for command in self._commands.values() for word in command)
        return [f"http://127.0.0.1:{word}" for word in words if word.isdigit() and 1023 < int(word) < 65536]

    def wait_until_ready(self, url: str) -> None:
        until = time.monotonic() + 40
        while not self._is_ready(url):
            assert time.monotonic() < until, self.said()
            time.sleep(0.1)

    def _is_ready(self, url: str) -> bool:
        try:
            return httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        return "\n".join(f"{name}: {line}" for name, program in self.programs.items() for line in program.lines)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.http.close()
        try:
            for program in self.programs.values():
                if program.process.poll() is None:
                    program.stop(how)
        finally:
            self._services.close()
        return 0
