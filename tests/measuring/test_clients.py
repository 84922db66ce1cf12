"""The clients of a measurement: every token is counted, once, with its age, whatever the server does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from llmapp.backends.stamps import FOUND, ROUND, UNIT, age, now, stamp, token
from llmapp.measuring import clients
from llmapp.measuring.clients import Clients, Job, Result
from tests.support.loopback import closed_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def sending(*pieces: bytes | Callable[[], bytes], cut: bool = False) -> Handler:
    """Send these one after the other. One that is called is made when its turn comes."""

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for piece in pieces:
            await answer.write(piece() if callable(piece) else piece)
            await asyncio.sleep(0.02)
        if cut and request.transport is not None:
            request.transport.abort()
        return answer

    return handler


async def ask(handler: Handler, streams: int = 1, **job: Any) -> Result:
    async with serving(handler) as url:
        requests = [{"method": "GET", "url": url}] * streams
        return await Clients(Job(requests, **{"marker": "", "starts": 100, "patience": 5, **job})).run()


def event(*ages: int, words: str = "text") -> bytes:
    """Write an event with tokens that are so many microseconds old."""
    text = " ".join(stamp(now() - old) for old in ages)
    return f'data: {{"type": "{words}", "delta": "{text}"}}\n\n'.encode()


async def test_tokens_are_counted_however_the_bytes_are_cut() -> None:
    data = event(0, 0) + event(0)
    result = await ask(sending(*(data[n : n + 7] for n in range(0, len(data), 7))))
    assert result.tokens == [3]
    assert len(result.first) == 1
    assert result.errors == []


async def test_only_marked_events_hold_tokens() -> None:
    """llmapp sends text as it is, and rendered."""
    result = await ask(sending(event(0), event(0, words="block")), marker="block")
    assert result.tokens == [1]


async def test_delays_are_those_of_the_time_when_all_streams_ran() -> None:
    """A token that was made before is counted and not measured."""
    fresh = partial(event, 0)
    result = await ask(sending(event(50_000), fresh, fresh))
    assert result.tokens == [3]
    assert len(result.delays) == 2
    assert all(0 <= delay < 50_000 for delay in result.delays)
    assert result.steady > 0


async def test_streams_that_never_ran_together_have_the_delays_of_all_tokens() -> None:
    result = await ask(sending(event(0)), streams=2, starts=10)
    assert result.tokens == [1, 1]
    assert (len(result.delays), result.steady) == (2, 0.0)


async def test_so_have_those_whose_tokens_were_all_made_before() -> None:
    """Late by more than the streams last: that is what has to be seen."""
    late = partial(event, 2_000_000)
    result = await ask(sending(late, late, late))
    assert (len(result.delays), result.steady) == (3, 0.0)
    assert min(result.delays) >= 2_000_000


async def refuse(request: web.Request) -> web.StreamResponse:
    return web.Response(status=429, text="too many")


async def redirect(request: web.Request) -> web.StreamResponse:
    return web.Response(status=301, headers={"Location": "https://127.0.0.1/"})


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


@pytest.mark.parametrize(
    "handler, job, tokens, words",
    [
        (refuse, {}, 0, "429: too many"),
        (redirect, {}, 0, "301: "),
        (hang, {"patience": 0.3}, 0, "not over after 0 s"),
        (sending(event(0), cut=True), {}, 1, "ClientPayloadError"),
        (sending(event(0), b'data: {"type": "RUN_ERROR"}\n\n'), {"failure": "RUN_ERROR"}, 1, "RUN_ERROR"),
    ],
)
async def test_what_went_wrong_is_said(handler: Handler, job: dict[str, Any], tokens: int, words: str) -> None:
    """And what had arrived before counts."""
    result = await ask(handler, **job)
    assert result.tokens == [tokens]
    (error,) = result.errors
    assert words in error


async def test_nobody_listens() -> None:
    requests = [{"method": "GET", "url": f"http://127.0.0.1:{closed_port()}/"}]
    (error,) = (await Clients(Job(requests, "", 100, 5)).run()).errors
    assert error.startswith("ClientConnectorError: ")


async def test_a_process_of_its_own_finds_the_same() -> None:
    async with serving(sending(event(0), event(0))) as url:
        job = Job([{"method": "GET", "url": url}] * 2, "", 100, 5)
        assert (await asyncio.to_thread(clients.run, job)).tokens == [2, 2]


async def test_the_process_ends_with_who_started_it() -> None:
    """A killed parent cannot say so: its end of the pipe is closed."""
    async with serving(hang) as url:
        job = f'{{"requests": [{{"method": "GET", "url": "{url}"}}], "marker": "", "starts": 1, "patience": 60}}\n'
        command = [sys.executable, "-m", clients.__name__]
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(job.encode())
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 1


# --- stamps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [0, 1, 9, 10, 123_456_789, ROUND * UNIT - 1, ROUND * UNIT, 10**15])
@pytest.mark.parametrize("old", [0, 10, 5_000_000, 599_000_000])
def test_a_stamp_tells_its_age(made: int, old: int) -> None:
    """To ten microseconds, over its round, and never as a negative number."""
    (found,) = FOUND.findall(stamp(made).encode())
    assert abs(age(found, made + old) - old) < UNIT


def test_tokens_make_paragraphs() -> None:
    assert [number for number in range(1, 200) if token(number).endswith("\n\n")] == [60, 120, 180]
    assert all(len(token(number).rstrip()) == 7 for number in (1, 60))
    assert [number for number in range(1, 200) if token(number).startswith("**")] == [71, 191]
