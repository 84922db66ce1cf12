"""The channel layer as the other bell, on a real Redis: what it carries, loses, doubles and holds back."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from django.db import connection

from llmapp import submit
from llmapp.core import events as ev
from llmapp.models import Conversation, Run
from llmapp.runs import bell, hub, layer, lease, log
from llmapp.runs.clock import db_now
from llmapp.runs.writer import LogWriter
from tests.support import stack

from .support import text_of, wait_until
from .test_hub import LONG, SilentTail, collect, readers, text

__all__ = ["readers"]

BACKENDS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


@pytest.fixture
def redis(transactional_db: None) -> Iterator[stack.OwnRedis]:
    if not stack.on_servers():
        pytest.skip("a channel layer rings beside PostgreSQL only")
    with stack.OwnRedis() as made:
        yield made


@pytest.fixture
def with_layer(redis: stack.OwnRedis, settings: Any) -> stack.OwnRedis:
    use(settings, redis, "pubsub")
    return redis


def use(settings: Any, redis: stack.OwnRedis, kind: str) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": BACKENDS[kind], "CONFIG": {"hosts": [redis.url]}}}


@pytest.fixture
def no_other_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever arrives, the layer has brought it."""
    monkeypatch.setattr(bell, "start", SilentTail)
    monkeypatch.setattr(hub, "SLOW_POLL", 60)


# --- which layer -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend, there", [
    (None, False),
    ("channels.layers.InMemoryChannelLayer", False),
    ("nowhere.Layer", False),
    (BACKENDS["pubsub"], True),
    (BACKENDS["core"], True),
])  # fmt: skip
def test_a_layer_counts_when_other_processes_hear_it(db: None, settings: Any, backend: str | None, there: bool) -> None:
    """And on PostgreSQL: SQLite's readers notice by themselves."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}} if backend else {}
    assert layer.is_there() is (there and connection.vendor == "postgresql")


# --- what it carries -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BACKENDS)
async def test_an_answer_travels_by_the_layer_alone(
    redis: stack.OwnRedis, settings: Any, no_other_bell: None, person: Any, scripted: Any, in_process: Any,
    readers: hub.Hub, kind: str,
) -> None:  # fmt: skip
    """Neither NOTIFY nor a poll is needed for it, and the log is read once."""
    use(settings, redis, kind)
    await sync_to_async(scripted)(LONG, speed=200)
    run = (await sync_to_async(submit)(person, "Hi")).run
    reader = asyncio.create_task(collect(readers.stream(run.pk)))
    await asyncio.sleep(0.3)
    await in_process(run)
    events = await reader
    assert text(events) == "word " * 200
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))


@pytest.fixture
async def in_process(transactional_db: None) -> AsyncIterator[Callable[[Run], Any]]:
    """Execute a run in a worker process that is made now: with the layer of the test's settings."""
    from llmapp.runs import worker

    made: list[worker.WorkerProcess] = []

    async def execute(run: Run) -> None:
        if not made:
            made.append(await asyncio.to_thread(worker.WorkerProcess, 10))
        await sync_to_async(made[0].execute, thread_sensitive=False)(run.pk)

    yield execute
    for process in made:
        await asyncio.to_thread(process.close)


# --- what layers do to messages ----------------------------------------------------------------

#: Which entries come in which messages, of a log whose entries 2 to 7 are written while a reader follows. Seven is the
#: end, and the slow poll is far away: whoever gets the end has got it, and what was missing, in time.
MESSAGES = {
    "in order": [[2, 3], [4], [5, 6, 7]],
    "one is lost": [[2, 3], [5, 6, 7]],
    "all but the last are lost": [[7]],
    "each comes twice": [[2, 3], [2, 3], [4], [4], [5, 6, 7], [5, 6, 7]],
    "two change places": [[4], [2, 3], [5, 6, 7]],
    "in reverse": [[7], [6], [5], [4], [3], [2]],
    "batches overlap": [[2, 3, 4], [3, 4, 5], [5, 6, 7]],
    "a hole within": [[2, 4, 5], [6, 7]],
}


@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
async def test_a_reader_gets_every_entry_once_whatever_becomes_of_the_messages(
    with_layer: stack.OwnRedis, no_other_bell: None, person: Any, scripted: Any, readers: hub.Hub,
    messages: list[list[int]],
) -> None:  # fmt: skip
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    reader = asyncio.create_task(collect(readers.stream(run.pk)))
    await asyncio.sleep(0.3)
    news = await sync_to_async(write_silently)(run)
    for seqs in messages:
        await send([news[seq] for seq in seqs])
        await asyncio.sleep(0.05)
    assert [e["seq"] for e in await reader] == [1, 2, 3, 4, 5, 6, 7]


