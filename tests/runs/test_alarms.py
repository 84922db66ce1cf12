"""What is wrong is told once, whoever finds it, and mailed to the admins once an hour."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.dispatch import Signal
from django.utils import translation

from llmapp import signals, submit
from llmapp.core.alarms import ALARMS
from llmapp.core.run_state import RunStatus
from llmapp.models import AgentSettings, Alarm, Breaker, Duty, LanguageModel, Mailing, Provider, Run, RunEvent
from llmapp.runs import alarms, lease, mails, sweeper
from llmapp.runs.clock import db_now
from tests.support.mail import MailServer
from tests.support.queries import Queries

from .support import at_once, wait_until


@pytest.fixture
def told(transactional_db: None) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Return what the signals said: name and arguments."""
    found: list[tuple[str, dict[str, Any]]] = []
    receivers = {}
    for name in ALARMS:

        def keep(signal: Signal, sender: Any, name: str = name, **facts: Any) -> None:
            found.append((name, facts))

        receivers[name] = keep
        getattr(signals, name).connect(keep)
    yield found
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


@pytest.fixture
def choose(settings: Any) -> Any:
    def choose(**values: Any) -> None:
        settings.LLMAPP = {**django_settings.LLMAPP, **values}

    return choose


def look(**later: float) -> None:
    """Look at it all, as if so much time had passed since the last look."""
    now = db_now() + timedelta(**later)
    Duty.objects.filter(name=alarms.DUTY).delete()
    alarms.watch(now)


@pytest.fixture
def run(person: Any, scripted: Any) -> Run:
    """A run that a worker holds since a moment ago."""
    scripted(timeout=1000)
    made = submit(person, "Hi").run
    worker = lease.register(4, {})
    assert lease.claim(made.pk, worker.pk) is not None
    made.refresh_from_db()
    return made


def end(run: Run, status: str = "failed", **fields: Any) -> None:
    Run.objects.filter(pk=run.pk).update(status=status, worker=None, ended_at=db_now(), **fields)


# --- stuck --------------------------------------------------------------------------------------


def test_a_run_that_writes_nothing_is_told_once(run: Run, told: Any, choose: Any) -> None:
    choose(RUN_SILENT_SECONDS=60)
    look(seconds=50)
    assert told == []
    look(seconds=70)
    look(seconds=80)
    ((name, facts),) = told
    assert name == "run_stuck"
    assert (facts["run_id"], facts["reason"]) == (run.pk, "silent")
    assert 69 < facts["seconds"] < 72


def test_one_that_writes_again_and_stops_again_is_told_again(run: Run, told: Any, choose: Any) -> None:
    choose(RUN_SILENT_SECONDS=60)
    look(seconds=70)
    RunEvent.objects.filter(run=run).update(created_at=db_now() + timedelta(seconds=80))
    look(seconds=90)
    assert not Alarm.objects.exists()
    look(seconds=150)
    assert [facts["seconds"] for _name, facts in told][1:] == [pytest.approx(70, abs=2)]
    end(run)
    look(seconds=200)
    assert len(told) == 2
    assert not Alarm.objects.exists()


def test_a_run_past_its_time_is_told_before_it_is_ended(run: Run, told: Any) -> None:
    Run.objects.update(run_until=db_now() - timedelta(seconds=30))
    now = db_now()
    sweeper.revoke_the_stuck(now)
    assert [(name, facts["reason"], facts["run_id"]) for name, facts in told] == [("run_stuck", "past_timeout", run.pk)]
    run.refresh_from_db()
    assert run.status == RunStatus.FAILED


def test_many_that_look_at_once_tell_it_once(run: Run, told: Any) -> None:
    """The duty is lost, and several processes look: all find that it was not told, and one of them tells it."""
    now, all_have_looked = db_now(), threading.Barrier(4)

    def facts() -> dict[str, Any]:
        all_have_looked.wait(10)
        return {"run_id": str(run.pk), "reason": "silent", "seconds": 70.0}

    found = alarms.Trouble("run_stuck", str(run.pk), facts)
    Alarm.objects.create(name=found.name, signal="run_stuck", since=now, seen_at=now)
    assert at_once(*[lambda: alarms.notice([found], now)] * 4) == [None] * 4
    assert len(told) == 1


def test_what_lasts_costs_the_same_however_much_it_is(told: Any, choose: Any) -> None:
    """It is asked every five seconds, in the sweep."""
    choose(ALARM_MAILS=[])
    queries, now = Queries(), db_now()
    troubles = [alarms.stuck(uuid.uuid4(), "silent", 70.0) for _number in range(50)]
    alarms.notice(troubles, now)
    later = now + alarms.EVERY
    with queries.of("again"):
        alarms.notice(troubles, later)
    assert (queries["again"], len(told)) == (2, 50)
    assert Alarm.objects.filter(seen_at=later).count() == 50


