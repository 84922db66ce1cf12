"""A worker whose clock is a minute and a half off, beside one whose clock is right.

On servers: leases and deadlines go by the database's clock, and SQLite has none but that of the process.
"""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.support.invariants import Tables
from tests.support.programs import BIN, Program, Programs
from tests.support.provider import Provider

from .workers import check, claimed_by, send, wait_until_all_ended, with_wrong_clock, worker

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: Seconds by which a clock is wrong.
OFF = 90


def test_workers_whose_clocks_are_wrong(bare_site: Programs, provider: Provider) -> None:
    """They do their part: nobody is taken for dead, nothing is claimed twice, and no run took a minute and a half."""
    site, began = bare_site, time.monotonic()
    provider.default = {"tokens_per_second": 20}
    with worker(site, "right") as right, worker(site, "ahead", OFF) as ahead, worker(site, "behind", -OFF) as behind:
        asked, said = len(provider.requests), send(site, 18)
        wait_until_all_ended(site)
        # Beats and sweeps of all of them go on after the last run.
        time.sleep(3)
        check(site, provider, said, asked)
        claimed = [claimed_by(program, said) for program in (right, ahead, behind)]
        assert all(claimed), "one worker had nothing to do"
        for line in right.lines + ahead.lines + behind.lines:
            assert "revoked" not in line, line
    with Tables(site.env) as tables:
        runs = tables.rows("SELECT id, created_at, started_at, ended_at FROM llmapp_run")
        attempts = tables.rows("SELECT started_at, ended_at, first_token FROM llmapp_attempt")
        ends = tables.rows("SELECT data FROM llmapp_runevent WHERE status = 'completed'")
    assert {str(row["id"]) for row in runs} == set(said)
    for row in runs:
        assert row["created_at"] <= row["started_at"] <= row["ended_at"]
    for end in ends:
        assert 0 < json.loads(end["data"])["metadata"]["llmapp.seconds"] < min(time.monotonic() - began, OFF)
    for row in attempts:
        assert row["started_at"] <= row["ended_at"]
        assert 0 <= row["first_token"] < OFF / 2


def test_the_clock_was_wrong() -> None:
    """Else the test before would say nothing."""
    command = [str(BIN / "python"), "-c", "import time; time.sleep(0.1); print(time.time(), time.monotonic())"]
    program = Program(command, with_wrong_clock(dict(os.environ), OFF))
    program.start()
    program.process.wait(20)
    Programs.wait_for(lambda: program.lines, 5)
    wall, monotonic = map(float, program.lines[0].split())
    assert abs(wall - time.time() - OFF) < 20
    assert abs(monotonic - time.monotonic()) < 20
