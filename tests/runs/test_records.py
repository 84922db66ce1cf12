"""The structured log and the signals: each change is told once, after it is true, and nothing of what was said."""

from __future__ import annotations

import json
import logging
import logging.config
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import Trigger
from llmapp.models import AgentSettings, Attempt, Call, Credential, Run, RunEvent
from llmapp.runs import endings, lease, records
from llmapp.runs.actions import request_stop, submit
from llmapp.signals import attempt_ended, run_ended, run_started

SAID, ANSWERED = "my salary is 123456", "the answer to everything"

#: The record of each status, as the log of a run has them.
ACTIONS = {
    "queued": ("run_queued", "run_requeued"),
    "in_progress": ("run_claimed",),
    **{status: (f"run_{status}",) for status in ("completed", "incomplete", "failed", "cancelled")},
}

SCRIPTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "an answer": ([{"text": ANSWERED}], "completed"),
    "a refusal": ([{"fail": {"status": 400, "body": {"error": {"message": "no"}}}}], "failed"),
    "a cut": ([{"text": ANSWERED}, {"cut": True}], "incomplete"),
}


@pytest.fixture(autouse=True)
def _all_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "llmapp")


@pytest.fixture
def heard() -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    """What a site would hear."""
    told: list[tuple[Any, dict[str, Any]]] = []

    def listen(sender: Any, signal: Any, **facts: Any) -> None:
        assert not transaction.get_connection().in_atomic_block
        told.append((signal, facts))

    for signal in (run_started, run_ended, attempt_ended):
        signal.connect(listen)
    yield told
    for signal in (run_started, run_ended, attempt_ended):
        signal.disconnect(listen)


def found(caplog: pytest.LogCaptureFixture, logger: str, action: str = "") -> list[Any]:
    kept: list[Any] = caplog.records
    return [r for r in kept if r.name == logger and action in ("", getattr(r, "action", None))]


def changes(caplog: pytest.LogCaptureFixture, run: Run) -> list[str]:
    """Return the actions of all records of changes of this run, in their order."""
    known = {action for actions in ACTIONS.values() for action in actions}
    mine = [r for r in found(caplog, "llmapp.runs") if getattr(r, "run", "") == str(run.pk)]
    return [record.action for record in mine if record.action in known]


