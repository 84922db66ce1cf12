"""A worker whose code or keys do not fit takes no runs, says why, and begins by itself when that is mended."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import JSONField, Value

from llmapp import submit
from llmapp.core.run_state import RunStatus
from llmapp.models import AgentSettings, Provider, Run, Worker
from llmapp.runs import fitness, installed, lease, sweeper, worker
from llmapp.runs.clock import db_now
from tests.support.models import add_key, make_model

from .support import wait_until

LATER = "0099_later"


@pytest.fixture
def quick(settings: Any) -> Callable[..., None]:
    """Sweep, and so look, often; with these keys."""

    def choose(*keys: str) -> None:
        kept = keys or django_settings.LLMAPP["ENCRYPTION_KEYS"]
        settings.LLMAPP = {**django_settings.LLMAPP, "SWEEP_SECONDS": 0.1, "ENCRYPTION_KEYS": list(kept)}

    choose()
    return choose


@pytest.fixture
def later(transactional_db: None) -> Any:
    """A migration that our code does not know was applied."""
    recorder = MigrationRecorder(connection)
    recorder.record_applied("llmapp", LATER)
    yield lambda: recorder.record_unapplied("llmapp", LATER)
    recorder.record_unapplied("llmapp", LATER)


def make_agent(name: str = "p") -> AgentSettings:
    return AgentSettings.objects.create(slug=name, model=make_model(name=name))


def test_the_code_knows_its_migrations() -> None:
    known = installed.known_migrations()
    assert "0001_initial" in known
    assert installed.setup()["migrations"]["newest"] == max(known)


@pytest.mark.django_db
def test_what_a_process_says_of_itself_has_no_secret(settings: Any) -> None:
    key = Fernet.generate_key().decode()
    settings.LLMAPP = {"ENCRYPTION_KEYS": [key], "QUEUE_TIMEOUT": 77.7}
    said = json.dumps(installed.setup())
    assert key not in said
    assert "77.7" not in said
    before = installed.setup()
    settings.LLMAPP = {"ENCRYPTION_KEYS": [key], "QUEUE_TIMEOUT": 78}
    after = installed.setup()
    changed = {name for name, value in after["settings"].items() if before["settings"][name] != value}
    assert changed == {'LLMAPP["QUEUE_TIMEOUT"]'}
    assert before["keys"] == after["keys"] != []


@pytest.mark.django_db
def test_fingerprints_of_settings_are_made_with_the_secret_key(settings: Any) -> None:
    """Or a short value could be found by trying. Migrations are known to all, and compared all the same."""
    before = installed.setup()
    settings.SECRET_KEY = "another one"
    after = installed.setup()
    assert before["settings"].keys() == after["settings"].keys()
    assert not before["settings"].items() & after["settings"].items()
    assert before["migrations"] == after["migrations"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_registers_and_says_why(later: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "llmapp.runs"):
        made = worker.WorkerProcess(concurrency=3)
        made.close()
    (row,) = Worker.objects.all()
    assert row.unfit == [{"code": "migrations_unknown", "names": [LATER]}]
    said = [record.message for record in caplog.records if "takes no runs" in record.message]
    assert said == [
        "this worker takes no runs: its code does not know migrations of the database (0099_later); start it with the"
        " newer code"
    ]


def test_nobody_counts_on_it(transactional_db: None) -> None:
    """Neither pages, nor /health/ready, nor the sweeper."""
    row = lease.register(3, {}, {}, [{"code": "keys", "names": []}])
    assert not lease.live_workers().exists()
    assert not lease.present_workers().exists()
    assert list(lease.registered_workers()) == [row]


def test_the_sweeper_hands_nothing_to_it(person: Any, scripted: Any, enqueued: list[Any], settings: Any) -> None:
    settings.LLMAPP = {**django_settings.LLMAPP, "REQUEUE_SECONDS": 0}
    scripted()
    run = submit(person, "Hi").run
    lease.register(3, {}, {}, [{"code": "keys", "names": []}])
    enqueued.clear()
    sweeper.hand_over_again(db_now())
    assert enqueued == []
    lease.register(3, {})
    sweeper.hand_over_again(db_now())
    assert enqueued == [run.pk]


def test_it_leaves_runs_alone_and_takes_them_when_it_is_mended(
    quick: Any, later: Any, person: Any, scripted: Any, process: Any, enqueued: list[Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(worker, "PUT_BACK", 0.05)
    scripted()
    run = submit(person, "Hi").run
    enqueued.clear()
    process.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.executions) == (RunStatus.QUEUED, 0)
    # There is nobody else: the sweeper will hand it over, and it is not put back only to be refused again.
    assert enqueued == []
    lease.register(3, {})
    process.execute(run.pk)
    assert enqueued == [run.pk]
    later()
    wait_until(lambda: Worker.objects.filter(concurrency=10, unfit=[]).exists())
    process.execute(run.pk)
    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED


def test_a_run_that_goes_on_goes_to_its_end(
    quick: Any, person: Any, scripted: Any, process: Any, in_background: Any
) -> None:
    scripted([{"text": "word " * 60}], speed=40)
    run = submit(person, "Hi").run
    in_background(run)
    wait_until(lambda: Run.objects.get(pk=run.pk).status == RunStatus.IN_PROGRESS)
    recorder = MigrationRecorder(connection)
    recorder.record_applied("llmapp", LATER)
    try:
        wait_until(lambda: Worker.objects.exclude(unfit=[]).exists())
        wait_until(lambda: Run.objects.get(pk=run.pk).status == RunStatus.COMPLETED)
    finally:
        recorder.record_unapplied("llmapp", LATER)


def test_keys_are_looked_at_again_and_again(quick: Any, process: Any) -> None:
    """The process has its keys by a setting; here it changes while it lives."""
    provider = make_agent().model.provider
    first = django_settings.LLMAPP["ENCRYPTION_KEYS"][0]
    add_key(provider, "sk-one-0123456789")
    quick(Fernet.generate_key().decode())
    wait_until(lambda: [row.unfit[0]["code"] for row in Worker.objects.exclude(unfit=[])] == ["keys"])
    assert first not in json.dumps(list(Worker.objects.values("setup", "unfit")))
    quick(first)
    wait_until(lambda: Worker.objects.filter(unfit=[], setup__unreadable=0).exists())


def test_credentials_that_are_switched_off_do_not_count(quick: Any, transactional_db: None) -> None:
    key = add_key(make_agent().model.provider, "sk-one-0123456789")
    quick(Fernet.generate_key().decode())
    assert [reason["code"] for reason in fitness.look().unfit] == ["keys"]
    type(key).objects.update(enabled=False)
    assert fitness.look().unfit == []


def test_agents_that_would_work_are_not_stopped(quick: Callable[..., None], transactional_db: None) -> None:
    """By a key that no agent needs, or by one that another agent needs."""
    add_key(Provider.objects.create(name="of nobody", backend="scripted"), "sk-one-0123456789")
    quick(Fernet.generate_key().decode())
    assert fitness.look().unfit == []
    add_key(make_agent("locked").model.provider, "sk-two-0123456789")
    quick(Fernet.generate_key().decode())
    assert [reason["code"] for reason in fitness.look().unfit] == ["keys"]
    keyless = make_agent("keyless")
    assert fitness.look().unfit == []
    type(keyless).objects.filter(pk=keyless.pk).update(enabled=False)
    assert [reason["code"] for reason in fitness.look().unfit] == ["keys"]
    type(keyless).objects.filter(slug="locked").update(fallbacks=["keyless"])
    assert fitness.look().unfit == []


def test_only_one_that_takes_runs_is_better(quick: Callable[..., None], transactional_db: None) -> None:
    """Or both would stop: the one by its keys, the other by its code."""
    add_key(make_agent("locked").model.provider, "sk-one-0123456789")
    make_agent("keyless")
    quick(Fernet.generate_key().decode())
    setup = {"keys": ["better"], "unreadable": 0}
    row = lease.register(3, {}, setup, [{"code": "migrations_unknown", "names": [LATER]}])
    assert fitness.look().unfit == []
    Worker.objects.filter(pk=row.pk).update(unfit=[])
    assert [reason["code"] for reason in fitness.look().unfit] == ["keys"]


def test_a_database_that_nobody_has_migrated_lacks_everything(transactional_db: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(MigrationRecorder.Migration._meta, "db_table", "no_such_table")
    (reason,) = fitness.look().unfit
    assert reason["code"] == "migrations_missing"
    assert "0001_initial" in reason["names"]


def test_a_worker_whose_own_table_is_older_waits_for_the_migration(
    quick: Any, transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    """No row can be made. It says so once, and registers when the migration was applied."""
    newest = max(installed.known_migrations())
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("llmapp", newest)
    _rename("unfit", "not_yet_there")
    made = worker.WorkerProcess(concurrency=3)
    try:
        with caplog.at_level(logging.WARNING, "llmapp.runs"):
            made.execute(uuid.uuid4())  # returns: the sweeper hands it over once there is a worker
            said = [record.message for record in caplog.records]
            assert said == [f"this worker takes no runs: migrations are missing ({newest}); run `manage.py migrate`"]
    finally:
        _rename("not_yet_there", "unfit")
        recorder.record_applied("llmapp", newest)
        registered = lease.live_workers()
        wait_until(registered.exists)
        made.close()


def _rename(before: str, after: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE llmapp_worker RENAME COLUMN {before} TO {after}")


def test_a_waiting_task_ends_when_the_process_stops(quick: Any, later: Any, person: Any, scripted: Any) -> None:
    scripted()
    run = submit(person, "Hi").run
    made = worker.WorkerProcess(concurrency=1)
    thread = threading.Thread(target=made.execute, args=[run.pk])
    thread.start()
    made.close()
    thread.join(10)
    assert not thread.is_alive()
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


def test_a_worker_of_an_earlier_release_registers_after_migrate(transactional_db: None) -> None:
    """Its statement names the columns of its own release only."""
    named = ["id", "hostname", "pid", "versions", "concurrency", "started_at", "heartbeat_at", "lease_until"]
    now, pk = db_now(), uuid.uuid4()
    key = pk if connection.features.has_native_uuid_field else pk.hex
    times = [connection.ops.adapt_datetimefield_value(now)] * 3
    with connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(named))
        cursor.execute(
            f"INSERT INTO llmapp_worker ({', '.join(named)}) VALUES ({marks})", [key, "old", 1, "{}", 4, *times]
        )
    row = Worker.objects.get(pk=pk)
    assert (row.setup, row.open, row.unfit) == ({}, {}, [])
    Worker.objects.filter(pk=pk).update(lease_until=now + timedelta(seconds=60))
    assert list(lease.live_workers()) == [row]


# --- what newer code has written ------------------------------------------------------------------


@pytest.mark.parametrize("written", [7, {"chain": ["locked"]}, [["locked"], 7], None, "locked"])
def test_fallbacks_that_cannot_be_read_are_none(
    quick: Callable[..., None], transactional_db: None, written: object
) -> None:
    """Their agent's runs say so. A worker goes on looking, and sweeping, for all others."""
    add_key(make_agent("locked").model.provider, "sk-one-0123456789")
    agent = make_agent("keyless")
    with connection.constraint_checks_disabled():
        AgentSettings.objects.filter(pk=agent.pk).update(fallbacks=Value(written, JSONField()))
    quick(Fernet.generate_key().decode())
    assert fitness.look().setup["unreadable"] == 1
    assert fitness.look().unfit == []


@pytest.mark.parametrize("setup", [[], {"keys": 7, "unreadable": 0}, {"unreadable": "none"}, {"keys": [{}]}])
def test_a_worker_that_says_it_in_other_words_does_not_count(
    quick: Callable[..., None], transactional_db: None, setup: Any
) -> None:
    make_agent()
    lease.register(3, {}, setup)
    assert fitness.look().unfit == []


def test_runs_of_others_are_swept_by_a_worker_that_cannot_look(
    quick: Any, process: Any, person: Any, scripted: Any, enqueued: list[Any], monkeypatch: Any
) -> None:
    scripted()
    run = submit(person, "Hi").run

    def fail(*_: Any) -> None:
        raise TypeError

    monkeypatch.setattr(fitness, "look", fail)
    enqueued.clear()
    Run.objects.update(enqueued_at=None)
    wait_until(lambda: run.pk in enqueued)
