"""The watchdog, without an end of this process: what it counts, whom it blames, whom it spares."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmapp import submit
from llmapp.models import AgentSettings, Run
from llmapp.runs import watchdog, worker
from tests.support.site import ROOT

from .support import wait_until


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, settings: Any) -> list[int]:
    """Let it count faster, and take note of ends instead of ending."""
    taken: list[int] = []
    settings.LLMAPP = {**settings.LLMAPP, "LEASE_SECONDS": 12}
    monkeypatch.setattr(watchdog.os, "_exit", taken.append)
    monkeypatch.setattr(watchdog, "EACH", 0.05)
    monkeypatch.setattr(watchdog, "patience", lambda: 1.0)
    monkeypatch.setattr(watchdog, "LAST_WORDS", 0.01)
    # The clock of C would end the tests.
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *args, **kwargs: None)
    return taken


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


def guarded(loop: asyncio.AbstractEventLoop, worker_id: uuid.UUID | None = None) -> Callable[[], None]:
    """Have a loop watched, and return what ends that."""
    dog = watchdog.Watchdog(loop, lambda: worker_id)

    async def start() -> asyncio.Task[None]:
        return asyncio.create_task(dog.keep_turning())

    task = asyncio.run_coroutine_threadsafe(start(), loop).result(5)

    def stop() -> None:
        async def cancel() -> None:
            task.cancel()
            await asyncio.wait([task])

        asyncio.run_coroutine_threadsafe(cancel(), loop).result(5)

    return stop


def test_a_loop_that_turns_is_left_alone(loop: asyncio.AbstractEventLoop, ends: list[int]) -> None:
    stop = guarded(loop)
    time.sleep(2)
    stop()
    assert ends == []


def test_a_loop_that_stands_still_ends_its_process_and_says_where(
    loop: asyncio.AbstractEventLoop, ends: list[int], caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    stop = guarded(loop)
    run = uuid.uuid4()

    async def stand_still() -> None:
        time.sleep(2)  # noqa: ASYNC251

    async def begin() -> None:
        asyncio.create_task(stand_still(), name=f"run-{run}")  # noqa: RUF006

    asyncio.run_coroutine_threadsafe(begin(), loop)
    wait_until(lambda: ends, 10)
    stop()
    assert set(ends) == {watchdog.STUCK}
    assert f"(run {run})" in caplog.text
    assert "in stand_still" in capfd.readouterr().err


def test_a_loop_that_ended_is_not_missed(loop: asyncio.AbstractEventLoop, ends: list[int]) -> None:
    guarded(loop)()
    time.sleep(1.5)
    assert ends == []


def test_only_a_process_that_is_nothing_else_is_guarded(process: worker.WorkerProcess) -> None:
    """A site's tests make workers in their own process, which is not to be ended."""
    assert not [thread for thread in threading.enumerate() if thread.name == "llmapp-watchdog"]


def test_the_others_are_spared_and_the_one_that_stands_still_is_not(
    person: Any, scripted: Callable[..., AgentSettings], process: worker.WorkerProcess
) -> None:
    scripted()
    runs = [submit(person, f"Hi {number}").run for number in range(3)]
    worker_id = process._worker_id
    mine = Run.objects.filter(pk__in=[run.pk for run in runs[:2]])
    mine.update(status="in_progress", worker=worker_id, executions=2, started_at=runs[0].created_at)
    dog = watchdog.Watchdog(process._loop, lambda: worker_id)
    for culprit, left in ((None, [2, 2, 0]), (runs[0].pk, [2, 1, 0])):
        dog._culprit = lambda culprit=culprit: culprit  # type: ignore[method-assign, misc]
        dog._spare_the_others()
        assert [Run.objects.get(pk=run.pk).executions for run in runs] == left
    # Not to be given up at the end of the test, by a worker that does not know them.
    mine.update(status="failed", worker=None, ended_at=runs[0].created_at)


# --- with processes that do end -------------------------------------------------------------------------------

STUCK_IN = """
import asyncio, ctypes, os, signal, time
import django
django.setup()
from django.conf import settings
settings.LLMAPP = {**settings.LLMAPP, "LEASE_SECONDS": 1}
from llmapp.runs import watchdog
watchdog.EACH = 0.2

async def main():
    dog = watchdog.Watchdog(asyncio.get_running_loop(), lambda: None)
    guarding = asyncio.create_task(dog.keep_turning())
    await asyncio.sleep(0.5)
    stand_still()
    await asyncio.sleep(1)

def stand_still():
    HOW

asyncio.run(main())
"""

ENDS = [
    # what the loop does, how the process ends
    ("time.sleep(60)", watchdog.STUCK),
    ("while True: pass", watchdog.STUCK),
    # It keeps Python's lock, as a regular expression does that goes astray.
    ("ctypes.PyDLL(None).sleep(60)", 1),
]


@pytest.mark.parametrize("how, code", ENDS)
def test_a_process_ends_and_shows_where(tmp_path: Path, how: str, code: int) -> None:
    """Whatever keeps the loop, and Python's lock with it."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STUCK_IN.replace("HOW", how)],
        cwd=ROOT, env=os.environ | {"DJANGO_SETTINGS_MODULE": "project.settings", "LLMAPP_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "in stand_still" in done.stderr
    assert time.monotonic() - began < 40


def test_a_process_that_was_paused_for_longer_than_its_lease_goes_on(tmp_path: Path) -> None:
    """With all others that were paused with it, as a container is: none of them was stuck."""
    program = STUCK_IN.replace("HOW", "os.kill(os.getpid(), signal.SIGSTOP)") + "print('went on')"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT, env=os.environ | {"DJANGO_SETTINGS_MODULE": "project.settings", "LLMAPP_HOME": str(tmp_path)},
        stdout=subprocess.PIPE, text=True,
    ) as paused:  # fmt: skip
        os.waitid(os.P_PID, paused.pid, os.WSTOPPED | os.WNOWAIT)
        time.sleep(4)
        paused.send_signal(signal.SIGCONT)
        said, _nothing = paused.communicate(timeout=30)
    assert (paused.returncode, said) == (0, "went on\n")
