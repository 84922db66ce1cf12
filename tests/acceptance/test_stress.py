"""`llmapp stress` against a site that runs: figures that were measured, and nothing left of it, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.site import Site, command

pytestmark = pytest.mark.acceptance

#: Rows that a stress test makes. Workers, web processes and what the sweeper keeps are the site's own business.
COUNT = """
from django.apps import apps
passing = ("llmapp.Worker", "llmapp.WebProcess", "llmapp.Duty")
for model in apps.get_models():
    if model._meta.label not in passing:
        print("rows", model._meta.label, model._default_manager.count())
print("duties", apps.get_model("llmapp", "Duty").objects.exclude(name="sweep").count())
"""
CLAIMED = "from llmapp.models import Run; print('claimed', Run.objects.filter(status='in_progress').count())"
#: Seconds in which what has to happen happens, on a busy machine too. The test that is broken off takes longer.
WITHIN, LONG = 60, "120"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("stress") / "home") as site:
        yield site


@pytest.fixture(autouse=True)
def _signals_are_heard() -> Iterator[None]:
    """A shell has its background jobs ignore Ctrl-C, `nohup` a hang-up, and so would what they start."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stress(site: Site, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command("stress", "--url", site.url), *arguments],
        env=site.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def rows(site: Site) -> list[str]:
    return site.manage("shell", "-v", "0", "-c", COUNT).stdout.splitlines()


def test_a_site_that_keeps_up(own: Site) -> None:
    before = rows(own)
    process = stress(own, "--streams", "3", "--seconds", "2")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    head, figures, *notes, verdict = said.splitlines()
    assert head.split("  ")[0] == "streams"
    streams, p50, p99, first, cpu, memory, lost = figures.split()
    assert (streams, lost) == ("3", "0")
    assert 0 < float(p50) <= float(p99) < 200
    assert 0 < float(first) < 2000
    assert float(cpu) > 0
    # A worker and a web process at least.
    assert float(memory) > 80
    assert notes == []
    assert re.fullmatch(r"Ok: 3 answers at a time, no token lost, and 99 of 100 are there within \d+ ms\.", verdict)
    assert rows(own) == before


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.wide),
        # The terminal was closed.
        pytest.param(signal.SIGHUP, marks=pytest.mark.wide),
    ],
)
def test_an_interrupted_one_leaves_nothing(own: Site, how: signal.Signals) -> None:
    before = rows(own)
    process = stress(own, "--streams", "3", "--seconds", LONG)
    wait_until_it_runs(own, process)
    process.send_signal(how)
    said, _ = process.communicate(timeout=WITHIN)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert rows(own) == before


@pytest.mark.wide
def test_a_killed_one_is_tidied_up_after(own: Site) -> None:
    """Until its time is over the next one waits; then it removes what it finds."""
    before = rows(own)
    process = stress(own, "--streams", "3", "--seconds", LONG)
    wait_until_it_runs(own, process)
    process.kill()
    process.communicate()
    second = stress(own, "--streams", "1", "--seconds", "1")
    said, _ = second.communicate(timeout=WITHIN)
    assert second.returncode == 1
    assert "Another stress test is running, or one was killed" in said
    own.manage("shell", "-v", "0", "-c", "from llmapp.models import Duty; Duty.objects.exclude(name='sweep').delete()")
    third = stress(own, "--streams", "1", "--seconds", "1")
    said, _ = third.communicate(timeout=60)
    assert third.returncode == 0, said
    assert rows(own) == before


@pytest.mark.wide
def test_a_worker_that_was_stopped(own: Site) -> None:
    """It is said within seconds, and nothing was made."""
    workers = own.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        own.wait_for(lambda: own.http.get("/health/ready").status_code == 503, WITHIN)
        before = rows(own)
        process = stress(own, "--streams", "1", "--seconds", "1")
        said, _ = process.communicate(timeout=WITHIN)
        assert process.returncode == 1, said
        assert "No worker is there. Start one:" in said
        assert rows(own) == before
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def wait_until_it_runs(site: Site, process: subprocess.Popen[str]) -> None:
    def runs() -> bool:
        assert process.poll() is None, process.stdout and process.stdout.read()
        # The warm-up is one run, the test three.
        return "claimed 3" in site.manage("shell", "-v", "0", "-c", CLAIMED).stdout

    site.wait_for(runs, WITHIN)
