"""The row of a web process, and what people have open in it.

A web process has no loop of its own under WSGI, and none that we start under ASGI: so a thread writes the row, from
the first request or socket on. While sockets are open it asks their event loop first whether it turns: one that does
not gets no heartbeat, and is seen to be gone.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core import mail
from django.db import DatabaseError, InterfaceError, connections
from django.db.models import QuerySet

from llmapp.models import WebProcess

from . import away, installed
from .clock import db_now

logger = logging.getLogger("llmapp.runs")

#: Seconds between two heartbeats. Who misses three is gone.
EVERY = 10.0
#: Seconds in which a loop has to turn.
PATIENCE = 5.0
#: Sockets that a row names, those that have been silent for the longest time: it stays small.
NAMED = 20

WEBSOCKET, EVENT_STREAM = "websocket", "event_stream"


@dataclass(slots=True, eq=False)
class Opening:
    """A websocket or an event stream. Times are seconds of the process's clock."""

    kind: str
    owner: Hashable
    opened_at: float
    last_at: float

    def sent(self) -> None:
        self.last_at = time.monotonic()


_open: set[Opening] = set()
_loop: asyncio.AbstractEventLoop | None = None


@contextlib.contextmanager
def opened(kind: str, owner: Any) -> Iterator[Opening]:
    """Count a socket while it is open. On its event loop, or under WSGI in its thread."""
    global _loop
    begin()
    with contextlib.suppress(RuntimeError):  # a thread under WSGI has none
        _loop = asyncio.get_running_loop()
    now = time.monotonic()
    opening = Opening(kind, (type(owner), owner.pk), now, now)
    _open.add(opening)
    try:
        yield opening
    finally:
        _open.discard(opening)


def what_is_open() -> dict[str, Any]:
    """Return how much is open, of how many people, and the most silent ones: [kind, age, seconds of silence]."""
    now, openings = time.monotonic(), list(_open)
    if not openings:
        return {}
    counted = Counter(opening.kind for opening in openings)
    silent = sorted(openings, key=lambda opening: opening.last_at)[:NAMED]
    return {
        "websockets": counted[WEBSOCKET],
        "event_streams": counted[EVENT_STREAM],
        "people": len({opening.owner for opening in openings}),
        "sockets": [[one.kind, round(now - one.opened_at, 1), round(now - one.last_at, 1)] for one in silent],
    }


def present_webs() -> QuerySet[WebProcess]:
    """Return the web processes that were heard of just now."""
    return WebProcess.objects.filter(stopped_at=None, heartbeat_at__gt=db_now() - _misses())


def is_present(row: WebProcess, now: datetime) -> bool:
    return row.stopped_at is None and row.heartbeat_at > now - _misses()


def _misses() -> timedelta:
    return timedelta(seconds=3 * EVERY)


# --- the thread ---------------------------------------------------------------------------------


_thread: threading.Thread | None = None
_lock = threading.Lock()
_stop = threading.Event()


def begin(**kwargs: Any) -> None:
    """Have a row from now on. Nothing after the first time; it may be connected to a signal."""
    if _thread is None and not _in_tests():
        start()


def _in_tests() -> bool:
    """Say whether a site tries itself out: the test client sends `request_started` too.

    A thread with a connection of its own would write outside of the test's transaction, and keep the test database
    from being dropped. Django's test runner and pytest-django both lay out this box for mails, before any test.
    """
    return hasattr(mail, "outbox")


def start() -> None:
    global _thread
    with _lock:
        if _thread is None:
            _thread = threading.Thread(target=_be_there, name="llmapp-presence", daemon=True)
            _thread.start()
            atexit.register(end)


def end() -> None:
    """Say that this process goes, if the database answers soon."""
    _stop.set()
    if _thread is not None:
        _thread.join(2.0)


def _begin_anew() -> None:
    """A child has none of its parent's threads and sockets, and is another process. What was held stays held."""
    global _thread, _lock, _stop, _loop
    _thread, _loop = None, None
    _lock, _stop = threading.Lock(), threading.Event()
    _open.clear()


os.register_at_fork(after_in_child=_begin_anew)


def _be_there() -> None:
    row, said = None, False
    while not _stop.is_set():
        try:
            row, said = _beat_if_it_turns(row), False
        except Exception as error:
            # Whatever it was (a loop that closes while it is asked), the next time it may go well: without
            # this thread the process would be taken for gone for as long as it lives.
            if not away.is_away(error) and not said:
                said = True
                text = "this web process cannot write that it is there (%s: %s)"
                about = type(error).__name__, away.first_line(error)
                logger.warning(text, *about, extra={"action": "not_present"})
        _stop.wait(EVERY)
    if row is not None:
        with contextlib.suppress(DatabaseError, InterfaceError):
            WebProcess.objects.filter(pk=row).update(stopped_at=db_now())
        connections.close_all()


def _beat_if_it_turns(row: uuid.UUID | None) -> uuid.UUID | None:
    try:
        return beat(row) if loop_turns() else row
    finally:
        connections.close_all()


def loop_turns() -> bool:
    """Say whether the loop that holds the sockets turns. True where there is none."""
    loop = _loop
    if not _open or loop is None or not loop.is_running():
        return True
    turned = threading.Event()
    loop.call_soon_threadsafe(turned.set)
    return turned.wait(PATIENCE)


def beat(row: uuid.UUID | None) -> uuid.UUID:
    """Write that this process is there, and return its row."""
    now = db_now()
    said = {"heartbeat_at": now, "setup": installed.setup(), "open": what_is_open()}
    if row is not None and WebProcess.objects.filter(pk=row).update(**said):
        return row
    made = WebProcess.objects.create(
        hostname=socket.gethostname(), pid=os.getpid(), versions=installed.versions(), started_at=now, **said
    )
    return made.pk
