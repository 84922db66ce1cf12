"""The step journal: a finished turn is kept whatever happens next, and is never asked for again."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, transaction
from django.db.models import F

from llmapp import submit
from llmapp.core import events as ev
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.core.stream import FinishReason, Reply
from llmapp.models import Attempt, Call, Conversation, Message, Run, Turn, Worker
from llmapp.runs import actions, endings, execution, journal, lease, log, thread
from llmapp.runs.briefing import brief
from llmapp.runs.clock import db_now
from llmapp.runs.writer import LogWriter

from .support import events_of, types_of, wait_until

TEXT = "Hello, **world**!"


class Held:
    """A run in the hands of a worker that can be left alone at any point."""

    def __init__(self, run: Run, worker: Worker, writer: LogWriter) -> None:
        self.run, self.worker, self.writer = run, worker, writer

    async def take(self) -> None:
        claim = await sync_to_async(lease.claim)(self.run.pk, self.worker.pk)
        assert claim is not None
        self.log = self.writer.open(claim.run, claim.seq)
        self.journal = journal.RunJournal(self.log, lambda: Run.objects.select_for_update().get(pk=self.run.pk))
        self.execution = claim.run.executions

    async def say(self, text: str, step: str = "turn") -> str:
        """Tell a turn up to its last token."""
        await sync_to_async(self._ask)()
        id = str(uuid.uuid4())
        for event in [ev.step_started(step), ev.text_start(id), ev.text_content(id, text)]:
            self.log.emit(event)
        return id

    def _ask(self) -> None:
        call = Call.objects.create(run=self.run, turn_id=journal.open_turn(self.run.pk), started_at=db_now())
        Attempt.objects.create(
            call=call, number=call.pk, model_name="actor", started_at=db_now(), ended_at=db_now(), finish_reason="stop"
        )
        Call.objects.filter(pk=call.pk).update(ended_at=db_now())
        Run.objects.filter(pk=self.run.pk).update(attempts_used=F("attempts_used") + 1)

    async def finish(self, id: str, text: str, step: str = "turn", reason: FinishReason = FinishReason.STOP) -> None:
        self.log.emit(ev.text_end(id))
        await self.journal.finish(step, id, Reply(text=text, finish_reason=reason))

    async def die(self) -> None:
        """What the sweeper does when the worker is gone."""
        await self.writer.aclose()
        await sync_to_async(lease.revoke)(self.worker.pk, "worker_died")
        await self.run.arefresh_from_db()


async def make(run: Run) -> Held:
    worker = await sync_to_async(lease.register)(10, {})
    return Held(run, worker, LogWriter(worker.pk, asyncio.get_running_loop(), lambda *args: None))


@pytest.fixture
async def held(person: Any, scripted: Any) -> AsyncIterator[Held]:
    await sync_to_async(scripted)()
    run = (await sync_to_async(submit)(person, "Hi")).run
    made = await make(run)
    await made.take()
    yield made
    await made.writer.aclose()


async def test_a_worker_that_dies_after_the_last_token_has_not_lost_the_answer(held: Held) -> None:
    """The run completes without anybody being asked again; the message is whole, rendered and on the path."""
    id = await held.say(TEXT)
    await held.finish(id, TEXT)
    await held.die()
    run = held.run
    assert (run.status, run.executions, run.error_kind) == ("completed", 1, "")
    events = await sync_to_async(events_of)(run)
    assert [e["type"] for e in events].count("STEP_FINISHED") == 1
    message = await Message.objects.aget(role="assistant")
    assert (str(message.pk), message.text, message.complete) == (id, TEXT, True)
    assert "<strong>world</strong>" in message.html
    assert (await Conversation.objects.aget()).leaf_id == message.pk
    turn = await Turn.objects.aget()
    assert (turn.finish_reason, turn.error_kind, turn.message_id) == ("stop", "", message.pk)


@pytest.mark.parametrize(
    "reason, text, status, kind",
    [
        (FinishReason.LENGTH, "Half an ans", "incomplete", "output_truncated"),
        (FinishReason.CONTENT_FILTER, "I sh", "incomplete", "content_policy"),
    ],
)
async def test_nor_how_it_was_cut_off(held: Held, reason: FinishReason, text: str, status: str, kind: str) -> None:
    id = await held.say(text)
    await held.finish(id, text, reason=reason)
    await held.die()
    assert (held.run.status, held.run.error_kind) == (status, kind)
    assert not (await Message.objects.aget(role="assistant")).complete


async def test_what_is_finished_completes_even_when_its_time_is_over_and_a_stop_was_asked_for(held: Held) -> None:
    """Nobody is told that an answer failed which is there."""
    id = await held.say(TEXT)
    await held.finish(id, TEXT)
    past = await sync_to_async(db_now)() - timedelta(seconds=10)
    await Run.objects.aupdate(run_until=past, stop_requested_at=past)
    await held.die()
    assert held.run.status == "completed"


async def test_an_answer_that_is_not_finished_is_asked_for_again(held: Held) -> None:
    """Its last token alone does not end it: the provider has not said that it is over."""
    await held.say(TEXT)
    await held.log.commit(list)
    await held.die()
    assert (held.run.status, await Message.objects.filter(role="assistant").acount()) == ("queued", 0)
    turn = await Turn.objects.aget()
    assert (turn.finish_reason, turn.error_kind) == ("", "cancelled")
    assert turn.ended_at is not None


async def test_a_takeover_goes_on_behind_the_last_finished_turn(held: Held, person: Any) -> None:
    """What is finished stays and is part of what the model is told; what is not is withdrawn."""
    first = await held.say("One.")
    await held.finish(first, "One.")
    await held.say("Two, and")
    await held.log.commit(list)
    await held.die()
    assert held.run.status == "queued"
    second = await make(held.run)
    await second.take()
    await held.run.arefresh_from_db()
    briefing = await sync_to_async(lambda: brief(Run.objects.select_related(*lease.WITH_A_RUN).get(), 1))()
    assert [message.content for message in briefing.history] == ["Hi", "One."]
    events = await sync_to_async(events_of)(held.run)
    (snapshot,) = (event["messages"] for event in events if event["type"] == "MESSAGES_SNAPSHOT")
    assert [message["content"] for message in snapshot] == ["Hi", "One."]
    # And what it says then stands behind the first.
    id = await second.say("Two.", "turn 2")
    await second.finish(id, "Two.", "turn 2")
    await second.die()
    assert held.run.status == "completed"
    leaf = (await Conversation.objects.aget()).leaf_id
    path = await sync_to_async(thread.snapshot)(leaf)
    assert [message["content"] for message in path] == ["Hi", "One.", "Two."]
    assert [turn.number async for turn in Turn.objects.all()] == [1, 2, 3]


async def test_a_takeover_of_finished_text_only_withdraws_nothing(held: Held) -> None:
    """A snapshot would make every client draw the page anew."""
    first = await held.say("One.")
    await held.finish(first, "One.")
    held.log.emit(ev.step_started("more"))
    await sync_to_async(held._ask)()
    await held.log.commit(list)
    await held.die()
    second = await make(held.run)
    await second.take()
    types = await sync_to_async(types_of)(held.run)
    assert "MESSAGES_SNAPSHOT" not in types
    assert types.count("STEP_FINISHED") == types.count("STEP_STARTED") == 2
    await second.writer.aclose()


async def test_a_turn_that_is_written_twice_is_written_once(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer tries again what failed by a database that was away for a moment."""
    insert, fails = log.insert, iter([True])

    def away_once(*args: Any) -> None:
        insert(*args)
        if next(fails, False):
            raise OperationalError("the server closed the connection unexpectedly")

    id = await held.say(TEXT)
    await held.log.commit(list)
    monkeypatch.setattr(log, "insert", away_once)
    await held.finish(id, TEXT)
    assert next(fails, "used") == "used"
    await held.die()
    types = await sync_to_async(types_of)(held.run)
    assert types.count("STEP_FINISHED") == 1
    assert await Message.objects.filter(role="assistant").acount() == 1
    assert held.run.status == "completed"


