"""Readers of a run's log: late ones, early ones, slow ones, and several at once."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from llmapp import submit
from llmapp.core import events as ev
from llmapp.models import Conversation, Run, RunEvent
from llmapp.runs import away, bell, hub, log, sweeper
from llmapp.runs.bell import News
from llmapp.runs.clock import db_now

LONG = [{"text": "word " * 200}]


@pytest.fixture
async def readers() -> AsyncIterator[hub.Hub]:
    made = hub.get_hub()
    yield made
    await made.aclose()


async def collect(stream: Any) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        return [{"seq": seq, **json.loads(data)} async for seq, data in stream]


def text(events: list[dict[str, Any]]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "TEXT_MESSAGE_CONTENT")


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_a_late_reader_reads_the_log(
    person: Any, scripted: Any, process: Any, readers: hub.Hub, after: int
) -> None:
    """Everything behind the number it has, to the terminal event."""
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    await sync_to_async(process.execute, thread_sensitive=False)(run.pk)
    events = await collect(readers.stream(run.pk, after))
    assert [e["seq"] for e in events] == list(range(after + 1, after + 1 + len(events)))
    assert events[-1]["type"] == "RUN_FINISHED"


async def test_readers_follow_a_run_from_wherever_they_come_in(
    person: Any, scripted: Any, process: Any, readers: hub.Hub
) -> None:
    """Each sees the same text, without a gap and without a double."""
    await sync_to_async(scripted)(LONG, speed=200)
    run = (await sync_to_async(submit)(person, "Hi")).run
    first = asyncio.create_task(collect(readers.stream(run.pk)))
    work = asyncio.create_task(sync_to_async(process.execute, thread_sensitive=False)(run.pk))
    others = []
    for _ in range(4):
        await asyncio.sleep(0.3)
        others.append(asyncio.create_task(collect(readers.stream(run.pk))))
    rest = asyncio.create_task(collect(readers.stream(run.pk, after=20)))
    events = await first
    await work
    assert text(events) == "word " * 200
    for other in others:
        assert await other == events
    assert await rest == events[20:]


async def test_a_lost_bell_costs_a_moment_and_no_token(
    person: Any, scripted: Any, process: Any, readers: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader reads the log by itself."""
    monkeypatch.setattr(hub, "SLOW_POLL", 0.1)
    monkeypatch.setattr(bell, "start", SilentTail)
    await sync_to_async(scripted)(LONG, speed=1000)
    run = (await sync_to_async(submit)(person, "Hi")).run
    reader = asyncio.create_task(collect(readers.stream(run.pk)))
    await asyncio.sleep(0.1)
    await sync_to_async(process.execute, thread_sensitive=False)(run.pk)
    assert text(await reader) == "word " * 200


class SilentTail:
    """A bell that never rings."""

    def __init__(self, *args: Any) -> None: ...

    async def ready(self) -> None: ...

    def close(self) -> None: ...


