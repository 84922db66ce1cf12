"""What is away, and since when: said once in a plain line, seldom again, and once more when it is back.

A database or a broker that restarts is no fault of ours, nor is a disk that is full, and a hundred stack traces help
nobody. Whoever meets it tells the `Outage` here; the process says it for all of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import InterfaceError, InternalError, OperationalError, connection

logger = logging.getLogger("llmapp.away")

#: Seconds after which it is said again.
AGAIN = 30.0

#: States of PostgreSQL that pass by themselves: connection lost, shutting down or starting, too many connections.
PASSING = ("08", "57P", "53300")
#: In these it answers, and takes nothing: disk or memory are full, the disk fails, it is read-only (a failover).
TAKES_NOTHING = ("53", "58030", "25006")
#: The same of SQLite: READONLY, IOERR, FULL.
SQLITE_TAKES_NOTHING = (8, 10, 13)
#: The server ended a transaction of ours in which nothing was said for long: we had been paused (`lease.fence`).
PUT_OUT = "25P03"


def is_away(error: BaseException | None) -> bool:
    """Say whether the database cannot be used now by this error, and the same may well succeed later."""
    return cannot_be_reached(error) or takes_nothing(error)


def cannot_be_reached(error: BaseException | None) -> bool:
    """Say whether nobody answered, or not to the end."""
    if connection.vendor != "postgresql":
        # A file does not go away, and SQLite calls a missing table an operational error too.
        return False
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError | InternalError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    if isinstance(error, InternalError) or state == PUT_OUT:
        return state == PUT_OUT
    # Without a state the server has not said anything: it was the connection.
    return state is None or state.startswith(PASSING)


def takes_nothing(error: BaseException | None) -> bool:
    """Say whether the database is there, and does not let anybody write."""
    if not isinstance(error, OperationalError | InternalError):
        return False
    if connection.vendor == "postgresql":
        state = getattr(error.__cause__, "sqlstate", None) or ""
        return state.startswith(TAKES_NOTHING) and not state.startswith(PASSING)
    # The last byte is the error, what is before it says more.
    return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in SQLITE_TAKES_NOTHING


def is_locked(error: BaseException | None) -> bool:
    """Say whether another process keeps SQLite's file to itself for longer than a writer waits."""
    return str(getattr(error.__cause__ if error else None, "sqlite_errorname", "")).startswith("SQLITE_BUSY")


def passes(error: BaseException | None) -> bool:
    """Say whether the same may well succeed later: the database is away, or too many write to it."""
    return is_away(error) or is_locked(error)


class Outage:
    """One thing that may be away. `name` says what and where, without a password."""

    def __init__(self, name: Callable[[], str], away: str = "is away", back: str = "is back") -> None:
        self._name = name
        self._words = away, back
        self._lock = threading.Lock()
        self._since: float | None = None
        self._said = 0.0
        #: How often it went away.
        self.times = 0

    @property
    def away(self) -> bool:
        return self._since is not None

    def noticed(self, error: BaseException | str) -> None:
        """Say that it is away, unless that was said a moment ago."""
        now = time.monotonic()
        with self._lock:
            if self._since is not None and now - self._said < AGAIN:
                return
            self.times += self._since is None
            self._since, self._said = self._since or now, now
        text = f"{self._name()} {self._words[0]} ({first_line(error)}); trying again"
        logger.warning("%s", text, extra={"action": "away"})

    def over(self) -> None:
        """Say that it is back, if it was away. Costs nothing when it was not."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            seconds = time.monotonic() - since
            logger.warning("%s %s after %.0f s", self._name(), self._words[1], seconds, extra={"action": "back"})


def first_line(error: BaseException | str) -> str:
    """Return what is worth a line of an error that has many."""
    lines = str(error).strip().splitlines()
    # PostgreSQL's client says where twice.
    return lines[0].rpartition(" failed: ")[2][:200] if lines else type(error).__name__


def database_name() -> str:
    """Return which database it is, and where."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"the database {values['NAME']}"
    return f"the database {values['NAME']} at {values['HOST'] or 'localhost'}:{values['PORT'] or 5432}"


#: This process's database.
database = Outage(database_name)
#: It answers, and takes nothing. Over when something was written, for reading goes on all the time.
writing = Outage(database_name, "takes nothing", "takes what is written again")
#: It has so many writers that one of them gave up. Nobody knows when that is over, so it is only said.
overrun = Outage(database_name, "has no place for a writer")


def noticed(error: BaseException) -> None:
    """Say of the database what this error brings to light."""
    (writing if takes_nothing(error) else overrun if is_locked(error) else database).noticed(error)


@contextmanager
def watched(*, answers: bool = True, writes: bool = False) -> Iterator[None]:
    """Tell of the database what the work inside of this block brings to light.

    `answers` says that the block cannot succeed without the database, `writes` that it writes.
    """
    try:
        yield
    except Exception as error:
        if is_away(error):
            noticed(error)
        raise
    if answers:
        database.over()
    if writes:
        writing.over()
