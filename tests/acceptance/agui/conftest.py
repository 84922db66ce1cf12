"""The official AG-UI client, in node, and what it talks to: recorded streams, or a real Daphne."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from django.conf import settings
from django.db import connection

from llmapp.core.run_state import RunStatus
from llmapp.models import Run
from tests.runs.conftest import enqueued, in_background, person, process, scripted

__all__ = ["enqueued", "in_background", "person", "process", "scripted"]

ROOT = Path(__file__).resolve().parents[3]
NODE = ROOT / "tests" / "node"


@dataclass(frozen=True, slots=True)
class Turn:
    """What the client made of one run."""

    accepted: bool
    error: str | None
    events: list[str]
    messages: list[dict[str, Any]]

    @property
    def said(self) -> list[tuple[str, Any]]:
        """Role and content of the thread's messages, its reasoning left out."""
        return [(m["role"], m["content"]) for m in self.messages if m["role"] != "reasoning"]


@pytest.fixture(scope="session")
def official_client() -> Callable[..., list[Turn]]:
    """Call it with a URL and `agui.mjs`'s arguments; it returns the turns."""
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "@ag-ui" / "client").exists():
        assert not os.environ.get("CI"), "node and `npm ci --prefix tests/node` are needed for the official client"
        pytest.skip("the official AG-UI client is not installed (`npm ci --prefix tests/node`): it is NOT tested")

    def talk(url: str, *arguments: str) -> list[Turn]:
        run = [node, str(NODE / "agui.mjs"), url, *arguments]
        done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return [Turn(**json.loads(line)) for line in done.stdout.splitlines()]

    return talk


@pytest.fixture
def recorded() -> Iterator[Callable[[bytes], str]]:
    """Give a stream out, byte for byte, to whoever asks; returns the URL."""
    servers: list[ThreadingHTTPServer] = []

    def serve(stream: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write(stream)

            def log_message(self, *args: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def daphne(transactional_db: None) -> Iterator[str]:
    """The site in a process of its own, on this test's database; gives its URL. No worker is with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "project.asgi:application"]
    environment = {**os.environ, "DATABASE_URL": database_url(), "LLMAPP_HOME": str(settings.LLMAPP_HOME)}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/health/live", server)
        yield url
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def working(process: Any) -> Any:
    """A worker that takes whatever is queued."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for run in Run.objects.filter(status=RunStatus.QUEUED):
                process.execute(run.pk)
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def database_url() -> str:
    """Return the URL of this test's database, as the site reads it."""
    facts = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{quote(str(facts['NAME']))}"
    sign_in = f"{quote(facts['USER'])}:{quote(facts['PASSWORD'])}"
    return f"postgres://{sign_in}@{facts['HOST']}:{facts['PORT'] or 5432}/{quote(facts['NAME'])}"


def wait_for(url: str, server: subprocess.Popen[bytes], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(url):
                return
        except URLError:
            time.sleep(0.05)
    pytest.fail("daphne did not start")
