"""Workers that a test starts one by one, without `serve`, so that it knows which of them are there."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.support.invariants import Tables, broken
from tests.support.programs import BIN, Program, Programs
from tests.support.provider import Provider, answer_for

#: Of the Debian package `faketime`.
FAKETIME = "*/faketime/libfaketimeMT.so.1"
ENDS_WITHIN = 60
STARTS_WITHIN = 60

#: Sends messages, each by a person of its own, and gives the task of each run to the broker `times` more often.
SEND = """
from django.contrib.auth import get_user_model
from llmapp import submit
from llmapp.runs import queue
for text in {texts!r}:
    user = get_user_model().objects.create_user(text, is_staff=True)
    run = submit(user, text, agent="openai_compatible").run
    for _ in range({times}):
        assert queue.enqueue(run.pk)
    print("run", run.pk)
"""


class WithoutWorkers(Programs):
    """A site that is ready when its pages are."""

    def _is_ready(self, url: str) -> bool:
        with contextlib.suppress(Exception):
            return bool(self.http.get(f"{url}/health/live").status_code == 200)
        return False


def with_wrong_clock(environment: dict[str, str], seconds: int) -> dict[str, str]:
    """Return the environment of a program whose clock is so many seconds ahead.

    The clock that only goes forward stays right: it is the machine's, and knows no date.
    """
    (library,) = Path("/usr/lib").glob(FAKETIME)
    wrong = {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+d}s", "DONT_FAKE_MONOTONIC": "1"}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent / "wrong_clock"), environment.get("PYTHONPATH")]))
    return {**environment, **wrong, "PYTHONPATH": path}


@contextlib.contextmanager
def worker(site: Programs, name: str, clock: int = 0) -> Iterator[Program]:
    """Start a worker, and wait until it is there. Its clock may be `clock` seconds off."""
    command = [str(BIN / "celery"), "-A", "project", "worker", "-Q", "llmapp", "-P", "threads", "-c", "8"]
    environment = with_wrong_clock(site.env, clock) if clock else site.env
    program = Program([*command, "-n", f"{name}@%h", "--without-mingle"], environment)
    program.start()
    try:
        site.wait_for(lambda: any("is there" in line for line in program.lines), STARTS_WITHIN)
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.process.send_signal(signal.SIGCONT)
        program.stop()


def send(site: Programs, count: int, times: int = 0) -> dict[str, str]:
    """Send so many messages; return what was said, by run."""
    texts = [f"said-{uuid.uuid4().hex[:8]}" for _ in range(count)]
    printed = site.manage("shell", "-v", "0", "-c", SEND.format(texts=texts, times=times)).stdout
    runs = [line.removeprefix("run ") for line in printed.splitlines() if line.startswith("run ")]
    return dict(zip(runs, texts, strict=True))


def wait_until_all_ended(site: Programs) -> None:
    with Tables(site.env) as tables:
        active = "SELECT id FROM llmapp_run WHERE ended_at IS NULL"
        site.wait_for(lambda: not tables.rows(active), ENDS_WITHIN)


def check(site: Programs, provider: Provider, said: dict[str, str], asked: int) -> None:
    """Hold that each run was claimed once, asked for once, and completed with the answer."""
    with Tables(site.env) as tables:
        rows = tables.rows("SELECT * FROM llmapp_run WHERE agent_slug = 'openai_compatible'")
    mine = [row for row in rows if str(uuid.UUID(str(row["id"]))) in said]
    ended = {(row["status"], row["executions"], row["attempts_used"]) for row in mine}
    assert (len(mine), ended) == (len(said), {("completed", 1, 1)}), mine
    assert (requests := len(provider.requests) - asked) == len(said), f"{requests} requests for {len(said)} runs"
    answers = {run: answer_for(text) for run, text in said.items()}
    found = broken(site.env, clients=answers, requests=provider.requests[asked:])
    assert found == [], found


def claimed_by(program: Program, runs: Collection[str]) -> list[str]:
    return [run for run in runs for line in program.lines if f"run {run} claimed" in line]
