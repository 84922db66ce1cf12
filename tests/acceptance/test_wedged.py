"""Backends that do not come back: they hold neither their run, nor its worker, nor the runs of others."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.site import Site, text_of

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

WORDS = 60

PROVIDERS = f"""
[[providers]]
name = "scripted"
backend = "scripted"
options = {{ script = [{{ text = "{"word " * WORDS}" }}], tokens_per_second = 25 }}

[[models]]
name = "slow"
provider = "scripted"
model = "slow"

[[agents]]
slug = "slow"
model = "slow"
"""

BAD = """
[[providers]]
name = "{name}"
backend = "{name}"

[[models]]
name = "{name}"
provider = "{name}"
model = "{name}"

[[agents]]
slug = "{name}"
model = "{name}"
timeout = {timeout}
"""

TIMEOUT = 3.0
TOML = PROVIDERS + "".join(
    BAD.format(name=name, timeout=timeout)
    for name, timeout in {"blocks": 600, "ignores": TIMEOUT, "threads": TIMEOUT}.items()
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = {"DJANGO_SETTINGS_MODULE": "tests.acceptance.wedged.settings"}
    home: Path = tmp_path_factory.mktemp("wedged")
    with Site(home, TOML, web=1, workers=1, environment=settings) as made:
        made.become(f"ada-{uuid.uuid4().hex[:6]}")
        yield made


def test_what_does_not_come_back_is_left_behind_at_its_timeout(site: Site) -> None:
    """One ignores that it is cancelled, one waits in a thread; the worker goes on with others."""
    workers, began = site.workers(), time.monotonic()
    stuck = {name: site.submit(name, "Hi") for name in ("ignores", "threads")}
    assert site.send("slow", "Hi")[-1]["type"] == "RUN_FINISHED"
    ends = {name: site.wait_until_ended(run, 20) for name, run in stuck.items()}
    # Not the hour for which they would wait; on a busy machine it may take a while to see it.
    assert time.monotonic() - began < TIMEOUT + 30
    assert {name: (end["status"], end["error"]["kind"]) for name, end in ends.items()} == {
        "ignores": ("incomplete", "timeout"),
        "threads": ("failed", "timeout"),
    }
    assert site.workers() == workers


def test_a_worker_whose_loop_stands_still_is_replaced_and_takes_no_other_run_along(site: Site) -> None:
    """It says where it stood; the run that did it ends after three tries, and its neighbour is answered."""
    seen = len(site.lines)
    neighbour = site.submit("slow", "Hi")
    culprit = site.submit("blocks", "Hi")
    end = site.wait_until_ended(culprit, 120)
    assert (end["status"], end["error"]["kind"]) == ("failed", "server_error")
    assert site.wait_until_ended(neighbour, 60)["status"] == "completed"
    assert text_of(event for _seq, event in site.events(neighbour)).split() == ["word"] * WORDS
    said = site.lines[seen:]
    assert len([line for line in said if "its event loop stood still" in line]) == 3
    assert len([line for line in said if "loop has not turned" in line and culprit in line]) == 3
    assert any("wedged/backends.py" in line and "in stream" in line for line in said)
    claims = [line for line in said if f"run {culprit} claimed" in line]
    assert len(claims) == 3


def test_a_child_that_cannot_even_end_itself_is_killed(site: Site) -> None:
    """`serve` hears each of them breathe: a web process, and a worker."""
    old = {"web": site.webs()[0], "worker": site.workers()[0]}
    seen = len(site.lines)
    for pid in old.values():
        os.kill(pid, signal.SIGSTOP)
    for name in old:
        site.wait_for_line(f"{name} has not moved for", within=20, after=seen)
    site.wait_for(lambda: not set(old.values()) & {*site.webs(), *site.workers()}, 10)
    assert site.wait_until_ended(patiently(site), 30)["status"] == "completed"


def patiently(site: Site) -> str:
    """Start a run as soon as a web process is there again."""
    site.wait_for(lambda: site.webs(), 20)
    return site.submit("slow", "Hi")
