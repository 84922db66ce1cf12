"""The judge of what was done to a site: each invariant that is broken is noticed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from llmapp.models import Attempt, Call, Message, Run, RunEvent, Turn
from llmapp.runs.clock import db_now
from tests.support import invariants
from tests.support.provider import Received, answer_for

from .loopback import Loopback

QUESTION = "What holds?"


@pytest.fixture(autouse=True)
def _not_waiting_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "SOCKETS_WITHIN", 0.5)


@pytest.fixture
def env(transactional_db: None) -> dict[str, str]:
    """What a site's environment says of the tests' database."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return {"DATABASE_URL": f"sqlite:///{found['NAME']}"}
    account = f"{found['USER']}:{found['PASSWORD']}@{found['HOST']}:{found['PORT']}"
    return {"DATABASE_URL": f"postgres://{account}/{found['NAME']}"}


@pytest.fixture
def run(person: Any, process: Any, at_loopback: Loopback) -> Run:
    """A run that ended well."""
    at_loopback.agent()
    made = at_loopback.run(person, process, QUESTION)
    assert made.status == "completed"
    return made


def judged(env: dict[str, str], run: Run, at_loopback: Loopback, **more: Any) -> list[str]:
    given = {"clients": {str(run.pk): answer_for(QUESTION)}, "acknowledged": [str(run.message_id)]}
    return invariants.broken(env, **given | {"requests": at_loopback.server.requests} | more)


def test_of_a_run_that_ended_well_nothing_is_broken(env: dict[str, str], run: Run, at_loopback: Loopback) -> None:
    """What follows finds what was broken on purpose, and nothing else."""
    assert judged(env, run, at_loopback) == []


# --- what is broken on purpose ------------------------------------------------------------------


