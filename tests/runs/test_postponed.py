"""A wait that is too long for a place in the worker: the run goes back to the queue, and on from there."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from llmapp.models import Attempt, Call, Credential, Message, Run
from llmapp.runs import actions, sweeper
from llmapp.runs.clock import db_now

from .loopback import BACKENDS, Loopback, actions_of
from .support import events_of, text_of

pytestmark = pytest.mark.usefixtures("no_chance", "nothing_cached")

ANSWER = "At last, an answer."
LIMITED = {"status": 429, "headers": {"retry-after": "45"}, "body": {"error": {"message": "rate limit reached"}}}
REFUSED = {"status": 400, "body": {"error": {"message": "no", "code": "content_policy_violation"}}}


def let_it_pass(seconds: float = 46) -> None:
    by = timedelta(seconds=seconds)
    Run.objects.update(not_before=F("not_before") - by, run_until=F("run_until") - by)
    Credential.objects.update(benched_until=F("benched_until") - by, failed_at=F("failed_at") - by)


def statuses(run: Run) -> list[dict[str, Any]]:
    return [e["value"] for e in events_of(run) if e.get("name") == "llmapp.run"]


@pytest.fixture
def waiting(at_loopback: Loopback, person: Any, process: Any) -> Run:
    """A run that was told to wait for 45 seconds."""
    at_loopback.agent(timeout_limit=2, violation_limit=3)
    at_loopback.server.default = {"answer": ANSWER}
    at_loopback.server.push(LIMITED)
    return at_loopback.run(person, process)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_gives_its_place_back_and_goes_on(
    at_loopback: Loopback, person: Any, process: Any, client: Any, backend: str
) -> None:
    """Queued and held by nobody; not taken before its time; then it completes as if nothing had been."""
    at_loopback.agent(backend=backend)
    at_loopback.server.default = {"answer": ANSWER}
    at_loopback.server.push(LIMITED)
    start = time.monotonic()
    run = at_loopback.run(person, process)
    assert time.monotonic() - start < 10
    assert (run.status, run.worker, run.ended_at) == ("queued", None, None)
    assert run.not_before is not None
    assert 40 < (run.not_before - db_now()).total_seconds() <= 45
    assert not Call.objects.filter(ended_at=None).exists()
    assert not Attempt.objects.filter(ended_at=None).exists()
    assert statuses(run)[-1] == {"status": "queued", "reason": "waiting", "kind": "rate_limit", "seconds": 45.0}
    client.force_login(person)
    shown = client.get(f"/api/runs/{run.public_id}").json()
    assert shown["status"] == "queued"
    page = client.get(f"/chat/{run.conversation_id}/").content.decode()
    assert f'data-until="{run.not_before.isoformat()}"' in page

    process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, len(at_loopback.server.requests)) == ("queued", 1)
    let_it_pass()
    process.execute(run.pk)
    assert (text_of(run), run.status) == (ANSWER, "completed")
    assert Message.objects.get(role="assistant").text == ANSWER
    assert (actions_of(run), run.attempts_used) == (["Wait"], 2)
    assert [s["status"] for s in statuses(run)] == ["in_progress", "queued", "in_progress"]


def test_its_place_is_free_meanwhile(at_loopback: Loopback, process: Any, person: Any, waiting: Run) -> None:
    """Somebody else's run is taken at once by the worker that had it."""
    Credential.objects.update(benched_until=None)
    other = at_loopback.run(person, process, "And me?")
    assert (other.status, Run.objects.get(pk=waiting.pk).status) == ("completed", "queued")


def test_the_sweeper_hands_it_out_when_its_time_has_come(waiting: Run, process: Any, enqueued: list[Any]) -> None:
    """And not before, however long it has been queued."""
    enqueued.clear()
    Run.objects.update(enqueued_at=F("enqueued_at") - timedelta(seconds=60))
    sweeper.hand_over_again(db_now())
    assert enqueued == []
    let_it_pass()
    sweeper.hand_over_again(db_now())
    # The process sweeps as well: both may hand it over in the same moment, and only one claim of it counts.
    assert set(enqueued) == {waiting.pk}


def test_a_stop_while_it_waits_ends_it_at_once(waiting: Run, process: Any, at_loopback: Loopback) -> None:
    actions.request_stop(waiting)
    waiting.refresh_from_db()
    assert (waiting.status, events_of(waiting)[-1]["type"]) == ("cancelled", "RUN_FINISHED")
    let_it_pass()
    process.execute(waiting.pk)
    assert len(at_loopback.server.requests) == 1


def test_a_wait_beyond_its_timeout_is_not_begun(at_loopback: Loopback, person: Any, process: Any) -> None:
    """It fails at once, and says when the limit ends."""
    at_loopback.agent(timeout=60)
    at_loopback.server.push({**LIMITED, "headers": {"retry-after": "90"}})
    start = time.monotonic()
    run = at_loopback.run(person, process)
    assert time.monotonic() - start < 10
    assert (run.status, run.error_kind) == ("failed", "rate_limit")
    assert "reset_at" in run.error_facts
    assert len(at_loopback.server.requests) == 1


def test_its_timeout_runs_on_while_it_waits(at_loopback: Loopback, person: Any, process: Any) -> None:
    """What it has waited is gone: the second wait of 45 seconds does not fit into 80."""
    at_loopback.agent(timeout=80)
    at_loopback.server.default = LIMITED
    run = at_loopback.run(person, process)
    until = run.run_until
    assert run.status == "queued"
    let_it_pass()
    process.execute(run.pk)
    run.refresh_from_db()
    assert until is not None
    assert run.run_until == until - timedelta(seconds=46)
    assert (run.status, run.error_kind) == ("failed", "rate_limit")
    assert len(at_loopback.server.requests) == 2


def test_what_it_went_through_before_counts(at_loopback: Loopback, person: Any, process: Any) -> None:
    """One timeout before the wait and one after it are two."""
    at_loopback.agent(timeouts={"first_token": 0.5}, timeout_limit=2)
    at_loopback.server.plans["Hi"] = [{"silent": True}, LIMITED, {"silent": True}, {}]
    run = at_loopback.run(person, process)
    assert (run.status, actions_of(run)) == ("queued", ["Wait", "Wait"])
    let_it_pass()
    process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error_kind) == ("failed", "timeout")
    assert (len(at_loopback.server.requests), run.attempts_used) == (3, 3)


def test_refusals_before_it_count_too(at_loopback: Loopback, person: Any, process: Any) -> None:
    """One refusal by policy before the wait and one after it are two."""
    at_loopback.agent("main", "spare", violation_limit=2)
    at_loopback.server.plans["Hi"] = [REFUSED, LIMITED, REFUSED, {}]
    run = at_loopback.run(person, process)
    assert (run.status, actions_of(run)) == ("queued", ["SwitchModel", "Wait"])
    let_it_pass()
    process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error_kind) == ("failed", "content_policy")
    assert len(at_loopback.server.requests) == 3


def test_its_attempts_count_over_both_executions(at_loopback: Loopback, person: Any, process: Any) -> None:
    """Nothing resets the budget."""
    at_loopback.agent(attempts=2)
    at_loopback.server.default = LIMITED
    run = at_loopback.run(person, process)
    let_it_pass()
    process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.attempts_used, len(at_loopback.server.requests)) == ("failed", 2, 2)
