"""A real site in processes of its own: `manage.py llmapp serve` on a home and a port that nobody else has.

with Site(home, toml, demo=True) as site:       # ready when the block begins, stopped when it ends
    site.become("ada")                          # `site.http` speaks for her from now on
    events = site.send("assistant", "Hello")    # to the run's end
    run = site.submit("assistant", "Hello")     # not waiting for it
    site.workers(), site.webs()                 # pids of its children
    site.worker_of(run)                         # the one that holds the run
    site.lines                                  # what `serve` printed
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from llmapp.core.transcript import Transcript

from . import stack

ROOT = Path(__file__).resolve().parent.parent.parent

#: Seconds in which a site has to be ready: the promise of the README, which tests of their own hold it to.
READY_WITHIN = 20.0
#: Seconds that the others wait for one: four processes that start on a busy machine.
PATIENCE = 60.0

Event = dict[str, Any]

#: Makes a person, and prints a token that speaks for her.
BECOME = """
from django.contrib.auth import get_user_model
from llmapp import tokens
user, _ = get_user_model().objects.get_or_create(username={name!r}, defaults={{"is_staff": True}})
print("token", tokens.issue(user))
"""


class Site:
    #: What runs the site's commands, and where from.
    manage_py: Sequence[str] = (sys.executable, str(ROOT / "manage.py"))
    folder: Path | None = None
    #: Seconds in which it has to be ready when a test starts it.
    patience = PATIENCE

    def __init__(
        self,
        home: Path,
        toml: str = "",
        *,
        demo: bool = False,
        web: int | None = None,
        workers: int | None = None,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.home = home
        self.env = environment_of(home, environment or {})
        self.lines: list[str] = []
        self.http = httpx.Client(timeout=30, trust_env=False)
        self._toml = toml
        #: How many web processes and how many workers it has.
        self.web_processes, self.worker_processes = web or stack.of_each(), workers or stack.of_each()
        of_each = ["--web", str(self.web_processes), "--workers", str(self.worker_processes)]
        self._arguments = [*(["--demo"] if demo else []), *of_each, *arguments]
        self._changed = threading.Condition()
        self._services = contextlib.ExitStack()
        self._has_services = False

    # --- its life -------------------------------------------------------------------------------

    def __enter__(self) -> Site:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self.launch()
        try:
            self.wait_until_ready(self.patience)
        except BaseException:
            self.stop()
            raise

    @contextlib.contextmanager
    def stopping(self) -> Iterator[Self]:
        """Stop it when the block ends: for one that was launched."""
        try:
            yield self
        finally:
            self.stop()

    def services(self) -> contextlib.AbstractContextManager[dict[str, str]]:
        """Give the environment of its database and its broker."""
        return stack.services()

    def launch(self) -> None:
        """Start it, and do not wait. One that has ended starts again on what it had."""
        if not self._has_services:
            urls = self._services.enter_context(self.services())
            self.env |= urls
            self.put_into(urls)
            self._has_services = True
        self._launched, self._said_before = time.monotonic(), len(self.lines)
        self.process = subprocess.Popen(
            [*self.manage_py, "llmapp", "serve", "--port", "0", *self._config(), *self._arguments],
            env=self.env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_ready(self, within: float = PATIENCE) -> None:
        self.url = self.wait_for_line("ready http", within, self._said_before).removeprefix("ready ").rstrip("/")
        self.seconds_to_ready = time.monotonic() - self._launched
        self.http.base_url = httpx.URL(self.url)
        self.port = int(self.url.rpartition(":")[2])

    def start_again(self) -> None:
        """Start it once more, where its `serve` has ended, whoever ended it."""
        self.process.wait(25)
        self._hear_the_rest()
        self.start()

    def put_into(self, urls: dict[str, str]) -> None:
        """Prepare its database before the start, where it is not to be empty. Without URLs it is a file in the home."""

    def _config(self) -> list[str]:
        if not self._toml:
            return []
        path = self.home.with_name(f"{self.home.name}.toml")
        path.write_text(self._toml)
        return ["--config", str(path)]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, if it is there, and return its exit code."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._hear_the_rest()
            self._services.close()

    def _hear_the_rest(self) -> None:
        # What a killed `serve` leaves behind holds the pipe for a moment.
        self._reader.join(20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    # --- what it says and does --------------------------------------------------------------------

    def wait_for_line(self, words: str, within: float = READY_WITHIN, after: int = 0) -> str:
        """Return the first line with these words, from line `after` on."""
        with self._changed:
            self._changed.wait_for(lambda: self._find(words, after) or self._ended(), within)
        line = self._find(words, after)
        assert line is not None, f"no {words!r} in:\n" + "\n".join(self.lines)
        return line

    def _find(self, words: str, after: int) -> str | None:
        return next((line for line in self.lines[after:] if words in line), None)

    def _ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def sign_in_link(self) -> str:
        return next(word for word in self.wait_for_line("/demo/").split() if word.startswith("http"))

    def workers(self) -> list[int]:
        return self._children("celery")

    def webs(self) -> list[int]:
        return self._children("daphne")

    def _children(self, program: str) -> list[int]:
        # By the home, not by the parent: they are to be seen also when `serve` is gone.
        mine = f"LLMAPP_HOME={self.home}\0"
        supervised = f"llmapp.supervised\0{program}\0"
        return [pid for pid, line, env in processes() if supervised in line and mine in env]

    def web_that_serves(self, port: int) -> int:
        """Return the pid of the web process at the other end of our connection from `port`."""
        here, there = f":{self.port:04X}", f":{port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        (inode,) = (row[9] for row in rows if row[1].endswith(here) and row[2].endswith(there))
        return next(pid for pid in self.webs() if f"socket:[{inode}]" in sockets_of(pid))

    def worker_of(self, run: str) -> int:
        """Return the pid of the worker that claimed a run first."""
        # "worker 2 | ... run ... claimed", and the worker's own name ends like this.
        label = self.wait_for_line(f"run {run} claimed").partition("|")[0].strip().replace(" ", "-")
        named = f"-{label}@%h\0"
        mine = self.workers()
        (pid,) = (pid for pid, line, _env in processes() if pid in mine and named in line)
        return pid

    @staticmethod
    def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
        """Wait for something to become true, and return it."""
        until = time.monotonic() + seconds
        while not (result := condition()):
            assert time.monotonic() < until, f"it did not happen in {seconds} s"
            time.sleep(0.05)
        return result

    # --- people and runs --------------------------------------------------------------------------

    def become(self, name: str) -> None:
        """Speak for this member of the staff from now on; she is made if she is not there."""
        made = self.manage("shell", "-v", "0", "-c", BECOME.format(name=name))
        (line,) = (line for line in made.stdout.splitlines() if line.startswith("token "))
        self.http.headers["Authorization"] = f"Bearer {line.removeprefix('token ')}"

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.manage_py, *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    def send(self, agent: str, text: str, thread: str | None = None) -> list[Event]:
        """Start a run and return its events, to the end."""
        with self._post(agent, text, thread, str(uuid.uuid4())) as answer:
            return [event for _seq, event in sse(answer)]

    def submit(self, agent: str, text: str, thread: str | None = None, message: str | None = None) -> str:
        """Start a run and return its id once it is there. `message` is what its message is to be called."""
        run = str(uuid.uuid4())
        with self._post(agent, text, thread, run, message) as answer:
            next(sse(answer))
        return run

    def _post(self, agent: str, text: str, thread: str | None, run: str, id: str | None = None) -> Any:
        message = {"id": id or str(uuid.uuid4()), "role": "user", "content": text}
        body = {"threadId": thread or str(uuid.uuid4()), "runId": run, "messages": [message]}
        return self.http.stream("POST", f"/api/agents/{agent}/runs", json=body, timeout=120)

    def events(self, run: str) -> list[tuple[int, Event]]:
        """Return a run's log from its start, each with its number; waits for its end."""
        with self.http.stream("GET", f"/api/runs/{run}/events", timeout=120) as answer:
            return list(sse(answer))

    def run(self, run: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/runs/{run}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def wait_until_ended(self, run: str, seconds: float) -> dict[str, Any]:
        """Return a run that has ended."""

        def ended() -> dict[str, Any] | None:
            found = self.run(run)
            return None if found["status"] in ("queued", "in_progress") else found

        found: dict[str, Any] = self.wait_for(ended, seconds)
        return found


def sockets_of(pid: int) -> set[str]:
    """Return the sockets that a process holds, as the system writes them."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(os.readlink(link))
    return found


def sse(answer: httpx.Response) -> Iterator[tuple[int, Event]]:
    """Give the numbered events of a stream. Lines are enough: ours has one `id` and one `data` an event."""
    if answer.status_code != 200:
        answer.read()
        raise AssertionError(f"{answer.status_code}: {answer.text}")
    seq = 0
    for line in answer.iter_lines():
        if line.startswith("id:"):
            seq = int(line.removeprefix("id:"))
        elif line.startswith("data:"):
            yield seq, json.loads(line.removeprefix("data:"))


def text_of(events: Iterable[Event]) -> str:
    """Return the text that is there after all of these events: what was withdrawn is not."""
    return "".join(Transcript(events).texts.values())


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), "llmapp", *arguments]


def environment_of(home: Path, more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "LLMAPP_HOME": str(home), **more}


def run_command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of our commands to its end."""
    return subprocess.run(command(*arguments), env=environment_of(home, {}), capture_output=True, text=True, timeout=60)


def processes() -> Iterator[tuple[int, str, str]]:
    """Give pid, command line and environment of all that run. A zombie has neither of these."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line, environ = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            yield int(folder.name), line.decode(errors="replace"), environ.decode(errors="replace")
