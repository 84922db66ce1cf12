"""A web process has a row: what it runs on, and what people have open in it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import DatabaseError, InterfaceError
from django.test import Client

from llmapp.models import WebProcess
from llmapp.runs import away, installed, presence, sweeper
from llmapp.runs.clock import db_now

from .support import wait_until


@pytest.fixture
def no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_loop", None)


def test_each_heartbeat_renews_the_row(transactional_db: None) -> None:
    row = presence.beat(None)
    WebProcess.objects.update(heartbeat_at=db_now() - timedelta(hours=1))
    assert not presence.present_webs().exists()
    assert presence.beat(row) == row
    (found,) = presence.present_webs()
    assert (found.pid, found.versions, found.setup) == (os.getpid(), installed.versions(), installed.setup())


def test_a_row_that_was_forgotten_is_made_anew(transactional_db: None) -> None:
    """A machine that slept for two days wakes up."""
    row = presence.beat(None)
    WebProcess.objects.update(heartbeat_at=db_now() - timedelta(days=2))
    sweeper.forget_workers(db_now())
    assert not WebProcess.objects.exists()
    assert presence.beat(row) != row
    assert presence.present_webs().count() == 1


class Person:
    def __init__(self, pk: int) -> None:
        self.pk = pk


async def test_what_is_open_is_counted(no_loop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert presence.what_is_open() == {}
    ada, eve = Person(1), Person(2)
    with presence.opened(presence.WEBSOCKET, ada), presence.opened(presence.EVENT_STREAM, ada) as stream:
        now = 106.0
        stream.sent()
        now = 107.0
        with presence.opened(presence.WEBSOCKET, eve):
            now = 110.0
            assert presence.what_is_open() == {
                "websockets": 2,
                "event_streams": 1,
                "people": 2,
                "sockets": [["websocket", 10.0, 10.0], ["event_stream", 10.0, 4.0], ["websocket", 3.0, 3.0]],
            }
    assert presence.what_is_open() == {}


def test_a_stream_in_a_thread_of_wsgi_is_counted(no_loop: None) -> None:
    """There is no loop that could be asked, and none is needed."""
    with presence.opened(presence.EVENT_STREAM, Person(1)):
        assert presence.what_is_open()["event_streams"] == 1
        assert presence.loop_turns()


async def test_a_row_stays_small(no_loop: None) -> None:
    with ExitStack() as stack:
        for number in range(1000):
            stack.enter_context(presence.opened(presence.WEBSOCKET, Person(number)))
        found = presence.what_is_open()
    assert (found["websockets"], found["people"], len(found["sockets"])) == (1000, 1000, presence.NAMED)


async def test_a_loop_that_does_not_turn_gets_no_heartbeat(no_loop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "PATIENCE", 0.2)
    with presence.opened(presence.WEBSOCKET, Person(1)):
        assert await asyncio.to_thread(presence.loop_turns)
        said: list[bool] = []
        thread = threading.Thread(target=lambda: said.append(presence.loop_turns()))
        thread.start()
        thread.join()  # this is the loop's own thread: it does not turn
        assert said == [False]
    thread = threading.Thread(target=lambda: said.append(presence.loop_turns()))
    thread.start()
    thread.join()
    assert said == [False, True]


@pytest.fixture
def often(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test have the thread, with a short pulse."""
    monkeypatch.setattr(presence, "EVERY", 0.05)
    monkeypatch.setattr(presence, "_thread", None)
    monkeypatch.setattr(presence, "_stop", threading.Event())
    yield
    presence.end()


@pytest.mark.parametrize("error", [RuntimeError, InterfaceError, DatabaseError])
def test_no_error_ends_the_thread(
    often: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    """Such as a loop that closes while it is asked. It is said once."""
    beat, failures = presence.beat, iter(range(3))

    def failing(row: Any) -> Any:
        if next(failures, None) is not None:
            raise error("it is closed")
        return beat(row)

    monkeypatch.setattr(presence, "beat", failing)
    monkeypatch.setattr(away, "is_away", lambda error: False)
    presence.start()
    wait_until(WebProcess.objects.filter(stopped_at=None).exists)
    said = [record.message for record in caplog.records if "that it is there" in record.message]
    assert said == [f"this web process cannot write that it is there ({error.__name__}: it is closed)"]


FORK = """
import os, django
django.setup()
from llmapp.runs import presence
presence._lock.acquire()  # as a thread of the parent's may, at that very moment
presence._open.add(presence.Opening("websocket", 1, 0.0, 0.0))
if (child := os.fork()) == 0:
    os._exit(0 if presence._lock.acquire(timeout=1) and presence.what_is_open() == {} else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_begins_anew() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_site_that_tries_itself_out_has_no_row(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its test client sends the signals of a server."""
    begun: list[None] = []
    monkeypatch.setattr(presence, "start", lambda: begun.append(None))
    Client().get("/health/live")
    assert begun == []
    monkeypatch.delattr(mail, "outbox")
    Client().get("/health/live")
    assert begun == [None]


def test_the_thread_begins_once_and_says_goodbye(often: None) -> None:
    presence.start()  # `begin` does nothing in tests
    first = presence._thread
    presence.start()
    assert presence._thread is first
    wait_until(lambda: WebProcess.objects.filter(stopped_at=None).count() == 1)
    presence.end()
    assert first is not None
    assert not first.is_alive()
    (row,) = WebProcess.objects.all()
    assert row.stopped_at is not None
