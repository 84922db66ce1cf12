"""What means that the database is away, and how often that is said."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import InterfaceError, InternalError, OperationalError, ProgrammingError

from llmapp.runs import away, queue


def caused(error: Exception, cause: type[Exception]) -> Exception:
    error.__cause__ = cause("words")
    return error


ERRORS = [
    (caused(OperationalError("server closed the connection"), psycopg.OperationalError), True),
    (caused(OperationalError("shutting down"), psycopg.errors.AdminShutdown), True),
    (caused(OperationalError("starting up"), psycopg.errors.CannotConnectNow), True),
    (caused(OperationalError("too many"), psycopg.errors.TooManyConnections), True),
    (InterfaceError("the connection is closed"), True),
    # It answers, and takes nothing: until somebody makes room, or a failover is over.
    (caused(OperationalError("no space left"), psycopg.errors.DiskFull), True),
    (caused(InternalError("read-only"), psycopg.errors.ReadOnlySqlTransaction), True),
    (caused(InternalError("you were silent"), psycopg.errors.IdleInTransactionSessionTimeout), True),
    # These are our own: the same would happen again.
    (caused(InternalError("aborted"), psycopg.errors.InFailedSqlTransaction), False),
    (caused(OperationalError("deadlock"), psycopg.errors.DeadlockDetected), False),
    (caused(OperationalError("too slow"), psycopg.errors.QueryCanceled), False),
    (caused(InternalError("broken"), psycopg.errors.InFailedSqlTransaction), False),
    (InternalError("unknown"), False),
    (ProgrammingError("no such table"), False),
    (ValueError(), False),
]


@pytest.mark.parametrize("error, expected", ERRORS)
def test_only_what_passes_by_itself_is_away(monkeypatch: pytest.MonkeyPatch, error: Exception, expected: bool) -> None:
    monkeypatch.setattr(away, "connection", SimpleNamespace(vendor="postgresql"))
    assert away.is_away(error) is expected
    monkeypatch.setattr(away, "connection", SimpleNamespace(vendor="sqlite"))
    assert not away.is_away(error)


@pytest.mark.parametrize("code, expected", [
    (sqlite3.SQLITE_FULL, True),
    (sqlite3.SQLITE_IOERR_WRITE, True),
    (sqlite3.SQLITE_READONLY_DBMOVED, True),
    (sqlite3.SQLITE_BUSY, False),
    (sqlite3.SQLITE_ERROR, False),
])  # fmt: skip
def test_a_file_that_cannot_be_written_is_waited_for_too(
    monkeypatch: pytest.MonkeyPatch, code: int, expected: bool
) -> None:
    """A file does not go away, but its disk may be full."""
    monkeypatch.setattr(away, "connection", SimpleNamespace(vendor="sqlite"))
    error = caused(OperationalError("words"), sqlite3.OperationalError)
    error.__cause__.sqlite_errorcode = code  # type: ignore[union-attr]
    assert away.is_away(error) is away.takes_nothing(error) is expected
    assert not away.cannot_be_reached(error)


def test_a_database_that_only_reads_is_not_said_to_be_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading succeeds all the time: only what was written ends it."""
    monkeypatch.setattr(away, "writing", away.Outage(lambda: "the database d", "takes nothing", "takes it again"))
    full = caused(OperationalError("the disk is full"), psycopg.errors.DiskFull)
    monkeypatch.setattr(away, "connection", SimpleNamespace(vendor="postgresql"))
    for _ in range(10):
        with contextlib.suppress(OperationalError), away.watched(writes=True):
            raise full
        with away.watched():
            pass
    assert [record.getMessage() for record in caplog.records] == [
        "the database d takes nothing (the disk is full); trying again"
    ]
    with away.watched(writes=True):
        pass
    assert caplog.records[-1].getMessage() == "the database d takes it again after 0 s"


def test_an_outage_is_said_once_and_once_more_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "llmapp.away")
    outage = away.Outage(lambda: "the thing at here:1")
    outage.over()
    for _ in range(100):
        outage.noticed(OSError("refused\nand more lines"))
    outage.over()
    outage.over()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["the thing at here:1 is away (refused); trying again", "the thing at here:1 is back after 0 s"]


BROKERS = [
    ("redis://:secret@here:6379/0", "redis://here:6379/0"),
    ("amqp://me:secret@here//", "amqp://here//"),
    ("sentinel://:secret@here:1;sentinel://:secret@there:2/0", "sentinel://here:1"),
    (["redis://:secret@here/0", "redis://:secret@there/0"], "redis://here/0"),
    ([], "://"),
    (None, "://"),
]


@pytest.mark.parametrize("urls, expected", BROKERS)
def test_a_broker_is_named_without_any_password(monkeypatch: pytest.MonkeyPatch, urls: Any, expected: str) -> None:
    conf = SimpleNamespace(broker_write_url=None, broker_url=urls)
    monkeypatch.setattr(queue, "current_app", SimpleNamespace(conf=conf))
    assert queue.broker_name() == f"the broker {expected}"
