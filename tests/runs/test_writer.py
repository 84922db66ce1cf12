"""The log writer: order, batches, fences, and a database that is away for a moment."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection

from llmapp import submit
from llmapp.core import events as ev
from llmapp.models import Run, RunEvent, Worker
from llmapp.runs import lease, log
from llmapp.runs import writer as writer_module
from llmapp.runs.writer import LogWriter

from .support import events_of, text_of

Lost = list[tuple[uuid.UUID | None, BaseException]]


class Desk:
    """A writer, its lease, and the runs that it holds."""

    def __init__(self, writer: LogWriter, worker: Worker, lost: Lost) -> None:
        self.writer, self.worker, self.lost = writer, worker, lost

    async def take(self, run: Run) -> Any:
        claim = await sync_to_async(lease.claim)(run.pk, self.worker.pk)
        assert claim is not None
        return self.writer.open(run, claim.seq)


@pytest.fixture
async def desk(transactional_db: None) -> AsyncIterator[Desk]:
    lost: Lost = []
    worker = await sync_to_async(lease.register)(10, {})
    writer = LogWriter(worker.pk, asyncio.get_running_loop(), lambda *args: lost.append(args))
    yield Desk(writer, worker, lost)
    await writer.aclose()


@pytest.fixture
async def runs(person: Any, scripted: Any) -> list[Run]:
    await sync_to_async(scripted)()
    return [(await sync_to_async(submit)(person, f"Hi {n}")).run for n in range(3)]


def say(run_log: Any, text: str, id: str = "m") -> None:
    if id not in run_log.transcript.texts:
        run_log.emit(ev.text_start(id))
    run_log.emit(ev.text_content(id, text))


async def test_events_are_written_in_order_and_deltas_are_joined(desk: Desk, runs: list[Run]) -> None:
    """A burst becomes few rows; the text is whole."""
    run_log = await desk.take(runs[0])
    for n in range(500):
        say(run_log, f"{n} ")
    await run_log.commit(list)
    assert await sync_to_async(text_of)(runs[0]) == "".join(f"{n} " for n in range(500))
    assert await sync_to_async(RunEvent.objects.filter(run=runs[0]).count)() < 100


async def test_a_step_and_its_events_are_one_transaction(desk: Desk, runs: list[Run]) -> None:
    """A step that fails leaves neither; what was written before it stays."""
    run_log = await desk.take(runs[0])
    say(run_log, "kept")
    await run_log.commit(list)

    def step() -> list[ev.Event]:
        Run.objects.filter(pk=runs[0].pk).update(error_message="must not stay")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_log.commit(step)
    await sync_to_async(runs[0].refresh_from_db)()
    assert runs[0].error_message == ""
    assert await sync_to_async(text_of)(runs[0]) == "kept"


async def test_one_bad_run_does_not_fail_the_others(desk: Desk, runs: list[Run]) -> None:
    """Somebody else wrote into its log: it is lost, and said to be; the batch of the others is written."""
    logs = [await desk.take(run) for run in runs]
    bad = await sync_to_async(log.last_seq)(runs[1].pk)
    await sync_to_async(RunEvent.objects.create)(
        run=runs[1], seq=bad + 1, data='{"type":"STEP_STARTED","stepName":"x"}', created_at=runs[1].created_at
    )
    # One batch, made under the writer's nose.
    for run_log in logs:
        say(run_log, "text")
    results = await asyncio.gather(*(run_log.commit(list) for run_log in logs), return_exceptions=True)
    await asyncio.sleep(0.1)
    assert [await sync_to_async(text_of)(run) for run in (runs[0], runs[2])] == ["text", "text"]
    assert [run_id for run_id, _ in desk.lost if run_id] != []
    assert {run_id for run_id, _ in desk.lost} == {runs[1].pk}
    assert results[0] is None
    assert results[2] is None


async def test_without_its_lease_it_writes_nothing(desk: Desk, runs: list[Run]) -> None:
    """All of its runs are lost at once."""
    run_log = await desk.take(runs[0])
    before = await sync_to_async(events_of)(runs[0])
    await sync_to_async(lease.revoke)(desk.worker.pk, "test")
    requeued = len(before) + 1
    say(run_log, "zombie")
    with pytest.raises(lease.LeaseLost):
        await run_log.commit(list)
    await asyncio.sleep(0.05)
    assert len(await sync_to_async(events_of)(runs[0])) == requeued
    assert (None, lease.LeaseLost) in [(run_id, type(error)) for run_id, error in desk.lost]


async def test_a_run_that_was_closed_is_not_written_to(desk: Desk, runs: list[Run]) -> None:
    """Nothing comes after the end, whatever its tasks still say."""
    run_log = await desk.take(runs[0])
    desk.writer.close_run(runs[0].pk)
    with pytest.raises(lease.LeaseLost):
        await run_log.commit(list)


@pytest.mark.parametrize("fails", ["before", "after", "after, and again when it looks"])
async def test_a_connection_that_is_lost_costs_no_event_and_doubles_none(
    desk: Desk, runs: list[Run], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Whether the batch had arrived or not: the writer reads its last seq again."""
    run_log = await desk.take(runs[0])
    write, failures = LogWriter._write, [True, True]

    def flaky(self: LogWriter, batch: Any) -> None:
        if failures and fails == "before":
            failures.pop()
            raise OperationalError("server closed the connection unexpectedly")
        seqs = dict(self._seqs)
        write(self, batch)
        if failures:
            # The commit arrived; its acknowledgement did not.
            failures.clear()
            self._seqs.update(seqs)
            raise OperationalError("server closed the connection unexpectedly")

    arrived, blind = LogWriter._arrived, fails.endswith("looks")

    def still_away(self: LogWriter, batch: Any) -> bool:
        nonlocal blind
        if blind:
            blind = False
            raise OperationalError("connection refused")
        return arrived(self, batch)

    monkeypatch.setattr(LogWriter, "_write", flaky)
    monkeypatch.setattr(LogWriter, "_arrived", still_away)
    for n in range(20):
        say(run_log, f"{n} ")
        await asyncio.sleep(0.01)
    await run_log.commit(list)
    assert await sync_to_async(text_of)(runs[0]) == "".join(f"{n} " for n in range(20))


