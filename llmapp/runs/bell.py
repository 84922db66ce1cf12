"""The bell: how a web process learns that the log has news, and what they are.

A tail runs in a thread of its own while anybody watches. It calls `deliver` on the event loop with
new entries, in the order of each run's seq. It may be late or miss some: readers check seq and read
the log themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection, connections

from . import away, log

logger = logging.getLogger("llmapp.runs")

#: Seconds between two looks at `PRAGMA data_version`: a look costs 2 microseconds.
SQLITE_INTERVAL = 0.005
#: Seconds that are listened before it is seen whether to stop.
LISTEN_SECONDS = 0.5
#: Runs whose conversation is remembered.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class News:
    """A new entry of some run's log. `status` is set where it changed the run's status."""

    run_pk: uuid.UUID
    seq: int
    status: str
    data: str
    conversation_pk: uuid.UUID
    #: What clients call the run.
    run: str


Deliver = Callable[[list[News]], None]
Wanted = Callable[[uuid.UUID, uuid.UUID], bool]

SELECT = """
SELECT e.id, e.run_id, e.seq, e.status, e.data, r.conversation_id, r.client_id
FROM llmapp_runevent e JOIN llmapp_run r ON r.id = e.run_id
"""
SELECT_BY_ID = SELECT + "WHERE e.id > ? ORDER BY e.id LIMIT 2000"
SELECT_BY_SEQ = SELECT + "WHERE {where} ORDER BY e.run_id, e.seq"


class Tail:
    """Follows the log by row id, in a thread. On SQLite row ids are in the order of commits."""

    def __init__(self, deliver: Deliver, wanted: Wanted) -> None:
        self._deliver = deliver
        self._wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._ready = asyncio.Event()
        #: Whether it hears now.
        self.works = False
        self._thread = threading.Thread(target=self._main, name="llmapp-bell", daemon=True)
        self._thread.start()

    async def ready(self) -> None:
        """Wait until nothing that is written from now on is missed."""
        await self._ready.wait()

    def close(self) -> None:
        self._stopping.set()

    @property
    def _over(self) -> bool:
        """Whether nobody needs us: we were closed, or the loop was, with all readers."""
        return self._stopping.is_set() or self._loop.is_closed()

    def _main(self) -> None:
        while not self._over:
            try:
                # The driver's own errors have to be Django's by the time that they are looked at.
                with away.watched(answers=False), connection.wrap_database_errors:
                    self._follow()
            except Exception as error:
                self.works = False
                if not away.is_away(error):
                    logger.exception("the bell failed; trying again", extra={"action": "bell_failed"})
                # Readers poll meanwhile; nobody may be left waiting for us.
                self._call(self._ready.set)
                time.sleep(1)

    def _follow(self) -> None:
        raise NotImplementedError

    def _hears(self) -> None:
        self.works = True
        away.database.over()
        self._call(self._ready.set)

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *args)


class SQLiteTail(Tail):
    """Watches `PRAGMA data_version`, which changes when another connection commits.

    In its own thread with its own read-only connection: as a task on Daphne's loop it cost three
    times the delay.
    """

    def _follow(self) -> None:
        database = sqlite3.connect(f"file:{connection.settings_dict['NAME']}?mode=ro", uri=True, timeout=5)
        try:
            version = _one(database, "PRAGMA data_version")
            last = _one(database, "SELECT coalesce(max(id), 0) FROM llmapp_runevent")
            self._hears()
            while not (self._stopping.wait(SQLITE_INTERVAL) or self._over):
                if (now := _one(database, "PRAGMA data_version")) == version:
                    continue
                version = now
                last = self._read(database, last)
        finally:
            database.close()

    def _read(self, database: sqlite3.Connection, last: int) -> int:
        while rows := database.execute(SELECT_BY_ID, (last,)).fetchall():
            last = rows[-1][0]
            self._call(self._deliver, [_news(row) for row in rows])
        return last


class PostgresTail(Tail):
    """Waits for NOTIFY, and reads what was announced.

    Reads by run and seq, never by row id: those are not in the order of commits on Postgres.
    """

    def _follow(self) -> None:
        connection.ensure_connection()
        wire = connection.connection
        # What was announced is read at once; a run that nobody here watches is not read at all.
        conversations: dict[uuid.UUID, uuid.UUID] = {}
        try:
            wire.execute(f"LISTEN {log.CHANNEL}")
            self._hears()
            while not self._over:
                heard = _first_seqs(wire.notifies(timeout=LISTEN_SECONDS, stop_after=1))
                if heard:
                    heard = _first_seqs(wire.notifies(timeout=0), heard)
                    self._read(heard, conversations)
        finally:
            with contextlib.suppress(Exception):
                # A pooled connection goes on to somebody who does not listen.
                wire.execute("UNLISTEN *")
            connections.close_all()

    def _read(self, heard: dict[uuid.UUID, int], conversations: dict[uuid.UUID, uuid.UUID]) -> None:
        wanted = {
            run: seq for run, seq in heard.items() if run not in conversations or self._wanted(run, conversations[run])
        }
        if not wanted:
            return
        where = " OR ".join(["(e.run_id = %s AND e.seq >= %s)"] * len(wanted))
        with connection.cursor() as cursor:
            cursor.execute(SELECT_BY_SEQ.format(where=where), [value for pair in wanted.items() for value in pair])
            news = [_news(row) for row in cursor.fetchall()]
        if len(conversations) > REMEMBERED:
            conversations.clear()
        conversations.update({item.run_pk: item.conversation_pk for item in news})
        self._call(self._deliver, news)


def _first_seqs(notifies: Iterable[Any], known: dict[uuid.UUID, int] | None = None) -> dict[uuid.UUID, int]:
    """Return the lowest seq that was announced of each run."""
    first = dict(known or {})
    for notify in notifies:
        for call in notify.payload.split(","):
            run, _, seq = call.partition(":")
            key = uuid.UUID(run)
            first[key] = min(int(seq), first.get(key, int(seq)))
    return first


def start(deliver: Deliver, wanted: Wanted = lambda run, conversation: True) -> Tail:
    """Start the tail that fits the database.

    `wanted` says, from any thread, whether somebody here watches a run or its conversation.
    """
    return (PostgresTail if connection.vendor == "postgresql" else SQLiteTail)(deliver, wanted)


def _one(database: sqlite3.Connection, sql: str) -> int:
    return int(database.execute(sql).fetchone()[0])


def _news(row: tuple[Any, ...]) -> News:
    _, run_id, seq, status, data, conversation_id, client_id = row
    run_pk = uuid.UUID(str(run_id))
    return News(run_pk, seq, status, data, uuid.UUID(str(conversation_id)), client_id or str(run_pk))