def statuses(run: Run) -> list[str]:
    return list(RunEvent.objects.filter(run=run).exclude(status="").order_by("seq").values_list("status", flat=True))


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_change_and_each_attempt_has_one_record(
    person: Any, scripted: Callable[..., AgentSettings], process: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    script, status = SCRIPTS[name]
    scripted(script, attempts=1)
    run = submit(person, SAID).run
    process.execute(run.pk)
    assert statuses(run) == ["queued", "in_progress", status]
    assert changes(caplog, run) == ["run_queued", "run_claimed", f"run_{status}"]
    (attempt,) = found(caplog, "llmapp.calls", "attempt_ended")
    row = Attempt.objects.get()
    assert (attempt.attempt, attempt.run, attempt.model, attempt.provider) == (row.pk, str(run.pk), "actor", "stage")
    assert getattr(attempt, "kind", "") == row.error_kind
    assert attempt.levelno == (logging.INFO if status == "completed" else logging.WARNING)
    assert len(found(caplog, "llmapp.calls", "call_failed")) == (status != "completed")


def test_a_run_that_is_taken_over_and_stopped(
    person: Any, scripted: Callable[..., AgentSettings], caplog: pytest.LogCaptureFixture
) -> None:
    scripted()
    run = submit(person, "Hi").run
    first, second = lease.register(1, {}), lease.register(1, {})
    assert lease.claim(run.pk, first.pk)
    lease.revoke(first.pk, "gone")
    assert lease.claim(run.pk, second.pk)
    lease.revoke(second.pk, "gone")
    request_stop(Run.objects.get())
    assert [r.worker for r in found(caplog, "llmapp.runs", "lease_revoked")] == [str(first.pk), str(second.pk)]
    actions = changes(caplog, run)
    assert actions == ["run_queued", "run_claimed", "run_requeued", "run_claimed", "run_requeued", "run_cancelled"]
    assert [a in ACTIONS[s] for a, s in zip(actions, statuses(run), strict=True)] == [True] * 6


def test_an_attempt_that_a_dead_worker_left_open_is_told_too(
    person: Any, scripted: Callable[..., AgentSettings], caplog: pytest.LogCaptureFixture, heard: list[Any]
) -> None:
    """Once, though the run is taken over and ends later."""
    scripted()
    run = submit(person, "Hi").run
    worker = lease.register(1, {})
    assert lease.claim(run.pk, worker.pk)
    call = Call.objects.create(run=run, started_at=run.created_at)
    attempt = Attempt.objects.create(call=call, number=1, model_name="actor", started_at=run.created_at)
    lease.revoke(worker.pk, "gone")
    request_stop(Run.objects.get())
    (record,) = found(caplog, "llmapp.calls", "attempt_ended")
    assert (record.attempt, record.kind) == (attempt.pk, "cancelled")
    assert [facts["attempt_id"] for signal, facts in heard if signal is attempt_ended] == [attempt.pk]


def test_what_is_rolled_back_is_not_told(
    person: Any, scripted: Callable[..., AgentSettings], caplog: pytest.LogCaptureFixture, heard: list[Any]
) -> None:
    scripted()
    run = submit(person, "Hi").run
    with transaction.atomic():
        endings.end_run(run, Trigger.CANCEL)
        transaction.set_rollback(True)
    assert changes(caplog, run) == ["run_queued"]
    assert not heard


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_was_said_is_logged_only_where_that_is_wanted(
    person: Any,
    scripted: Callable[..., AgentSettings],
    process: Any,
    settings: Any,
    caplog: Any,
    name: str,
    wanted: bool,
) -> None:
    """And then only by `llmapp.content`."""
    settings.LLMAPP = {**settings.LLMAPP, "LOG_CONTENT": wanted}
    script, status = SCRIPTS[name]
    scripted(script, attempts=1)
    process.execute(submit(person, SAID).run.pk)
    everything = [(record.name, str(vars(record))) for record in caplog.records]
    spoken = {logger for logger, text in everything if SAID in text or ANSWERED in text}
    assert spoken == ({"llmapp.content"} if wanted else set())
    if wanted:
        assert [r.action for r in found(caplog, "llmapp.content")][:2] == ["said", "asked"]
        roles = [r.role for r in found(caplog, "llmapp.content", "said")]
        assert roles == (["user"] if status == "failed" else ["user", "assistant"])


def test_a_record_has_no_key(
    person: Any, scripted: Callable[..., AgentSettings], process: Any, settings: Any, caplog: Any
) -> None:
    settings.LLMAPP = {**settings.LLMAPP, "LOG_CONTENT": True}
    agent = scripted(SCRIPTS["a refusal"][0], attempts=1)
    key = Credential(provider=agent.model.provider)
    key.set_secrets({"api_key": "sk-canary-1c9e-NEVER"})
    key.save()
    process.execute(submit(person, "Hi").run.pk)
    (attempt,) = found(caplog, "llmapp.calls", "attempt_ended")
    assert attempt.credential == key.pk
    assert "sk-canary" not in str([vars(record) for record in caplog.records])


def test_what_a_run_cost_is_told_per_attempt_and_in_all(
    person: Any, scripted: Callable[..., AgentSettings], process: Any, caplog: pytest.LogCaptureFixture
) -> None:
    agent = scripted(SCRIPTS["an answer"][0])
    agent.model.input_price = agent.model.output_price = 1
    agent.model.save()
    run = submit(person, "Hi").run
    process.execute(run.pk)
    run.refresh_from_db()
    of_attempt, of_run = found(caplog, "llmapp.cost")
    assert (of_attempt.action, of_run.action) == ("attempt_cost", "run_cost")
    assert run.cost is not None
    assert of_attempt.cost == of_run.cost == format(run.cost.normalize(), "f")
    assert of_run.output_tokens == run.output_tokens


def test_a_site_hears_what_happens(
    person: Any, scripted: Callable[..., AgentSettings], process: Any, heard: list[Any]
) -> None:
    scripted(SCRIPTS["a refusal"][0], attempts=1)
    run = submit(person, "Hi").run
    process.execute(run.pk)
    attempt = Attempt.objects.get()
    assert heard == [
        (run_started, {"run_id": run.pk}),
        (attempt_ended, {"attempt_id": attempt.pk, "run_id": run.pk, "kind": attempt.error_kind, "action": "GiveUp"}),
        (run_ended, {"run_id": run.pk, "status": "failed", "kind": attempt.error_kind}),
    ]


def test_a_run_that_is_taken_over_has_started_once(
    person: Any, scripted: Callable[..., AgentSettings], heard: list[Any]
) -> None:
    scripted()
    run = submit(person, "Hi").run
    for _time in range(2):
        worker = lease.register(1, {})
        assert lease.claim(run.pk, worker.pk)
        lease.revoke(worker.pk, "gone")
    assert [signal for signal, _facts in heard] == [run_started]


def test_a_receiver_that_fails_is_logged_and_changes_nothing(
    person: Any, scripted: Callable[..., AgentSettings], process: Any, caplog: Any, heard: list[Any]
) -> None:
    def fail(**facts: Any) -> None:
        raise ValueError("a receiver of the site")

    scripted(SCRIPTS["an answer"][0])
    signals = (run_started, attempt_ended, run_ended)
    for signal in signals:
        signal.connect(fail)
    try:
        run = submit(person, "Hi").run
        process.execute(run.pk)
    finally:
        for signal in signals:
            signal.disconnect(fail)
    run.refresh_from_db()
    assert run.status == "completed"
    assert [signal for signal, _facts in heard] == list(signals)
    assert len([r for r in caplog.records if r.name == "django.dispatch"]) == 3


def test_facts_of_an_end_are_stored_said_and_sent(person: Any, scripted: Callable[..., AgentSettings]) -> None:
    scripted()
    run = submit(person, "Hi").run
    run.summarised = 12
    with transaction.atomic():
        event = endings.settle(run, Trigger.FAIL, ErrorKind.CONTEXT_OVERFLOW, {"limit": 8192, "needed": 12000})
    run.refresh_from_db()
    assert run.error_facts == {"limit": 8192, "needed": 12000}
    assert "it alone has about 12,000" in run.error_message
    assert event["message"] == run.error_message
    assert event["metadata"]["llmapp.facts"] == run.error_facts
    assert event["metadata"]["llmapp.summarised"] == run.summarised == 12


def test_the_page_of_the_log_names_every_action_and_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()
    actions = {action for names in ACTIONS.values() for action in names}
    actions |= {
        "attempt_ended",
        "call_failed",
        "attempt_cost",
        "run_cost",
        "asked",
        "said",
        "lease_revoked",
        "worker_registered",
    }
    assert not [name for name in actions | records.FIELDS if f"`{name}`" not in page]


def test_the_examples_of_the_page_work(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A record as a line of JSON, by the formatter and the settings that the page shows."""
    page = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()
    formatter, config = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict[str, Any] = {}
    exec(formatter, names)
    exec(
        config.replace("/var/log/mysite", str(tmp_path)).replace('"mysite.logs.JsonFormatter"', "JsonFormatter"), names
    )
    made = logging.config.DictConfigurator(names["LOGGING"])
    records.write(records.cost, logging.INFO, "run_cost", "a run cost $0.1", cost=Decimal("0.10"), run="r")
    line = json.loads(made.configure_formatter(made.config["formatters"]["json"]).format(caplog.records[-1]))
    assert {name: line[name] for name in ("level", "logger", "message", "action", "run", "cost")} == {
        "level": "INFO",
        "logger": "llmapp.cost",
        "message": "a run cost $0.1",
        "action": "run_cost",
        "run": "r",
        "cost": "0.1",
    }
    assert line.keys() == {"time", "level", "logger", "message", "action", "run", "cost"}


def test_a_record_has_only_fields_that_the_page_names() -> None:
    with pytest.raises(AssertionError):
        records.write(records.runs, logging.INFO, "x", "x", colour="red")