@pytest.mark.parametrize("how", ["stop", "shutdown", "timeout"])
def test_what_comes_between_the_finished_turn_and_the_end_changes_nothing(
    person: Any, scripted: Any, process: Any, in_background: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The run is completed, and said to be, once."""
    scripted()
    run = submit(person, "Hi").run
    finish, finished = journal.RunJournal.finish, []

    async def slowly(self: Any, *args: Any) -> None:
        await finish(self, *args)
        finished.append(True)
        await asyncio.sleep(30)

    monkeypatch.setattr(journal.RunJournal, "finish", slowly)
    in_background(run)
    wait_until(lambda: finished)
    if how == "stop":
        actions.request_stop(run)
    else:
        why = execution.Interruption[how.upper()]
        process._portal.call(process._interrupt, run.pk, why)
    wait_until(lambda: Run.objects.get(pk=run.pk).status not in {RunStatus.QUEUED, RunStatus.IN_PROGRESS})
    assert events_of(run)[-1]["type"] == "RUN_FINISHED"
    assert Run.objects.get(pk=run.pk).status == "completed"
    assert Message.objects.get(role="assistant").html


def test_no_row_is_left_open(person: Any, scripted: Any, process: Any) -> None:
    """The end of a run closes its turns, with the reason."""
    scripted([{"error": {"status": 401}}])
    run = submit(person, "Hi").run
    process.execute(run.pk)
    turn = Turn.objects.get()
    run.refresh_from_db()
    assert run.status == "failed"
    assert (turn.error_kind, turn.finish_reason, turn.ended_at is not None) == (run.error_kind, "", True)
    assert Call.objects.get().turn == turn


def test_the_reasoning_is_kept_with_the_text(person: Any, scripted: Any) -> None:
    """Also where the sweeper ends the run: it has the log."""
    scripted()
    run = submit(person, "Hi").run
    worker = lease.register(1, {})
    claim = lease.claim(run.pk, worker.pk)
    assert claim is not None
    log.append(run.pk, [*ev.reasoning_start("r"), ev.reasoning_content("r", "Well."), *ev.reasoning_end("r")])
    log.append(run.pk, [ev.text_start(str(run.pk)), ev.text_content(str(run.pk), "Half")])
    claim.run.executions = 3
    claim.run.save()
    lease.revoke(worker.pk, "worker_died")
    message = Message.objects.get(role="assistant")
    assert (message.text, message.reasoning, message.complete) == ("Half", "Well.", False)
    assert endings.reasoning_of(log.transcript(run.pk)) == "Well."


async def test_a_reason_of_a_newer_version_ends_a_run_all_the_same(held: Held) -> None:
    """A rolling restart: what the new worker wrote, an old one may have to end."""
    id = await held.say(TEXT)
    await held.finish(id, TEXT)
    await Turn.objects.aupdate(finish_reason="of_tomorrow")
    await held.die()
    assert held.run.status == "completed"


def test_a_run_that_was_spared_already_is_given_back(person: Any, scripted: Any) -> None:
    """Its count of executions never goes below nothing."""
    scripted()
    run = submit(person, "Hi").run
    claim = lease.claim(run.pk, lease.register(1, {}).pk)
    assert claim is not None
    claim.run.executions = 0
    claim.run.save()
    with transaction.atomic():
        endings.requeue(claim.run, Trigger.YIELD, "worker_stopped")
    run.refresh_from_db()
    assert (run.status, run.executions) == ("queued", 0)
