"""Workers that sleep, and that get the same run more than once."""

from __future__ import annotations

import os
import signal
import time
import uuid

import pytest

from tests.support.invariants import Tables, broken
from tests.support.programs import Programs
from tests.support.provider import Provider, answer_for

from .workers import check, claimed_by, send, wait_until_all_ended, worker

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]


def test_a_task_that_is_delivered_four_times_to_two_workers(bare_site: Programs, provider: Provider) -> None:
    """All of it waits when they start, so that both reach for the same runs at the same moment."""
    provider.default = {"tokens_per_second": 100}
    asked, said = len(provider.requests), send(bare_site, 12, times=3)
    with worker(bare_site, "one") as one, worker(bare_site, "two") as two:
        wait_until_all_ended(bare_site)
        # What was delivered too often is still taken, and dropped.
        time.sleep(1)
        said |= (more := send(bare_site, 12, times=3))
        wait_until_all_ended(bare_site)
        check(bare_site, provider, said, asked)
        claimed = [claimed_by(program, list(said)) for program in (one, two)]
        assert sorted(claimed[0] + claimed[1]) == sorted(said)
        assert all(set(runs) & set(more) for runs in claimed), "one worker had nothing to do"


def test_a_worker_that_wakes_up_after_its_run_was_taken_writes_nothing(bare_site: Programs, provider: Provider) -> None:
    """The run has another owner, and stays as that one left it; the sleeper takes runs again."""
    provider.default = {"tokens_per_second": 20}
    asked = len(provider.requests)
    with worker(bare_site, "zombie") as zombie:
        said = send(bare_site, 1)
        ((run, text),) = said.items()
        bare_site.wait_for(lambda: len(provider.requests) > asked, 20)
        time.sleep(1)
        os.kill(zombie.process.pid, signal.SIGSTOP)
        with worker(bare_site, "second"):
            wait_until_all_ended(bare_site)
            before = rows_of(bare_site, run)
            time.sleep(1)
            os.kill(zombie.process.pid, signal.SIGCONT)
            woke = time.time()
            time.sleep(3)
            assert rows_of(bare_site, run) == before
            received = provider.requests[asked:]
            assert len(received) == 2
            answers = {run: answer_for(text)}
            assert broken(bare_site.env, clients=answers, requests=received, asleep_until=woke) == []
        # Now it is alone.
        bare_site.wait_for(lambda: any("starting over" in line for line in zombie.lines), 10)
        after = send(bare_site, 1)
        wait_until_all_ended(bare_site)
        assert claimed_by(zombie, list(after)) == list(after)


def rows_of(bare_site: Programs, run: str) -> list[dict[str, object]]:
    with Tables(bare_site.env) as tables:
        return tables.rows(
            "SELECT seq, status, data FROM llmapp_runevent WHERE run_id = %s ORDER BY seq", uuid.UUID(run)
        )
