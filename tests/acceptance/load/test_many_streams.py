"""Hundreds of answers at a time on one worker: all of them start, are whole, and can be stopped."""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest

from tests.support.provider import Provider, answer_for

from .crowd import Crowd, Heard
from .waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]


@pytest.mark.parametrize("streams", [60, pytest.param(300, marks=pytest.mark.long)])
async def test_all_start_before_one_ends(provider: Provider, crowd: Crowd, tokens: list[str], streams: int) -> None:
    """The provider holds each answer after its first words until all are under way: nobody waits for a place."""
    provider.default = {"tokens_per_second": 20, "wait_after": 3}
    asking = [asyncio.create_task(crowd.ask(tokens[n % len(tokens)], f"number {n}")) for n in range(streams)]
    began = time.monotonic()
    try:
        await until(lambda: len(provider.unanswered()) == streams, 30 + streams / 4)
    finally:
        provider.release()
    print(f"{streams} streams: all started within {time.monotonic() - began:.1f} s")
    heard = await asyncio.gather(*asking)
    assert max(one.first_at or 0 for one in heard) < min(one.ended_at or 0 for one in heard)
    assert [one.text for one in heard] == [answer_for(f"number {n}") for n in range(streams)]
    assert [fault for one in heard for fault in one.faults] == []
    assert provider.unanswered() == []


async def test_a_stop_closes_the_sockets_of_fifty_runs(provider: Provider, crowd: Crowd, tokens: list[str]) -> None:
    """Half of them within half a second, and the last one within a second: nobody pays for what nobody reads."""
    provider.default = {"tokens_per_second": 5}
    runs = await asyncio.gather(*(crowd.start(tokens[n], f"stop {n}") for n in range(50)))
    await until(lambda: len(provider.unanswered()) == 50, 30)
    requests = {said(request.body): request for request in provider.requests}
    pressed = []
    for number, run in enumerate(runs):
        # As people would: one after the other, while the rest goes on.
        pressed.append(time.time())
        assert await crowd.post(tokens[number], f"/api/runs/{run}/stop") == 202
    await until(lambda: provider.unanswered() == [], 5)
    delays = sorted((requests[f"stop {n}"].closed_at or 1e12) - pressed[n] for n in range(50))
    print(f"stop, 50 runs: {statistics.median(delays) * 1000:.0f} ms at the median, {delays[-1] * 1000:.0f} ms at most")
    assert statistics.median(delays) < 0.5
    assert delays[-1] < 1
    for token, run in zip(tokens, runs, strict=False):
        await crowd.read_on(token, heard := Heard(run))
        assert heard.events[-1]["outcome"] == {"type": "cancelled"}


def said(body: dict[str, object]) -> str:
    messages = body["messages"]
    assert isinstance(messages, list)
    return str(messages[-1]["content"])
