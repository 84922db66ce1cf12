"""Workers that are told to stop under load: they take nothing new, hand over what cannot end in time, and are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.support.invariants import broken
from tests.support.programs import Programs
from tests.support.provider import Provider, answer_for

from .crowd import Crowd, Heard, people
from .pools import by_hand, start_and_wait
from .waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

POOLS = {
    "threads": ["-Q", "llmapp", "-P", "threads", "-c", "32"],
    "prefork": ["-Q", "llmapp", "-P", "prefork", "-c", "3"],
}

#: Seconds that a stop may take: a moment for runs to end by themselves, one to hand them back, and Celery's own.
GONE_WITHIN = 20.0


@pytest.fixture(scope="module", params=[pytest.param("threads", marks=pytest.mark.long), "prefork"])
def pair(
    request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Programs]:
    """A web process and two workers in one of the pools."""
    pool = POOLS[request.param]
    home = tmp_path_factory.mktemp(f"rolling-{request.param}") / "home"
    with by_hand(home, provider, {"a": pool, "b": pool}) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0, 60])
async def test_a_rolling_restart_loses_nothing(pair: Programs, provider: Provider, seconds: int) -> None:
    """People write all the time; each gets the whole answer, of one worker or of two."""
    tokens = await asyncio.to_thread(people, pair, 8)
    provider.default = {"tokens_per_second": 15}
    heard: list[Heard] = []
    over = asyncio.Event()
    async with Crowd(pair) as crowd, asyncio.TaskGroup() as group:
        for number, token in enumerate(tokens[:4]):
            group.create_task(keep_asking(crowd, token, f"person {number}", heard, over))
        await until(lambda: len(provider.unanswered()) > 1, 20)
        ends = time.monotonic() + seconds
        while True:
            for name in ("a", "b"):
                took = await asyncio.to_thread(pair.programs[name].stop)
                assert took < GONE_WITHIN
                print(f"rolling: {name} was gone in {took:.1f} s, {len(heard)} answers so far")
                await asyncio.to_thread(start_and_wait, pair.programs[name])
            if time.monotonic() >= ends:
                break
        over.set()
    assert [one.faults for one in heard if one.faults] == []
    assert {one.status for one in heard} == {"RUN_FINISHED"}
    clients = {one.run: one.text for one in heard}
    assert await asyncio.to_thread(lambda: broken(pair.env, clients=clients, requests=provider.requests)) == []


async def keep_asking(crowd: Crowd, token: str, name: str, heard: list[Heard], over: asyncio.Event) -> None:
    number = 0
    while not over.is_set():
        one = await crowd.ask(token, f"{name} asks {number}")
        assert one.text == answer_for(f"{name} asks {number}")
        heard.append(one)
        number += 1


async def test_a_run_that_cannot_end_in_time_is_handed_over(pair: Programs, provider: Provider) -> None:
    """Within the moment that runs are given, not when its answer is over: another worker has it."""
    (token,) = await asyncio.to_thread(people, pair, 1)
    provider.default = {"tokens_per_second": 5, "wait_after": 20}
    async with Crowd(pair) as crowd:
        run = await crowd.start(token, "Take long")
        await until(lambda: len(provider.unanswered()) == 1, 20)
        owner = owner_of(pair, run)
        took = await asyncio.to_thread(pair.programs[owner].stop)
        assert took < GONE_WITHIN
        # The answer is held: only another one can have asked again.
        await until(lambda: len(provider.requests) == 2, 20)
        provider.release()
        await crowd.read_on(token, heard := Heard(run))
        await asyncio.to_thread(start_and_wait, pair.programs[owner])
    assert heard.text == answer_for("Take long")
    assert heard.status == "RUN_FINISHED"
    assert await asyncio.to_thread(lambda: broken(pair.env, requests=provider.requests)) == []


def owner_of(site: Programs, run: str) -> str:
    """Return the name of the program that claimed a run."""
    said = f"run {run} claimed"
    return next(name for name, program in site.programs.items() if any(said in line for line in program.lines))
