"""The disk with the site's home on it is full: a file system in memory, which a test fills and empties.

On files only: what a PostgreSQL does whose disk is full, it says itself (`runs.away`), as when it is read-only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import TOML
from tests.support.following import following
from tests.support.invariants import broken
from tests.support.provider import Provider
from tests.support.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

SIZE = "32m"
HASTY = """
[[agents]]
slug = "hasty"
model = "direct"
timeout = 4
"""
#: Ten seconds of it.
LONG = "".join(f"word{n} " for n in range(600))
SPEED = 60


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("small_disk")
    as_root("mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0777", "llmapp-test", str(folder))
    try:
        yield folder
    finally:
        as_root("umount", "--lazy", str(folder))


def as_root(*command: str) -> None:
    subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command], check=True, capture_output=True)


@pytest.fixture(scope="module")
def small_site(provider: Provider, small_disk: Path) -> Iterator[Site]:
    home = small_disk / "home"
    with Site(home, TOML.format(url=provider.url) + HASTY) as made:
        yield made


@pytest.fixture
def site(small_site: Site, provider: Provider) -> Iterator[Site]:
    """Begin with a person of the test's own; in the end all processes live, and the next run completes."""
    small_site.become(f"user-{uuid.uuid4().hex[:8]}")
    before, seen, asked = [*small_site.webs(), *small_site.workers()], len(small_site.lines), len(provider.requests)
    provider.default = {"tokens_per_second": SPEED, "answer": LONG}
    yield small_site
    provider.default = {"tokens_per_second": 0}
    assert small_site.send("openai_compatible", "And the next")[-1]["type"] == "RUN_FINISHED"
    assert broken(small_site.env, requests=provider.requests[asked:]) == []
    said = "\n".join(small_site.lines[seen:])
    assert [*small_site.webs(), *small_site.workers()] == before, said
    assert "Traceback" not in said, said


@contextlib.contextmanager
def full(site: Site, disk: Path) -> Iterator[None]:
    """Fill the disk, and begin once somebody has met it; make room again in the end."""
    seen, ballast = len(site.lines), disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    try:
        site.wait_for_line("takes nothing", 25, after=seen)
        yield
    finally:
        ballast.unlink()


def test_an_answer_waits_until_there_is_room(site: Site, provider: Provider, small_disk: Path) -> None:
    """Nothing of it is lost, and it is asked for once. Who sends a message meanwhile is told to wait."""
    asked, seen = len(provider.requests), len(site.lines)
    run = site.submit("openai_compatible", "Wait for room")
    with following(site.url, run, site.http.headers) as follower:
        site.wait_for(lambda: len(follower.events) > 10, 20)
        with full(site, small_disk):
            body = {"messages": [{"id": "m", "role": "user", "content": "Now?"}]}
            refused = site.http.post("/api/agents/openai_compatible/runs", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
            time.sleep(2)
        follower.join(60)
    assert site.run(run)["status"] == "completed"
    assert follower.text == LONG
    assert len(provider.requests) - asked == 1
    assert broken(site.env, clients={run: follower.text}) == []
    assert len([line for line in site.lines[seen:] if "takes what is written again" in line]) >= 1


def test_a_run_whose_time_is_over_by_then_says_so(site: Site, provider: Provider, small_disk: Path) -> None:
    """Its end is written as soon as there is room, with the text that was shown."""
    run = site.submit("hasty", "Too late for room")
    with following(site.url, run, site.http.headers) as follower:
        site.wait_for(lambda: len(follower.events) > 10, 20)
        with full(site, small_disk):
            time.sleep(5)
        follower.join(60)
    assert site.run(run)["status"] == "incomplete"
    assert site.run(run)["error"]["kind"] == "timeout"
    assert 0 < len(follower.text) < len(LONG)
    assert broken(site.env, clients={run: follower.text}) == []