async def test_the_last_message_is_lost_and_a_slow_poll_finds_it(
    with_layer: stack.OwnRedis, no_other_bell: None, person: Any, scripted: Any, readers: hub.Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(hub, "SLOW_POLL", 0.2)
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    reader = asyncio.create_task(collect(readers.stream(run.pk)))
    await asyncio.sleep(0.1)
    news = await sync_to_async(write_silently)(run)
    await send([news[2], news[3]])
    assert [e["seq"] for e in await reader] == [1, 2, 3, 4, 5, 6, 7]


async def test_what_is_not_for_us_is_left_alone(
    with_layer: stack.OwnRedis, no_other_bell: None, person: Any, scripted: Any, readers: hub.Hub,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Runs of another site on the same Redis, and messages of another version; then ours is heard all the same."""
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    reader = asyncio.create_task(collect(readers.stream(run.pk)))
    await asyncio.sleep(0.3)
    news = await sync_to_async(write_silently)(run)
    foreign = bell.News(uuid.uuid4(), 2, "completed", news[7].data, uuid.uuid4(), run.public_id)
    await send([foreign, news[2]])
    for message in ({"type": "llmapp.news"}, {"type": "llmapp.news", "runs": [["x"]]}, {"type": "somebody.elses"}):
        await send_message(message)
    await send([news[seq] for seq in range(3, 8)])
    assert [e["seq"] for e in await reader] == [1, 2, 3, 4, 5, 6, 7]
    assert caplog.messages.count("messages of the channel layer cannot be read") == 1


def write_silently(run: Run) -> dict[int, bell.News]:
    """Write the entries 2 to 7 of a run, ring no bell, and return what a message would say of each."""
    events = [ev.run_status("in_progress", execution=1), ev.text_start("m"), ev.text_content("m", "a")]
    events += [ev.text_content("m", "b"), ev.text_end("m")]
    entries = [log.entry(event) for event in events]
    entries.append(log.Entry(log.encode({"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}), "completed"))
    log.insert([(run.pk, seq, item) for seq, item in enumerate(entries, start=2)], db_now())
    return {
        seq: bell.News(run.pk, seq, item.status, item.data, run.conversation_id, run.public_id)
        for seq, item in enumerate(entries, start=2)
    }


async def send(news: list[bell.News]) -> None:
    await send_message({"type": layer.NEWS, "runs": layer._packed(news)})


async def send_message(message: dict[str, Any]) -> None:
    made = channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)
    await made.group_send(layer.GROUP, message)
    await made.flush()


# --- statuses ----------------------------------------------------------------------------------


async def test_a_status_that_comes_late_or_twice_is_not_told(
    with_layer: stack.OwnRedis, no_other_bell: None, person: Any, scripted: Any, readers: hub.Hub
) -> None:
    """The claim is announced by NOTIFY, the end by the layer: whichever is first, nobody hears `in_progress` last."""
    await sync_to_async(scripted)()
    conversation = await sync_to_async(Conversation.objects.create)(user=person)
    heard: list[str] = []

    async def listen() -> None:
        async for item in readers.announcements(conversation.pk):
            heard.append(item.status)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    run = (await sync_to_async(submit)(person, "Hi", conversation=conversation)).run
    news = await sync_to_async(write_silently)(run)
    for seq in (7, 2, 7, 2):
        await send([news[seq]])
        await asyncio.sleep(0.1)
    listener.cancel()
    assert heard == ["completed"]


# --- a layer that is away ------------------------------------------------------------------------


class Desk:
    """A log writer, a run that it holds, and a reader of that run who hears NOTIFY and the layer."""

    def __init__(self, writer: LogWriter, run: Run, seq: int, readers: hub.Hub) -> None:
        self.log = writer.open(run, seq)
        self.log.emit(ev.text_start("m"))
        self.written = 0
        self._writer = writer
        self._arrived: dict[str, float] = {}
        self._reading = asyncio.create_task(self._read(readers, run))

    async def _read(self, readers: hub.Hub, run: Run) -> None:
        async for _seq, data in readers.stream(run.pk):
            if delta := json.loads(data).get("delta"):
                for number in delta.split():
                    self._arrived[number] = time.monotonic()

    @property
    def up(self) -> bool:
        assert self._writer._ringer is not None
        return self._writer._ringer.up

    async def say(self, times: int, padding: int = 0) -> float:
        """Write tokens one by one; return the delay of the slowest, from the writer to the reader."""
        slowest = 0.0
        for _ in range(times):
            self.written += 1
            before = time.monotonic()
            self.log.emit(ev.text_content("m", f"{self.written} {' ' * padding}"))
            while str(self.written) not in self._arrived:
                assert time.monotonic() - before < 10, "it did not arrive"
                await asyncio.sleep(0.002)
            slowest = max(slowest, time.monotonic() - before)
        return slowest

    async def leave(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])


@pytest.fixture
async def desk(
    with_layer: stack.OwnRedis, person: Any, scripted: Any, readers: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """Nobody polls: what arrives was rung for."""
    monkeypatch.setattr(hub, "SLOW_POLL", 60)
    monkeypatch.setattr(layer, "AGAIN", 0.2)
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    worker = await sync_to_async(lease.register)(10, {})
    claim = await sync_to_async(lease.claim)(run.pk, worker.pk)
    assert claim is not None
    writer = LogWriter(worker.pk, asyncio.get_running_loop(), lambda *args: None)
    made = Desk(writer, run, claim.seq, readers)
    await asyncio.to_thread(wait_until, lambda: made.up)
    await asyncio.sleep(0.3)
    yield made
    await made.leave()
    await writer.aclose()
    assert (await sync_to_async(text_of)(run)).split() == [str(n + 1) for n in range(made.written)]


async def test_a_layer_that_dies_costs_a_moment_and_comes_back(
    desk: Desk, with_layer: stack.OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile NOTIFY rings. It is said once, and once that it is back."""
    caplog.set_level(logging.WARNING, "llmapp.runs")
    await desk.say(5)
    assert desk.up
    with_layer.kill()
    assert await desk.say(20) < layer.PATIENCE + 1
    assert not desk.up
    await asyncio.sleep(1)
    assert await desk.say(20) < 1
    with_layer.start()
    await asyncio.to_thread(wait_until, lambda: desk.up)
    await desk.say(5)
    assert actions(caplog, "layer_failed") == 1
    assert actions(caplog, "layer_back") == 1


async def test_a_layer_that_answers_nothing_does_not_slow_the_log(desk: Desk, with_layer: stack.OwnRedis) -> None:
    """It is waited for once."""
    await desk.say(5)
    with_layer.pause()
    assert await desk.say(1) < layer.PATIENCE + 1
    before = time.monotonic()
    await desk.say(50)
    assert time.monotonic() - before < 3
    assert not desk.up


async def test_a_batch_that_is_too_large_for_a_message_is_announced_by_notify(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    ring = layer.Ringer.ring

    def spy(self: layer.Ringer, news: Any) -> bool:
        sent.append(sum(len(item.data) for item in news))
        return ring(self, news)

    async def rung(times: int) -> bool:
        # PostgreSQL tells of the commit by itself, and may be heard before the layer is rung.
        for _ in range(200):
            if len(sent) >= times:
                break
            await asyncio.sleep(0.01)
        return len(sent) == times

    monkeypatch.setattr(layer.Ringer, "ring", spy)
    await desk.say(1)
    assert await rung(1)
    assert await desk.say(1, padding=layer.LARGEST) < 1
    assert await rung(1)
    await desk.say(1)
    assert await rung(2)
    assert max(sent) <= layer.LARGEST
    assert desk.up


async def test_a_listener_finds_its_way_back_to_a_layer_that_was_away(
    with_layer: stack.OwnRedis, no_other_bell: None, person: Any, scripted: Any, readers: hub.Hub,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It notices by itself that it hears nothing any more."""
    monkeypatch.setattr(layer, "CONFIRM", 0.5)
    monkeypatch.setattr(layer, "AGAIN", 0.2)
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    reader = asyncio.create_task(collect(readers.stream(run.pk)))
    await asyncio.sleep(0.3)
    with_layer.kill()
    await asyncio.sleep(2)
    with_layer.start()
    news = await sync_to_async(write_silently)(run)
    while not reader.done():
        await send([news[7]])
        await asyncio.sleep(0.3)
    assert [e["seq"] for e in await reader] == [1, 2, 3, 4, 5, 6, 7]
    assert actions(caplog, "layer_deaf") == 1


def actions(caplog: pytest.LogCaptureFixture, action: str) -> int:
    return len([record for record in caplog.records if getattr(record, "action", "") == action])