def change_the_end(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    end = RunEvent.objects.filter(run=run).latest("seq")
    event = json.loads(end.data)
    change(event)
    RunEvent.objects.filter(pk=end.pk).update(data=json.dumps(event))


def say_that_it_was_cancelled(run: Run) -> None:
    change_the_end(run, lambda event: event["outcome"].update(type="cancelled"))


def end_it_a_second_time(run: Run) -> None:
    last = RunEvent.objects.filter(run=run).latest("seq")
    RunEvent.objects.create(run=run, seq=last.seq + 1, status=last.status, data=last.data, created_at=last.created_at)


def add_to_the_text_after_the_end(run: Run) -> None:
    last = RunEvent.objects.filter(run=run).latest("seq")
    said = RunEvent.objects.filter(run=run, data__contains="TEXT_MESSAGE_CONTENT").latest("seq")
    RunEvent.objects.create(run=run, seq=last.seq + 1, data=said.data, created_at=last.created_at)


def lose_a_delta(run: Run) -> None:
    said = RunEvent.objects.filter(run=run, data__contains="TEXT_MESSAGE_CONTENT").earliest("seq")
    event = json.loads(said.data)
    RunEvent.objects.filter(pk=said.pk).update(data=json.dumps(event | {"delta": event["delta"][:-1]}))


def lose_an_entry(run: Run) -> None:
    RunEvent.objects.filter(run=run, data__contains="llmapp.run").delete()


def leave_a_message_open(run: Run) -> None:
    RunEvent.objects.filter(run=run, data__contains="TEXT_MESSAGE_END").update(data='{"type": "CUSTOM"}')


def change_a_byte_of_what_is_stored(run: Run) -> None:
    message = Message.objects.get(run=run)
    Message.objects.filter(pk=message.pk).update(text=message.text[:-1])


def lose_what_is_stored(run: Run) -> None:
    Message.objects.filter(run=run).delete()


def leave_it_active(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(status="queued", ended_at=None)


def let_the_row_say_something_else(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(status="incomplete")


def let_the_row_say_another_kind(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(error_kind="timeout")


def open_an_attempt(run: Run) -> None:
    Attempt.objects.filter(call__run=run).update(ended_at=None, finish_reason="")


def open_a_call(run: Run) -> None:
    Call.objects.filter(run=run).update(ended_at=None)


def attempt_after_the_end(run: Run) -> None:
    call = Call.objects.get(run=run)
    later = db_now() + timedelta(seconds=5)
    Attempt.objects.create(call=call, number=2, model_name="main", started_at=later, ended_at=later)


def ask_without_an_attempt(run: Run) -> None:
    Attempt.objects.filter(call__run=run).delete()


BROKEN = [
    (say_that_it_was_cancelled, "its row says completed, and its log ['cancelled', 'completed']"),
    (end_it_a_second_time, "the terminal events of its"),
    (add_to_the_text_after_the_end, "the terminal events of its"),
    (add_to_the_text_after_the_end, "its client holds"),
    (lose_a_delta, "its client holds"),
    (lose_a_delta, "and what is stored is"),
    (lose_an_entry, "its log is numbered [1, 3, "),
    (leave_a_message_open, "its log leaves ['"),
    (change_a_byte_of_what_is_stored, "and what is stored is"),
    (lose_what_is_stored, "and what is stored is {}"),
    (leave_it_active, "is still queued"),
    (let_the_row_say_something_else, "its row says incomplete, and its log ['completed']"),
    (let_the_row_say_another_kind, "its row says 'timeout', and its log ''"),
    (open_an_attempt, "and its attempt ["),
    (open_a_call, "and its call ["),
    (attempt_after_the_end, "starts after its end"),
    (ask_without_an_attempt, "1 requests were received, and 0 attempts were written down"),
]


@pytest.mark.parametrize("damage, words", BROKEN)
def test_damage_is_noticed(
    env: dict[str, str], run: Run, at_loopback: Loopback, damage: Callable[[Run], None], words: str
) -> None:
    damage(run)
    assert [
        sentence for sentence in judged(env, run, at_loopback) if f"run {run.pk}: " in sentence and words in sentence
    ]


def test_a_client_that_holds_something_else_is_noticed(env: dict[str, str], run: Run, at_loopback: Loopback) -> None:
    """Also one whose run is gone."""
    for clients in ({str(run.pk): answer_for(QUESTION) + "\n"}, {str(uuid.uuid4()): ""}):
        assert len(judged(env, run, at_loopback, clients=clients)) == 1


def test_a_message_that_was_acknowledged_and_lost_is_noticed(
    env: dict[str, str], run: Run, at_loopback: Loopback
) -> None:
    """It is not there, or nobody answers it."""
    alone = Message.objects.create(conversation=run.conversation, role="user", text="Anybody?", client_id="alone")
    found = judged(env, run, at_loopback, acknowledged=["gone", alone.client_id])
    assert found == [
        "message gone was acknowledged, and is not there",
        "message alone was acknowledged, and has no run",
    ]


@pytest.mark.parametrize("ended_at", [None, 0.8])
def test_a_socket_that_outlives_its_run_is_noticed(
    env: dict[str, str], run: Run, at_loopback: Loopback, ended_at: float | None
) -> None:
    """Until a moment after its end, or after its process was awake again."""
    (request,) = at_loopback.server.requests
    assert run.ended_at is not None
    request.ended_at = None if ended_at is None else run.ended_at.timestamp() + ended_at
    (found,) = judged(env, run, at_loopback)
    assert "its socket to a provider was" in found
    if ended_at is not None:
        assert judged(env, run, at_loopback, asleep_until=run.ended_at.timestamp() + 0.4) == []


def test_a_request_that_nobody_wrote_down_is_noticed(env: dict[str, str], run: Run, at_loopback: Loopback) -> None:
    """A second one for the same message, whoever sent it."""
    (request,) = at_loopback.server.requests
    again = Received(request.path, request.headers, request.body, 1, ended_at=request.ended_at)
    (found,) = judged(env, run, at_loopback, requests=[request, again])
    assert "2 requests were received, and 1 attempts were written down" in found


EARLIER = timedelta(seconds=-5)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"ended_at": None, "finish_reason": ""}, "and its turn ["),
        ({"finish_reason": "stop", "earlier": True}, "asks again for turn 1"),
        ({"finish_reason": "tool_calls", "earlier": True}, "asks again for turn 1"),
        # A turn that failed is asked again.
        ({"finish_reason": "", "error_kind": "connection", "earlier": True}, None),
    ],
)
def test_a_turn_that_is_open_or_asked_again_is_noticed(
    env: dict[str, str], run: Run, at_loopback: Loopback, change: dict[str, Any], words: str | None
) -> None:
    """The turn had ended before its attempt began."""
    turn = Turn.objects.get(run=run)
    if change.pop("earlier", False):
        change["ended_at"] = turn.started_at + EARLIER
    Turn.objects.filter(pk=turn.pk).update(**change)
    found = judged(env, run, at_loopback)
    assert [words in sentence for sentence in found] == [True] if words else found == []


def test_after_the_last_turn_nobody_is_asked(env: dict[str, str], run: Run, at_loopback: Loopback) -> None:
    """After one that asked for tools somebody is: for the next turn."""
    started = Turn.objects.get(run=run).started_at
    times = {"started_at": started + 2 * EARLIER, "ended_at": started + EARLIER}
    earlier = Turn.objects.create(run=run, number=0, finish_reason="tool_calls", **times)
    assert judged(env, run, at_loopback) == []
    Turn.objects.filter(pk=earlier.pk).update(finish_reason="stop")
    (found,) = judged(env, run, at_loopback)
    assert "asks again for turn 0" in found
