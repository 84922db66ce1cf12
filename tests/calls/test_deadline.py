"""A deadline ends what it guards at its time: as it was given, put off or brought forward."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from llmapp.calls.deadline import LATE, MOMENT, Deadline

#: Seconds: when it is due, what it is moved to and when, and when it has to end the wait; None: not at all.
CASES = [
    (0.05, [], 0.05),
    (-1.0, [], 0.0),
    (0.05, [(0.02, 0.2)], 0.2),
    (0.2, [(0.02, 0.05)], 0.05),
    (0.05, [(0.03, 0.1), (0.08, 0.2), (0.15, 0.25)], 0.25),
    (0.1, [(0.02, 0.4), (0.04, 0.15)], 0.15),
    (0.05, [(0.02, 9.0)], None),
]
#: Seconds after which the wait ends by itself.
LONG_ENOUGH = 0.5


@pytest.mark.parametrize("when, moves, expected", CASES)
async def test_it_ends_the_wait_in_time(when: float, moves: list[tuple[float, float]], expected: float | None) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with Deadline(began + when) as deadline:
            for at, to in moves:
                loop.call_at(began + at, deadline.move, began + to)
            await asyncio.sleep(LONG_ENOUGH)
    except TimeoutError:
        assert expected is not None
        assert expected - 0.005 <= loop.time() - began < expected + 0.2
    else:
        assert expected is None


async def test_what_comes_in_the_last_moment_counts() -> None:
    """The timer has fired, and the token is read in the same turn of the loop."""
    loop = asyncio.get_running_loop()
    async with Deadline(loop.time() + 10) as deadline:
        deadline.move(loop.time() - 1)
        deadline._look()
        deadline.move(loop.time() + 10)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("came", [True, False])
async def test_the_sleep_of_the_process_is_not_the_silence_of_a_provider(came: bool) -> None:
    """What came meanwhile is read, however many turns of the loop it takes; without it, it ends all the same."""
    loop, heard = asyncio.get_running_loop(), []
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        began = loop.time()

        async def listen() -> None:
            async with Deadline(began + 0.1) as deadline:
                reading = asyncio.create_task(through_hands(loop.sock_recv(ours, 1), 5))
                await asyncio.sleep(0.01)
                if came:
                    theirs.send(b"x")
                time.sleep(0.1 + 2 * LATE)  # noqa: ASYNC251
                heard.append(await reading)
                deadline.move(loop.time() + 0.1)
                await asyncio.sleep(LONG_ENOUGH)

        with pytest.raises(TimeoutError):
            await listen()
        assert heard == ([b"x"] if came else [])
        assert loop.time() - began < 0.1 + 2 * LATE + (0.1 if came else MOMENT) + 0.3


async def through_hands(reading: Coroutine[Any, Any, bytes], hands: int) -> bytes:
    """Hand on what is read from one task to the next, as an HTTP client does."""
    return await (asyncio.create_task(through_hands(reading, hands - 1)) if hands else reading)


async def test_another_cancellation_is_no_timeout() -> None:
    async def guarded() -> None:
        async with Deadline(asyncio.get_running_loop().time() + 10):
            await asyncio.sleep(10)

    task = asyncio.create_task(guarded())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_over_is_left_alone() -> None:
    """Its timer does not outlive it."""
    loop = asyncio.get_running_loop()
    async with Deadline(loop.time() + 0.02):
        pass
    await asyncio.sleep(0.05)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
