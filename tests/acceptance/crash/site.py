"""A site to which things are done: always on the same port, with people of its own, started again by hand."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from websockets.sync.client import connect

from tests.support import stack
from tests.support.invariants import Tables
from tests.support.site import PATIENCE, Site

from .cells import Stack, Target

#: Runs of one worker. A run that finds all of these taken stays queued.
CONCURRENCY = 2
PEOPLE = ("ada", "grace", "joan")
AGENT = "direct"

TOML = """
[[providers]]
name = "direct"
backend = "openai_compatible"
base_url = "{url}"
api_keys = ["sk-of-the-crashes"]
timeouts = {{ connect = 5, first_token = 20, idle = 20, total = 120 }}

[[models]]
name = "direct"
provider = "direct"
model = "gpt-direct"

[[agents]]
slug = "direct"
model = "direct"
"""

#: Makes people, and prints a token for each.
MAKE_PEOPLE = """
from django.contrib.auth import get_user_model
from llmapp import tokens
for name in {names!r}:
    user = get_user_model().objects.create(username=name, is_staff=True)
    print("token", tokens.issue(user))
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was acknowledged: a run, and the message that it answers."""

    run: str
    message: str
    text: str
    authorization: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization}


class CrashSite(Site):
    # Others are being killed meanwhile.
    patience = 2 * PATIENCE

    def __init__(self, home: Path, provider_url: str, on: Stack) -> None:
        port = free_port()
        super().__init__(
            home,
            TOML.format(url=provider_url),
            web=on.of_each,
            workers=on.of_each,
            arguments=["--port", str(port), "--concurrency", str(CONCURRENCY)],
        )
        # What the whole suite runs on is not what this site runs on.
        for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"):
            self.env.pop(name, None)
        self._on = on
        self.slots = on.of_each * CONCURRENCY
        self.authorizations: list[str] = []
        self.conversation = str(uuid.uuid4())

    @contextlib.contextmanager
    def services(self) -> Iterator[dict[str, str]]:
        with stack.servers(*self._on.servers) if self._on.servers else contextlib.nullcontext({}) as urls:
            yield urls

    # --- people ---------------------------------------------------------------------------------

    def make_people(self) -> None:
        said = self.manage("shell", "-v", "0", "-c", MAKE_PEOPLE.format(names=PEOPLE)).stdout
        tokens = [line.removeprefix("token ") for line in said.splitlines() if line.startswith("token ")]
        self.authorizations = [f"Bearer {token}" for token in tokens]
        self.http.headers["Authorization"] = self.authorizations[0]

    def open_conversation(self) -> None:
        """Make the conversation of `ask_by_socket`: a socket needs one."""
        self.send(AGENT, "The first message of a conversation", self.conversation)

    def ask(self, person: int, text: str) -> Asked:
        """Send a message, and return once it is acknowledged: its run's first event has come."""
        authorization, message = self.authorizations[person % len(PEOPLE)], str(uuid.uuid4())
        self.http.headers["Authorization"] = authorization
        return Asked(self.submit(AGENT, text, message=message), message, text, authorization)

    def ask_by_socket(self, text: str) -> Asked:
        """Send a message as the page does: the first person, in the conversation that was opened."""
        authorization, message = self.authorizations[0], str(uuid.uuid4())
        address = f"{self.url.replace('http', 'ws', 1)}/ws/conversations/{self.conversation}/"
        with connect(address, additional_headers={"Authorization": authorization}) as page:
            page.send(json.dumps({"type": "send", "id": message, "text": text}))
            while True:
                frame = json.loads(page.recv(timeout=30))
                if frame["type"] == "event" and frame["event"]["type"] == "RUN_STARTED":
                    assert frame["event"]["input"]["messages"][0]["id"] == message
                    return Asked(str(frame["run"]), message, text, authorization)

    # --- processes ------------------------------------------------------------------------------

    def all_of_it(self) -> list[int]:
        return [self.process.pid, *self.webs(), *self.workers()]

    def signal(self, pids: list[int], number: signal.Signals) -> list[int]:
        """Send a signal to those that are still there, and return them."""
        there = set(self.all_of_it()) & set(pids)
        for pid in there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return sorted(there)

    def pids_of(self, target: Target, run: str | None, port: int) -> list[int]:
        """Return whom a signal to this target meets: the worker of a run, the web process of a connection."""
        match target:
            case Target.WORKER:
                return [self.worker_of(run) if run else self.workers()[0]]
            case Target.WEB:
                return [self.web_that_serves(port)]
            case Target.SERVE:
                return self.all_of_it()

    def wait_until_it_is_whole(self) -> None:
        """Wait until all of its processes are there again, and those that are gone are known to be gone."""
        leases = "SELECT count(*) AS held FROM llmapp_worker WHERE revoked_at IS NULL"

        def is_whole() -> bool:
            with Tables(self.env) as tables:
                (row,) = tables.rows(leases)
            there = (len(self.webs()), len(self.workers()), row["held"])
            return there == (self.web_processes, self.worker_processes, self.worker_processes)

        self.wait_for(is_whole, PATIENCE)
        self.wait_for(lambda: self.http.get("/health/ready").status_code == 200, PATIENCE)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