async def test_a_run_that_ends_while_it_is_read_is_read_to_its_own_end(
    person: Any, scripted: Any, process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its log and the one at its row: nothing is made up for what the log has."""
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    read = log.read

    def then_it_ends(*args: Any) -> list[tuple[int, str, str]]:
        rows = read(*args)
        if not rows:
            process.execute(run.pk)
        return rows

    monkeypatch.setattr(log, "read", then_it_ends)
    page = await sync_to_async(hub.read, thread_sensitive=False)(run.pk, 1)
    assert page.rows == await sync_to_async(read)(run.pk, 1)
    assert page.rows[-1][1] == "completed"


@pytest.mark.parametrize("limit, most", [("BUFFER", 3), ("BUFFER_SIZE", 400)])
async def test_a_reader_that_falls_behind_is_sent_back_to_the_log(
    person: Any,
    scripted: Any,
    process: Any,
    readers: hub.Hub,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    most: int,
) -> None:
    """Its buffer does not grow, and nothing is lost."""
    monkeypatch.setattr(hub, limit, most)
    await sync_to_async(scripted)(LONG, speed=2000)
    run = (await sync_to_async(submit)(person, "Hi")).run
    seqs = []
    stream = readers.stream(run.pk)
    work = asyncio.create_task(sync_to_async(process.execute, thread_sensitive=False)(run.pk))
    async for seq, _ in stream:
        seqs.append(seq)
        (inbox,) = readers._runs[run.pk]
        # By the one that came when it was full it may be more.
        assert len(inbox._news) <= hub.BUFFER
        assert inbox._size < hub.BUFFER_SIZE + 10_000
        await asyncio.sleep(0.01)
    await work
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 20


async def test_ticks_tell_of_silence_and_lose_nothing(
    person: Any, scripted: Any, process: Any, readers: hub.Hub
) -> None:
    """While nothing comes, and between what comes."""
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    heard: list[Any] = []
    async with aclosing(readers.stream_with_ticks(run.pk, 0, 0.02)) as events:
        work = None
        async for event in events:
            heard.append(event)
            if work is None and heard.count(None) == 3:
                work = asyncio.create_task(sync_to_async(process.execute, thread_sensitive=False)(run.pk))
    assert work is not None
    await work
    seqs = [event[0] for event in heard if event is not None]
    assert (heard[0][0], seqs) == (1, list(range(1, len(seqs) + 1)))
    assert json.loads(heard[-1][1])["type"] == "RUN_FINISHED"


def test_hubs_of_loops_that_are_over_are_forgotten() -> None:
    """Each view that is called synchronously has a loop of its own."""

    async def use() -> None:
        hub.get_hub()

    for _ in range(3):
        asyncio.run(use())
    assert sum(loop.is_closed() for loop in hub._hubs) <= 1


async def test_an_inbox_waits_as_long_as_it_is_told(readers: hub.Hub) -> None:
    """Each time anew, whether something came before or not, and not longer after a short wait."""
    inbox, now = hub.Inbox(), asyncio.get_running_loop().time
    item = News(uuid.uuid4(), 1, "", "{}", uuid.uuid4(), "r")
    for seconds in (0.2, 0.05, 0.1):
        inbox.put(item)
        assert await inbox.take(5) == [item]
        began = now()
        assert await inbox.take(seconds) == []
        assert seconds - 0.01 <= now() - began < seconds + 1
    inbox.close()


async def test_a_reader_of_a_deleted_run_is_not_kept_waiting(
    person: Any, scripted: Any, readers: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends."""
    monkeypatch.setattr(hub, "SLOW_POLL", 0.1)
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    reader = asyncio.create_task(collect(readers.stream(run.pk)))
    await asyncio.sleep(0.2)
    await sync_to_async(run.conversation.delete)()
    assert [e["type"] for e in await reader] == ["RUN_STARTED"]


async def test_a_reader_of_a_log_without_its_end_is_told_the_end(
    person: Any, scripted: Any, process: Any, readers: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deleted rows by hand: the final message and the end come from the run's own rows."""
    monkeypatch.setattr(hub, "SLOW_POLL", 0.1)
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    await sync_to_async(process.execute, thread_sensitive=False)(run.pk)
    await sync_to_async(RunEvent.objects.filter(run=run, seq__gt=3).delete)()
    events = await collect(readers.stream(run.pk))
    assert [e["type"] for e in events[-2:]] == ["MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    assert events[-2]["messages"][-1]["content"] == "Hello, **world**!"


@pytest.mark.parametrize("missing", [range(4, 6), range(2, 3), range(2, 99), range(5, 6)])
async def test_a_reader_of_a_log_with_a_hole_gets_what_is_before_it_and_the_end(
    person: Any, scripted: Any, process: Any, readers: hub.Hub, missing: range
) -> None:
    """Wherever the hole is: the text is whole in the end, no number comes twice, and nobody waits."""
    await sync_to_async(scripted)(LONG)
    run = (await sync_to_async(submit)(person, "Hi")).run
    await sync_to_async(process.execute, thread_sensitive=False)(run.pk)
    last = await sync_to_async(log.last_seq)(run.pk)
    await sync_to_async(RunEvent.objects.filter(run=run, seq__in=missing, seq__lt=last).delete)()
    events = await collect(readers.stream(run.pk))
    seqs = [e["seq"] for e in events]
    assert seqs == [*range(1, missing.start), last - 1, last]
    assert [e["type"] for e in events[-2:]] == ["MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    assert events[-2]["messages"][-1]["content"] == "word " * 200
    again = await collect(readers.stream(run.pk, missing.start - 1))
    assert [e["type"] for e in again[-2:]] == ["MESSAGES_SNAPSHOT", "RUN_FINISHED"]


async def test_a_hole_in_the_log_of_a_run_that_goes_on_is_told_at_its_end(
    person: Any, scripted: Any, process: Any, readers: hub.Hub, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Until then the reader has what was before the hole, and nothing that would not fit to it."""
    monkeypatch.setattr(hub, "SLOW_POLL", 0.1)
    await sync_to_async(scripted)(LONG, speed=100)
    run = (await sync_to_async(submit)(person, "Hi")).run
    executing = asyncio.create_task(sync_to_async(process.execute, thread_sensitive=False)(run.pk))
    while await sync_to_async(log.last_seq)(run.pk) < 12:  # noqa: ASYNC110 - the log tells nobody else
        await asyncio.sleep(0.02)
    await sync_to_async(RunEvent.objects.filter(run=run, seq__range=(6, 9)).delete)()
    late = asyncio.create_task(collect(readers.stream(run.pk)))
    events = await late
    await executing
    last = await sync_to_async(log.last_seq)(run.pk)
    assert [e["seq"] for e in events] == [1, 2, 3, 4, 5, last - 1, last]
    assert events[-2]["messages"][-1]["content"] == "word " * 200
    assert f"the log of run {run.pk} has a hole after 5" in caplog.text


async def test_a_reader_that_has_more_than_the_log_begins_anew(
    person: Any, scripted: Any, process: Any, readers: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of the database took the end of the log: what comes now has numbers that the reader has seen."""
    monkeypatch.setattr(hub, "SLOW_POLL", 0.1)
    await sync_to_async(scripted)(LONG, speed=400)
    run = (await sync_to_async(submit)(person, "Hi")).run
    reader = asyncio.create_task(collect(readers.stream(run.pk, 500)))
    await asyncio.sleep(0.3)
    await sync_to_async(process.execute, thread_sensitive=False)(run.pk)
    events = await reader
    assert (events[0]["seq"], events[0]["name"]) == (0, "llmapp.reload")
    assert [e["seq"] for e in events] == list(range(len(events)))
    assert text(events) == "word " * 200
    assert events[-1]["type"] == "RUN_FINISHED"


async def test_a_reader_whose_entries_were_replaced_in_an_outage_begins_anew(
    person: Any, scripted: Any, process: Any, readers: hub.Hub
) -> None:
    """The log has grown past what the reader holds by then, and says something else there."""
    await sync_to_async(scripted)(LONG, speed=100)
    run = (await sync_to_async(submit)(person, "Hi")).run
    executing = asyncio.create_task(sync_to_async(process.execute, thread_sensitive=False)(run.pk))
    events: list[tuple[int, str]] = []
    async with aclosing(readers.stream(run.pk)) as stream:  # type: ignore[type-var]
        async for event in stream:
            events.append(event)
            if len(events) == 20:
                another = log.encode(ev.text_content("another", "text"))
                await sync_to_async(RunEvent.objects.filter(run=run, seq=event[0]).update)(data=another)
                away.database.times += 1
    await executing
    seqs = [seq for seq, _data in events]
    again = seqs.index(0)
    assert seqs[:again] == list(range(1, again + 1))
    assert seqs[again:] == list(range(len(seqs) - again))
    assert json.loads(events[again][1])["name"] == "llmapp.reload"


@pytest.mark.parametrize("after, types", [
    (0, ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]),
    (1, ["MESSAGES_SNAPSHOT", "RUN_FINISHED"]),
    (6, ["MESSAGES_SNAPSHOT", "RUN_FINISHED"]),
])  # fmt: skip
async def test_a_compacted_log_is_a_snapshot_and_an_end(
    person: Any, scripted: Any, process: Any, readers: hub.Hub, after: int, types: list[str]
) -> None:
    """A day after its end the deltas are gone; whoever reads gets the whole thread instead."""
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    await sync_to_async(process.execute, thread_sensitive=False)(run.pk)
    last = await sync_to_async(log.last_seq)(run.pk)
    await sync_to_async(Run.objects.update)(ended_at=await sync_to_async(two_days_ago)())
    await sync_to_async(sweeper.compact_logs)(await sync_to_async(db_now)())
    assert await sync_to_async(RunEvent.objects.count)() == 2
    # At once: there is nothing to wait for, and a slow look would take its two seconds.
    async with asyncio.timeout(hub.SLOW_POLL - 0.2):
        events = await collect(readers.stream(run.pk, after))
    assert [e["type"] for e in events] == types
    assert [m["content"] for m in events[-2]["messages"]] == ["Hi", "Hello, **world**!"]
    assert [e["seq"] for e in events[-2:]] == [last - 1, last]


def two_days_ago() -> datetime:
    return db_now() - timedelta(days=2)


async def test_a_conversation_hears_of_its_runs(person: Any, scripted: Any, process: Any, readers: hub.Hub) -> None:
    """Each status once, from the start to the end, and nothing of other conversations."""
    await sync_to_async(scripted)()
    conversation = await sync_to_async(Conversation.objects.create)(user=person)
    heard: list[str] = []

    async def listen() -> None:
        async for item in readers.announcements(conversation.pk):
            heard.append(item.status)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.2)
    other = (await sync_to_async(submit)(person, "elsewhere")).run
    run = (await sync_to_async(submit)(person, "Hi", conversation=conversation)).run
    for item in (other, run):
        await sync_to_async(process.execute, thread_sensitive=False)(item.pk)
    await asyncio.sleep(0.2)
    listener.cancel()
    assert heard == ["queued", "in_progress", "completed"]


async def test_a_conversation_begins_with_its_active_run(person: Any, scripted: Any, readers: hub.Hub) -> None:
    """Who comes late learns what is going on."""
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    first = await anext(aiter(readers.announcements(run.conversation.pk)))
    assert (first.run_pk, first.status, first.initial) == (run.pk, "queued", True)


async def test_a_run_that_nobody_claims_ends_while_somebody_watches(
    person: Any, scripted: Any, readers: hub.Hub, settings: Any
) -> None:
    """Without any worker the web process ends it at the queue timeout."""
    settings.LLMAPP = {**settings.LLMAPP, "QUEUE_TIMEOUT": 0.2, "SWEEP_SECONDS": 0.1}
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    events = await collect(readers.stream(run.pk))
    assert [e["type"] for e in events] == ["RUN_STARTED", "RUN_ERROR"]
    assert events[-1]["code"] == "timeout"
