"""Chats have a queue of their own: however many there are, the site's own tasks do not wait for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.site import ROOT, Site

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: Chats, and how many of them the worker for chats can work on at once.
CHATS, AT_ONCE = 10, 2

TOML = """
[[providers]]
name = "scripted"
backend = "scripted"
options = { script = [{ text = "word word word word word word word word word word" }], tokens_per_second = 0.2 }

[[models]]
name = "slow"
provider = "scripted"
model = "slow"

[[agents]]
slug = "slow"
model = "slow"
"""

COUNT = "from llmapp.runs import lease; print('workers', lease.live_workers().count())"
SEND = "from tests.acceptance.letters.tasks import send_letter; send_letter.delay({path!r})"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(
        tmp_path / "home",
        TOML,
        workers=1,
        arguments=["--concurrency", str(AT_ONCE)],
        environment={"DJANGO_SETTINGS_MODULE": "tests.acceptance.letters.settings"},
    )
    with made, own_worker(made, "threads"), own_worker(made, "prefork"):
        made.become("ada")
        yield made


@contextmanager
def own_worker(site: Site, pool: str) -> Iterator[None]:
    """Run a worker that the site had all along: for Celery's default queue, one task at a time."""
    command = [sys.executable, "-m", "celery", "-A", "project", "worker", "-P", pool, "-c", "1", "-n", f"own-{pool}"]
    quietly = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=site.env, cwd=ROOT, **quietly) as process:
        try:
            yield
        finally:
            process.terminate()


def test_ten_chats_do_not_keep_a_letter_waiting(site: Site, tmp_path: Path) -> None:
    runs = [site.submit("slow", f"chat {number}") for number in range(CHATS)]
    site.wait_for(lambda: statuses(site, runs).count("in_progress") == AT_ONCE, 20)
    letter = tmp_path / "letter"
    site.manage("shell", "-v", "0", "-c", SEND.format(path=str(letter)))
    site.wait_for(letter.exists, 20)
    # None of them had made room, and the site's worker took none of them.
    assert sorted(statuses(site, runs)) == ["in_progress"] * AT_ONCE + ["queued"] * (CHATS - AT_ONCE)
    # Only the one that takes runs counts as a worker, wherever it is asked whether one is there.
    assert "workers 1" in site.manage("shell", "-v", "0", "-c", COUNT).stdout.splitlines()
    for run in runs:
        site.http.post(f"/api/runs/{run}/stop").raise_for_status()


def statuses(site: Site, runs: list[str]) -> list[str]:
    return [str(site.run(run)["status"]) for run in runs]