def test_one_look_in_a_while(run: Run, told: Any, choose: Any) -> None:
    choose(RUN_SILENT_SECONDS=60)
    now = db_now()
    alarms.watch(now)
    alarms.watch(now + timedelta(seconds=70))
    Run.objects.update(started_at=now - timedelta(seconds=100))
    RunEvent.objects.update(created_at=now - timedelta(seconds=90))
    alarms.watch(now + timedelta(seconds=71))
    assert len(told) == 1


# --- providers ----------------------------------------------------------------------------------


def open_breaker(provider: Provider, model: LanguageModel | None = None) -> Breaker:
    return Breaker.objects.create(provider=provider, model=model, until=db_now(), failed_by="connection")


def test_a_provider_whose_breaker_stays_open_is_down(told: Any, choose: Any) -> None:
    choose(PROVIDER_DOWN_AFTER=60)
    provider = Provider.objects.create(name="far")
    breaker = open_breaker(provider)
    for seconds in (0, 30, 59):
        look(seconds=seconds)
    assert told == []
    look(seconds=65)
    look(seconds=70)
    ((name, facts),) = told
    assert (name, facts["provider_id"], facts["kind"]) == ("provider_down", provider.pk, "connection")
    assert 60 <= facts["seconds"] < 70
    breaker.delete()
    look(seconds=80)
    open_breaker(provider)
    look(seconds=90)
    assert len(told) == 1
    look(seconds=155)
    assert len(told) == 2


def test_a_provider_is_down_when_all_of_its_models_are(told: Any, choose: Any) -> None:
    choose(PROVIDER_DOWN_AFTER=60)
    provider = Provider.objects.create(name="far")
    first, second = (LanguageModel.objects.create(name=name, provider=provider, model=name) for name in "ab")
    LanguageModel.objects.create(name="off", provider=provider, model="off", enabled=False)
    open_breaker(provider, first)
    look(seconds=0)
    look(seconds=70)
    assert told == []
    open_breaker(provider, second)
    look(seconds=80)
    look(seconds=150)
    assert [name for name, _facts in told] == ["provider_down"]


def test_a_provider_that_is_switched_off_is_nobodys_trouble(told: Any, choose: Any) -> None:
    choose(PROVIDER_DOWN_AFTER=60)
    open_breaker(Provider.objects.create(name="far", enabled=False))
    look(seconds=0)
    look(seconds=70)
    assert told == []


# --- slow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown, ended, waiting_for", [(False, False, "first_token"), (True, False, "the_end"), (True, True, "")]
)
def test_an_answer_that_takes_long_is_slow(
    run: Run, told: Any, choose: Any, shown: bool, ended: bool, waiting_for: str
) -> None:
    choose(RUN_SILENT_SECONDS=0)
    AgentSettings.objects.update(slow_after=20)
    look(seconds=15)
    if shown:
        data = '{"type": "TEXT_MESSAGE_START"}'
        RunEvent.objects.create(run=run, seq=90, data=data, created_at=db_now())
    if ended:
        Run.objects.update(created_at=db_now() - timedelta(seconds=25))
        end(run, "completed")
    look(seconds=10 if ended else 25)
    look(seconds=30)
    ((name, facts),) = told
    assert name == "slow_response"
    assert (facts["run_id"], facts["agent"], facts["waiting_for"]) == (run.pk, "scripted", waiting_for)
    assert facts["seconds"] == pytest.approx(25, abs=2)
    look(minutes=5)
    assert Alarm.objects.exists() is not ended
    assert len(told) == 1


def test_by_default_nothing_is_slow(run: Run, told: Any, choose: Any) -> None:
    choose(RUN_SILENT_SECONDS=0)
    look(minutes=10)
    assert told == []


# --- many failures ------------------------------------------------------------------------------


def add_ended(run: Run, *statuses: str, ago: float = 0) -> None:
    for status in statuses:
        moment = db_now() - timedelta(seconds=ago)
        values = {"ended_at": moment, "created_at": moment, "queue_until": moment, "agent_slug": "a"}
        Run.objects.create(user=run.user, conversation=run.conversation, message=run.message, status=status, **values)


def test_a_share_of_failures_is_told_when_it_is_too_high(run: Run, told: Any, choose: Any) -> None:
    choose(ERROR_RATE=0.5, ERROR_RATE_RUNS=4, ERROR_RATE_WINDOW=300)
    # long ago, and stopped by people
    add_ended(run, *["failed"] * 9, ago=400)
    add_ended(run, *["cancelled"] * 9)
    add_ended(run, "failed", "failed", "completed")
    look()
    assert told == []
    add_ended(run, "incomplete")
    look()
    look()
    ((name, facts),) = told
    assert (name, facts) == ("error_rate", {"failed": 2, "ended": 4, "share": 0.5, "window": 300})
    # 0.4 is less, and not yet calm
    add_ended(run, "completed")
    look()
    add_ended(run, "failed")
    look()
    assert len(told) == 1
    add_ended(run, *["completed"] * 6)
    look()
    assert not Alarm.objects.exists()


