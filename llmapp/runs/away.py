"""What is away, and since when: said once in a plain line, seldom again, and once more when it is back.

A database or a broker that restarts is no fault of ours, and a hundred stack traces help nobody. Whoever meets
it tells the `Outage` here; the process says it for all of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger("llmapp.away")

#: Seconds after which it is said again.
AGAIN = 30.0

#: States of PostgreSQL that pass by themselves: connection lost, shutting down or starting, too many connections.
PASSING = ("08", "57P", "53300")


def is_away(error: BaseException | None) -> bool:
    """Say whether this error means that the database cannot be reached now, and the same may well succeed later."""
    if connection.vendor != "postgresql":
        # A file does not go away, and SQLite calls a missing table an operational error too.
        return False
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    # Without a state the server has not said anything: it was the connection.
    return state is None or state.startswith(PASSING)


class Outage:
    """One thing that may be away. `name` says what and where, without a password."""

    def __init__(self, name: Callable[[], str]) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._since: float | None = None
        self._said = 0.0

    @property
    def away(self) -> bool:
        return self._since is not None

    def noticed(self, error: BaseException | str) -> None:
        """Say that it is away, unless that was said a moment ago."""
        now = time.monotonic()
        with self._lock:
            if self._since is not None and now - self._said < AGAIN:
                return
            self._since, self._said = self._since or now, now
        logger.warning("%s is away (%s); trying again", self._name(), first_line(error), extra={"action": "away"})

    def over(self) -> None:
        """Say that it is back, if it was away. Costs nothing when it was not."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            seconds = time.monotonic() - since
            logger.warning("%s is back after %.0f s", self._name(), seconds, extra={"action": "back"})


def first_line(error: BaseException | str) -> str:
    """Return what is worth a line of an error that has many."""
    lines = str(error).strip().splitlines()
    # PostgreSQL's client says where twice.
    return lines[0].rpartition(" failed: ")[2][:200] if lines else type(error).__name__


def database_name() -> str:
    """Return which database it is, and where."""
    values = connection.settings_dict
    return f"the database {values['NAME']} at {values['HOST'] or 'localhost'}:{values['PORT'] or 5432}"


#: This process's database.
database = Outage(database_name)


@contextmanager
def watched(*, answers: bool = True) -> Iterator[None]:
    """Tell of the database what the work inside of this block brings to light.

    `answers` says that the block cannot succeed without the database.
    """
    try:
        yield
    except Exception as error:
        if is_away(error):
            database.noticed(error)
        raise
    if answers:
        database.over()
