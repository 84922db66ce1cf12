"""The official AG-UI client accepts every kind of run from start to end, and reads in it what the server has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from llmapp import submit, tokens
from llmapp.api.sse import frame
from llmapp.core.events import TERMINAL
from llmapp.core.run_state import RunStatus
from llmapp.models import Conversation, Message, Run
from llmapp.runs import actions, lease, sweeper
from llmapp.runs.clock import db_now
from llmapp.runs.hub import get_hub
from llmapp.runs.thread import snapshot
from llmapp.runs.worker import WorkerProcess
from tests.runs.support import events_of, text_of, wait_until

pytestmark = pytest.mark.acceptance

LONG = [{"reasoning": "Let me think."}, {"text": "word " * 200}]


def stream_of(run: Run) -> bytes:
    """Return a run's log as the server streams it, comments included."""
    rows = run.events.order_by("seq").values_list("seq", "data")
    return b": still here\n\n".join(frame(seq, data) for seq, data in rows)


async def as_the_hub_gives_it_out(run: Run) -> bytes:
    hub = get_hub()
    try:
        return b"".join([frame(seq, data) async for seq, data in hub.stream(run.pk)])
    finally:
        await hub.aclose()


def completed(person: Any, scripted: Any, in_background: Any) -> Run:
    scripted([{"reasoning": "Let me think."}, {"text": "# Title\n\n* one\n* two\n\n```py\nx = 1\n```\n🙂"}])
    run = submit(person, "Hi", message_id="m1").run
    in_background(run).join()
    return run


def failed(person: Any, scripted: Any, in_background: Any) -> Run:
    scripted([{"fail": {"status": 401, "body": {"error": {"message": "no"}}}}], attempts=1)
    run = submit(person, "Hi", message_id="m1").run
    in_background(run).join()
    return run


def incomplete(person: Any, scripted: Any, in_background: Any) -> Run:
    scripted([{"text": "Half of"}, {"cut": True}], attempts=1)
    run = submit(person, "Hi", message_id="m1").run
    in_background(run).join()
    return run


def cancelled(person: Any, scripted: Any, in_background: Any) -> Run:
    scripted(LONG, speed=100)
    run = submit(person, "Hi", message_id="m1").run
    work = in_background(run)
    wait_until(lambda: text_of(run))
    actions.request_stop(run)
    work.join()
    return run


def cancelled_in_the_queue(person: Any, scripted: Any, in_background: Any) -> Run:
    scripted()
    run = submit(person, "Hi", message_id="m1").run
    actions.request_stop(run)
    return run


def taken_over(person: Any, scripted: Any, in_background: Any) -> Run:
    """Its worker is lost in mid-answer; another one starts anew and the shown text is withdrawn."""
    scripted(LONG, speed=100)
    run = submit(person, "Hi", message_id="m1").run
    work = in_background(run)
    wait_until(lambda: text_of(run))
    run.refresh_from_db()
    lease.revoke(run.worker_id, "heartbeat_lost")
    work.join()
    again = WorkerProcess(concurrency=1)
    try:
        again.execute(run.pk)
    finally:
        again.close()
    return run


def given_up(person: Any, scripted: Any, in_background: Any) -> Run:
    """Its worker is lost on the last execution: what was shown is kept."""
    scripted(LONG, speed=100)
    run = submit(person, "Hi", message_id="m1").run
    work = in_background(run)
    wait_until(lambda: text_of(run))
    Run.objects.update(executions=3)
    run.refresh_from_db()
    lease.revoke(run.worker_id, "heartbeat_lost")
    work.join()
    return run


KINDS = [
    (completed, RunStatus.COMPLETED),
    (failed, RunStatus.FAILED),
    (incomplete, RunStatus.INCOMPLETE),
    (cancelled, RunStatus.CANCELLED),
    (cancelled_in_the_queue, RunStatus.CANCELLED),
    (taken_over, RunStatus.COMPLETED),
    (given_up, RunStatus.INCOMPLETE),
]


@pytest.mark.parametrize("make, status", KINDS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_kind_of_run_is_accepted(
    official_client: Any, recorded: Any, person: Any, scripted: Any, in_background: Any, make: Any, status: str
) -> None:
    """From the first event to the terminal one; the client ends with the thread that the server has."""
    run = make(person, scripted, in_background)
    types = [event["type"] for event in events_of(run)]
    assert (run.status, types[-1] in TERMINAL) == (status, True)
    (turn,) = official_client(recorded(stream_of(run)), "--id", "m1", "--say", "Hi")
    assert (turn.accepted, turn.error) == (True, None)
    assert turn.events == types
    conversation = Conversation.objects.get()
    stored = snapshot(conversation.leaf_id)
    assert [m for m in turn.messages if m["role"] != "reasoning"] == stored


def test_a_compacted_run_is_accepted(
    official_client: Any, recorded: Any, person: Any, scripted: Any, in_background: Any
) -> None:
    """A day after its end its deltas are gone, and its text is not."""
    run = completed(person, scripted, in_background)
    whole = len(events_of(run))
    Run.objects.update(ended_at=run.ended_at - timedelta(days=2))
    sweeper.compact_logs(db_now())
    assert run.events.count() < whole
    stream = async_to_sync(as_the_hub_gives_it_out)(run)
    (turn,) = official_client(recorded(stream), "--id", "m1", "--say", "Hi")
    assert (turn.accepted, turn.error) == (True, None)
    assert turn.said == [("user", "Hi"), ("assistant", Message.objects.get(role="assistant").text)]


@pytest.mark.parametrize("cut", [1, 3])
def test_a_stream_without_its_end_is_not_accepted(
    official_client: Any, recorded: Any, person: Any, scripted: Any, in_background: Any, cut: int
) -> None:
    """So that the tests above would notice."""
    run = completed(person, scripted, in_background)
    stream = b"".join(stream_of(run).split(b": still here\n\n")[:-cut])
    (turn,) = official_client(recorded(stream), "--id", "m1", "--say", "Hi")
    assert not turn.accepted


def test_a_thread_of_three_turns(
    official_client: Any, daphne: str, working: Any, person: Any, scripted: Callable[..., Any]
) -> None:
    """Over a real Daphne: the client sends all that it holds along each time, reasoning too."""
    scripted([{"reasoning": "Hm."}, {"text": "Well, **yes**. 🙂"}])
    header = f"Authorization: Bearer {tokens.issue(person)}"
    url = f"{daphne}/api/agents/scripted/runs"
    turns = official_client(url, "--header", header, "--thread", "t", "--say", "a", "--say", "b", "--say", "c")
    assert [(turn.accepted, turn.error) for turn in turns] == [(True, None)] * 3
    answer = ("assistant", "Well, **yes**. 🙂")
    assert turns[-1].said == [("user", "a"), answer, ("user", "b"), answer, ("user", "c"), answer]
    conversation = Conversation.objects.get(client_id="t")
    stored = snapshot(conversation.leaf_id)
    assert [m for m in turns[-1].messages if m["role"] != "reasoning"] == stored


def test_a_refusal_reaches_the_client_before_a_stream(
    official_client: Any, daphne: str, person: Any, scripted: Callable[..., Any]
) -> None:
    header = f"Authorization: Bearer {tokens.issue(person)}"
    (turn,) = official_client(f"{daphne}/api/agents/unknown/runs", "--header", header, "--say", "Hi")
    assert not turn.accepted
    assert "not_found" in (turn.error or "")
