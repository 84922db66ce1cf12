"""Run after run through the same two processes: nothing grows, and nothing is left behind.

Memory, threads and descriptors are seen from outside, connections by PostgreSQL. Tasks of asyncio are not: an app of
this test's own counts them in each process (`insight`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.support.invariants import broken
from tests.support.provider import Provider, answer_for
from tests.support.site import Site

from . import processes
from .crowd import Crowd
from .insight import tasks_of
from .waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: Runs at a time.
AT_ONCE = 10
#: The share that memory may grow by over the second half, and KiB that are no growth: a page here and there.
GROWTH, NOISE = 0.05, 2_000


@dataclass(frozen=True)
class Held:
    """What a process holds while it has nothing to do."""

    threads: int
    descriptors: int
    tasks: Counter[str]


async def test_nothing_grows(site: Site, provider: Provider, crowd: Crowd, tokens: list[str], runs: int) -> None:
    (worker,), (web,) = site.workers(), site.webs()
    # More at a time than ever after: pools of threads and connections are as large as they will be.
    await answer(crowd, tokens[: 2 * AT_ONCE], "warm", runs // 4)
    before = await held(site)
    connections = count_connections(site)
    memory = [measure(worker, web)]
    for part in range(4):
        await answer(crowd, tokens[:AT_ONCE], f"part {part}", runs // 4)
        memory.append(measure(worker, web))
        print(f"soak: {(part + 1) * runs // 4} runs, worker {memory[-1]['worker']} KiB, web {memory[-1]['web']} KiB")
    (_first, _quarter, half, _more, end) = memory
    for name in half:
        assert end[name] <= half[name] * (1 + GROWTH) + NOISE, f"{name}: {[one[name] for one in memory]}"
    after: dict[str, Held] = {}
    for _ in range(60):
        after = await held(site)
        if not (left := more_than(before, after)) and count_connections(site) <= connections:
            break
        await asyncio.sleep(1)
    assert left == []
    assert count_connections(site) <= connections
    assert (site.workers(), site.webs()) == ([worker], [web])
    await until(lambda: provider.unanswered() == [], 2)
    assert await asyncio.to_thread(broken, site.env) == []


@pytest.fixture(params=[100, pytest.param(2_000, marks=pytest.mark.long)])
def runs(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def answer(crowd: Crowd, tokens: list[str], name: str, number: int) -> None:
    """Have so many answers, one at a time for each token, and hold each to what the provider said."""
    numbers = iter(range(number))

    async def one_after_the_other(token: str) -> None:
        for n in numbers:
            heard = await crowd.ask(token, f"{name} {n}")
            assert heard.text == answer_for(f"{name} {n}"), heard.events[-3:]
            assert heard.faults == []

    async with asyncio.TaskGroup() as group:
        for token in tokens:
            group.create_task(one_after_the_other(token))


def measure(worker: int, web: int) -> dict[str, int]:
    return {"worker": processes.lowest(worker), "web": processes.lowest(web)}


async def held(site: Site) -> dict[str, Held]:
    """Look at both processes once they are at rest: what was kept for a moment is given back."""
    found = {}
    for name, pid in (("worker", site.workers()[0]), ("web", site.webs()[0])):
        tasks = await asyncio.to_thread(tasks_of, site.home, pid)
        found[name] = Held(processes.threads(pid), len(processes.descriptors(pid)), tasks)
    return found


def more_than(before: dict[str, Held], after: dict[str, Held]) -> list[str]:
    """Name what there is more of than there was."""
    found = []
    for name, then in before.items():
        now = after[name]
        found += [f"{name}: {now.threads} threads, not {then.threads}"] if now.threads > then.threads else []
        found += (
            [f"{name}: {now.descriptors} descriptors, not {then.descriptors}"]
            if now.descriptors > then.descriptors
            else []
        )
        found += [f"{name}: more tasks: {more}"] if (more := now.tasks - then.tasks) else []
    return found


def count_connections(site: Site) -> int:
    """Count the site's connections to PostgreSQL; on files there is none."""
    if not (url := site.env.get("DATABASE_URL", "")):
        return 0
    with psycopg.connect(url) as connection:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        row: Any = connection.execute(sql).fetchone()
        return int(row[0])
