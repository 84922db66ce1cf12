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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection, connections

logger = logging.getLogger("llmapp.runs")

#: Seconds between two looks at `PRAGMA data_version`: a look costs 2 microseconds.
SQLITE_INTERVAL = 0.005
#: Seconds between two looks where nothing rings.
POLL_INTERVAL = 0.2


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

SELECT = """
SELECT e.id, e.run_id, e.seq, e.status, e.data, r.conversation_id, r.client_id
FROM llmapp_runevent e JOIN llmapp_run r ON r.id = e.run_id
WHERE e.id > {mark} ORDER BY e.id LIMIT 2000
"""


class Tail:
    """Follows the log by row id, in a thread. On SQLite row ids are in the order of commits."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._ready = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="llmapp-bell", daemon=True)
        self._thread.start()

    async def ready(self) -> None:
        """Wait until nothing that is written from now on is missed."""
        await self._ready.wait()

    def close(self) -> None:
        self._stop.set()

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except Exception:
                logger.exception("the bell failed; trying again", extra={"action": "bell_failed"})
                # Readers poll meanwhile; nobody may be left waiting for us.
                self._call(self._ready.set)
                time.sleep(1)

    def _follow(self) -> None:
        raise NotImplementedError

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
            self._call(self._ready.set)
            while not self._stop.wait(SQLITE_INTERVAL):
                if (now := _one(database, "PRAGMA data_version")) == version:
                    continue
                version = now
                last = self._read(database, last)
        finally:
            database.close()

    def _read(self, database: sqlite3.Connection, last: int) -> int:
        while rows := database.execute(SELECT.format(mark="?"), (last,)).fetchall():
            last = rows[-1][0]
            self._call(self._deliver, [_news(row) for row in rows])
        return last


class PollingTail(Tail):
    """Looks at regular intervals, for databases that ring no bell.

    Row ids are not in the order of commits here: an entry that is missed is found by its reader, who
    sees the gap in seq, or by the reader's own slow poll.
    """

    def _follow(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT coalesce(max(id), 0) FROM llmapp_runevent")
                last = cursor.fetchone()[0]
                self._call(self._ready.set)
                while not self._stop.wait(POLL_INTERVAL):
                    cursor.execute(SELECT.format(mark="%s"), [last])
                    if rows := cursor.fetchall():
                        last = rows[-1][0]
                        self._call(self._deliver, [_news(row) for row in rows])
        finally:
            connections.close_all()


def start(deliver: Deliver) -> Tail:
    """Start the tail that fits the database."""
    return SQLiteTail(deliver) if connection.vendor == "sqlite" else PollingTail(deliver)


def _one(database: sqlite3.Connection, sql: str) -> int:
    return int(database.execute(sql).fetchone()[0])


def _news(row: tuple[Any, ...]) -> News:
    _, run_id, seq, status, data, conversation_id, client_id = row
    run_pk = uuid.UUID(str(run_id))
    return News(run_pk, seq, status, data, uuid.UUID(str(conversation_id)), client_id or str(run_pk))
