"""`serve` before there is a database: it waits, says so, and answers 503 in the site's place.

Who was refused is not kept waiting: a wrong password or a database that does not exist is one line, and the end.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.core.management import CommandError
from django.db import DatabaseError, connection
from django.utils.translation import gettext as _

from llmapp.api.errors import RETRY_AFTER
from llmapp.runs.away import AGAIN, database_name, first_line
from llmapp.views.away import away_page

from .processes import Say

#: Seconds between two tries.
EVERY = 0.5

#: Words of the server itself that pass by themselves. Its other refusals do not.
PASSING = ("starting up", "shutting down", "not yet accepting connections", "recovery", "too many", "slots are")

#: Words of PostgreSQL's client: nobody answered, or not to the end.
NOBODY = (
    *("could not", "refused", "timeout", "timed out", "closed the connection", "reset by peer", "broken pipe"),
    *("unreachable", "no route to host", "no such file", "is the server running", "failed to resolve"),
)


def why_away() -> str | None:
    """Return why the database cannot be reached, None when it can. Raises `CommandError` when it refuses us."""
    if connection.vendor != "postgresql":
        return None
    # Not from the pool: that would say only that it has no connection.
    params = {"connect_timeout": 3, **connection.get_connection_params()}
    try:
        with connection.wrap_database_errors:
            connection.Database.connect(**params).close()  # type: ignore[attr-defined]
    except DatabaseError as error:
        if is_refusal(str(error)):
            why = first_line(error)
            raise CommandError(_("{database} refuses: {why}").format(database=database_name(), why=why)) from None
        return first_line(error)
    return None


def is_refusal(words: str) -> bool:
    """Say whether the server answered, and will answer the same for ever."""
    words = words.lower()
    return not any(part in words for part in (*PASSING, *NOBODY))


def wait_for_database(listener: socket.socket, say: Say) -> bool:
    """Return once the database answers; False when a signal came first. Raises `CommandError` when it refuses."""
    if (why := why_away()) is None:
        return True
    with _stopped_by_signals() as stopped, _stand_in(listener):
        said_at = float("-inf")
        while why is not None:
            if time.monotonic() - said_at >= AGAIN:
                said_at = time.monotonic()
                say(_("Waiting for {database} ({why}).").format(database=database_name(), why=why))
            if stopped.wait(EVERY):
                return False
            why = why_away()
    say(_("The database is there."))
    return True


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stopped = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda *_args: stopped.set()) for number in numbers]
    try:
        yield stopped
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _stand_in(listener: socket.socket) -> Iterator[None]:
    """Answer in the site's place: alive, not ready, and every page is the one that asks for a moment.

    It hears on the socket that the web processes will inherit, so nobody is turned away in between.
    """
    server = StandIn(listener.getsockname()[:2], _Answers, bind_and_activate=False)
    server.socket.close()
    server.socket = listener.dup()
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class StandIn(ThreadingHTTPServer):
    daemon_threads = True


class _Answers(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self) -> None:
        if self.path.partition("?")[0].endswith("/health/live"):
            self._answer(200, b"")
        elif self.path.partition("?")[0].endswith("/health/ready"):
            self._answer(503, b"")
        else:
            self._answer(503, away_page().content)

    do_HEAD = do_POST = do_GET  # noqa: N815 - the names that the base class looks for

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        if status == 503:
            self.send_header("Retry-After", str(RETRY_AFTER))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "llmapp"

    def log_message(self, *args: Any) -> None:
        """One line a request is nobody's wish."""
