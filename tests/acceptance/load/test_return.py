"""A web process that is killed under hundreds of open pages: all come back at once, and all have the whole answer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid

import aiohttp
import pytest

from tests.support.provider import Provider, answer_for
from tests.support.site import Site

from .crowd import Crowd, Heard
from .waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: Conversations that they follow.
RUNS = 10


@pytest.mark.parametrize("pages", [50, pytest.param(500, marks=pytest.mark.long)])
async def test_all_come_back(site: Site, provider: Provider, crowd: Crowd, tokens: list[str], pages: int) -> None:
    """Each goes on behind its last entry, and meanwhile the site answers others."""
    provider.default = {"tokens_per_second": 20, "wait_after": 20}
    threads = [str(uuid.uuid4()) for _ in range(RUNS)]
    runs = [await crowd.start(tokens[n], f"again {n}", thread=threads[n]) for n in range(RUNS)]
    heard = [Heard(runs[n % RUNS]) for n in range(pages)]
    ready = [asyncio.Event() for _ in heard]
    following = [
        asyncio.create_task(crowd.follow(tokens[n % RUNS], threads[n % RUNS], one, ready[n]))
        for n, one in enumerate(heard)
    ]
    async with asyncio.timeout(30 + pages / 5):
        await asyncio.gather(*(one.wait() for one in ready))
    (web,) = site.webs()
    os.kill(web, signal.SIGKILL)
    killed = time.monotonic()
    await until(lambda: site.webs() not in ([web], []), 20)
    provider.release()
    looking = asyncio.create_task(latencies(site, following))
    async with asyncio.timeout(60 + pages / 5):
        await asyncio.gather(*following)
    slow = sorted(await looking)
    back = max(one.ended_at or 0 for one in heard) - killed
    print(
        f"return of {pages}: all over {back:.1f} s after the kill; health {len(slow)} times, at most {slow[-1]:.2f} s"
    )
    assert [one.text for one in heard] == [answer_for(f"again {n % RUNS}") for n in range(pages)]
    assert [fault for one in heard for fault in one.faults] == []
    assert min(one.returns for one in heard) > 0
    # Half of the answers of a process that is busy with all of them: it is never away for long.
    assert slow[len(slow) // 2] < 1
    assert slow[-1] < 5


async def latencies(site: Site, following: list[asyncio.Task[Heard]]) -> list[float]:
    """Ask for the health of the web process ten times a second, once it answers, as long as somebody follows."""
    found: list[float] = []
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while not found or not all(task.done() for task in following):
            asked = time.monotonic()
            async with session.get(f"{site.url}/health/live") as answer:
                assert answer.status == 200
            found.append(time.monotonic() - asked)
            await asyncio.sleep(0.1)
    # The first one waited for the process to start.
    return found[1:] or found