async def test_what_a_crash_of_the_database_takes_is_written_again(
    desk: Desk, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same numbers, for readers have it; also of a run that has nothing to write just then."""
    monkeypatch.setattr(writer_module, "MAY_LOSE", ("sqlite", "postgresql"))
    crash = Crash(monkeypatch)
    first, second = [await desk.take(run) for run in runs[:2]]
    for n in range(20):
        say(first, f"{n} ")
        say(second, f"{n} ", "s")
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    before = [await sync_to_async(rows_of)(run) for run in runs[:2]]
    crash.take({runs[0].pk: len(before[0]) - 5, runs[1].pk: len(before[1]) - 3})
    say(first, "more")
    await first.commit(list)
    after = [await sync_to_async(rows_of)(run) for run in runs[:2]]
    assert after[0][: len(before[0])] == before[0]
    assert after[1] == before[1]
    say(second, "more", "s")
    await second.commit(list)
    for run in runs[:2]:
        assert await sync_to_async(text_of)(run) == "".join(f"{n} " for n in range(20)) + "more"
    assert desk.lost == []


async def test_a_run_whose_entries_nobody_has_any_more_is_let_go(
    desk: Desk, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is begun anew; the others go on."""
    monkeypatch.setattr(writer_module, "MAY_LOSE", ("sqlite", "postgresql"))
    monkeypatch.setattr(writer_module, "ON_DISK_AFTER", -1.0)
    crash = Crash(monkeypatch)
    torn, other = [await desk.take(run) for run in runs[:2]]
    say(torn, "text")
    await asyncio.sleep(0.1)
    crash.take({runs[0].pk: 2})
    say(torn, "more")
    say(other, "well")
    with pytest.raises(writer_module.LostByCrash):
        await torn.commit(list)
    await other.commit(list)
    assert [run_id for run_id, _error in desk.lost] == [runs[0].pk]
    assert await sync_to_async(text_of)(runs[1]) == "well"
    assert [seq for seq, _data in await sync_to_async(rows_of)(runs[0])] == [1, 2]


class Crash:
    """Takes the newest rows of logs out of the database, and then the writer's connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._kept: dict[uuid.UUID, int] = {}
        real = LogWriter._write

        def write(writer: LogWriter, batch: Any) -> None:
            if kept := self._kept:
                self._kept = {}
                for run_id, last in kept.items():
                    RunEvent.objects.filter(run=run_id, seq__gt=last).delete()
                raise OperationalError("server closed the connection unexpectedly")
            real(writer, batch)

        monkeypatch.setattr(LogWriter, "_write", write)

    def take(self, kept: dict[uuid.UUID, int]) -> None:
        self._kept = kept


def rows_of(run: Run) -> list[tuple[int, str]]:
    return list(RunEvent.objects.filter(run=run).order_by("seq").values_list("seq", "data"))


async def test_a_finished_step_waits_for_the_disk(desk: Desk, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas do not."""
    query, relaxed, strict = {
        "sqlite": ("PRAGMA synchronous", 1, 2),
        "postgresql": ("SHOW synchronous_commit", "off", "on"),
    }[connection.vendor]
    seen: list[tuple[bool, object]] = []
    write = LogWriter._write

    def spy(self: LogWriter, batch: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(query)
            seen.append((any(item.step for item in batch), cursor.fetchone()[0]))
        write(self, batch)

    monkeypatch.setattr(LogWriter, "_write", spy)
    run_log = await desk.take(runs[0])
    say(run_log, "text")
    await asyncio.sleep(0.05)
    await run_log.commit(list)
    assert set(seen) == {(False, relaxed), (True, strict)}


def test_text_that_a_database_refuses_is_escaped(runs: Callable[..., Any] | list[Run]) -> None:
    """Half an emoji and a NUL survive as JSON."""
    assert log.encode(ev.text_content("m", "\ud83d\0")).isascii()


async def test_who_writes_to_a_writer_that_was_closed_is_told(desk: Desk, runs: list[Run]) -> None:
    """A claim can come back when its lease was revoked, and its writer closed, in the meantime."""
    run_log = await desk.take(runs[0])
    await desk.writer.aclose()
    with pytest.raises(lease.LeaseLost):
        async with asyncio.timeout(5):
            await run_log.commit(list)