# --- mails --------------------------------------------------------------------------------------


@pytest.fixture
def mailing(settings: Any) -> Any:
    """Mail to a server on loopback."""

    def use(server: MailServer) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.ADMINS = [("Ada", "ada@example.org")]

    return use


def test_one_mail_an_hour_says_what_was_left_out(run: Run, told: Any, choose: Any, mailing: Any) -> None:
    choose(RUN_SILENT_SECONDS=60)
    with MailServer() as server:
        mailing(server)
        now = db_now()
        for minutes in (0, 10, 59):
            alarms.notice([alarms.stuck(uuid.uuid4(), "silent", 70.0)], now + timedelta(minutes=minutes))
        (mail,) = server.wait_for(1)
        assert mails._post.wait(5)
        assert len(server.mails) == 1
        assert "A run is stuck" in mail["Subject"]
        assert mail["To"] == "ada@example.org"
        assert "has written nothing for 70 s" in mail.get_content()
        assert "more" not in mail.get_content()
        alarms.notice([alarms.stuck(uuid.uuid4(), "silent", 70.0)], now + timedelta(minutes=61))
        assert "2 more were not mailed" in server.wait_for(2)[1].get_content()
        assert Mailing.objects.get().left_out == 0
    assert len(told) == 4


def test_a_mail_has_the_language_of_the_site(told: Any, choose: Any, mailing: Any, settings: Any) -> None:
    """Not that of the person whose request happened to look."""
    settings.LANGUAGE_CODE = "zh-hans"
    with MailServer() as server, translation.override("en"):
        mailing(server)
        alarms.notice([alarms.stuck(uuid.uuid4(), "silent", 70.0)], db_now())
        (mail,) = server.wait_for(1)
    assert "A run is stuck" not in mail["Subject"]
    assert "运行" in mail.get_content()


def test_subjects_do_not_hide_each_other(told: Any, choose: Any, mailing: Any) -> None:
    choose(PROVIDER_DOWN_AFTER=60)
    with MailServer() as server:
        mailing(server)
        for name in ("near", "far"):
            open_breaker(Provider.objects.create(name=name))
        look()
        look(seconds=70)
        texts = sorted(mail.get_content().split(" has ")[0] for mail in server.wait_for(2))
        assert texts == ["Provider far", "Provider near"]


def test_what_was_asked_and_answered_is_in_no_mail(run: Run, told: Any, choose: Any, mailing: Any) -> None:
    secret = "my salary is 123456"
    choose(RUN_SILENT_SECONDS=60, ALARM_MAILS=list(ALARMS), ERROR_RATE_RUNS=1)
    AgentSettings.objects.update(slow_after=1)
    run.message.text = run.conversation.title = run.error_message = secret
    for row in (run.message, run.conversation, run):
        row.save()
    RunEvent.objects.create(run=run, seq=90, data=f'{{"text": "{secret}"}}', created_at=db_now())
    provider = Provider.objects.create(name="far")
    open_breaker(provider)
    add_ended(run, "failed")
    with MailServer() as server:
        mailing(server)
        look(seconds=70)
        look(seconds=500)
        sent = server.wait_for(4)
    said = "".join(f"{mail['Subject']} {mail.get_content()}" for mail in sent)
    assert {name for name, _facts in told} == set(ALARMS)
    assert secret not in said
    assert str(run.pk) in said


def test_only_what_the_setting_names_is_mailed(run: Run, told: Any, choose: Any, settings: Any) -> None:
    settings.ADMINS = [("Ada", "ada@example.org")]
    choose(RUN_SILENT_SECONDS=60, ALARM_MAILS=["error_rate"])
    look(seconds=70)
    assert len(told) == 1
    assert not Mailing.objects.exists()


def test_a_mail_server_that_says_nothing_holds_nobody_up(
    run: Run, told: Any, choose: Any, mailing: Any, settings: Any
) -> None:
    settings.EMAIL_TIMEOUT = 2
    with MailServer(silent=True) as server:
        mailing(server)
        began = time.monotonic()
        for _ in range(3):
            mails.mail("run_stuck", {"run_id": str(run.pk), "reason": "silent", "seconds": 1.0}, db_now())
        assert time.monotonic() - began < 1
        wait_until(lambda: server.connections)
        assert mails._post.wait(10)
    # It was not sent, so the next one is, and says that there were three.
    row = Mailing.objects.get()
    assert (row.mailed_at, row.left_out) == (None, 3)


def test_a_mail_server_that_is_not_there_is_one_line(run: Run, mailing: Any, caplog: pytest.LogCaptureFixture) -> None:
    with MailServer() as server:
        mailing(server)
    mails.mail("run_stuck", {"run_id": str(run.pk), "reason": "silent", "seconds": 1.0}, db_now())
    assert mails._post.wait(10)
    assert "the mail run_stuck was not sent: ConnectionRefusedError" in caplog.text
    assert caplog.text.count("\n") == 1
