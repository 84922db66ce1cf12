"""`llmapp serve`: one command from a fresh clone to a site where a run can be served.

What can be refused is refused in one line before anything is changed or started. Only what a file names that is
neither in it nor in the database is found after the migration, and before anything is started.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import redis
from amqp.exceptions import AccessRefused, NotAllowed
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.utils.translation import gettext as _

from llmapp import __version__
from llmapp.runs import queue
from llmapp.runs.away import cannot_be_reached, first_line
from llmapp.runs.queue import QUEUE
from llmapp.whereabouts import celery_package, home

from . import demo
from .database import unapplied
from .processes import Say
from .site import Site
from .waiting import wait_for_database

#: Runs that one worker process works on at once. They wait for providers most of the time.
CONCURRENCY = 64

#: Connections that wait to be accepted.
BACKLOG = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help=_("The address to listen on (127.0.0.1)."))
    parser.add_argument("--port", type=int, default=8000, help=_("The port to listen on (8000); 0 takes a free one."))
    parser.add_argument("--config", metavar="FILE", help=_("A TOML file for `configure`, read first."))
    parser.add_argument("--demo", action="store_true", help=_("Make a user and an agent to try, and a sign-in link."))
    parser.add_argument("--web", type=int, default=1, metavar="N", help=_("Web processes, on one port (1)."))
    parser.add_argument("--workers", type=int, default=1, metavar="N", help=_("Worker processes (1)."))
    parser.add_argument(
        "--concurrency", type=int, default=CONCURRENCY, help=_("Runs at a time, in each worker process (64).")
    )


def run(
    host: str, port: int, config: str | None, demo: bool, web: int, workers: int, concurrency: int, say: Say
) -> None:
    """Serve until a signal comes. Raises `CommandError` when it cannot start."""
    if demo and not is_loopback(host):
        raise CommandError(_("--demo makes a sign-in link: it works on a loopback address only, not on %s.") % host)
    for name, number in {"--web": web, "--workers": workers, "--concurrency": concurrency}.items():
        if number < 1:
            raise CommandError(_("{name} must be at least 1.").format(name=name))
    # What people write is in the files of the home: they are nobody else's business.
    os.umask(0o077)
    with held(home()), listening(host, port) as listener:
        say(_("llmapp {version} is starting in {home}").format(version=__version__, home=home()))
        site = Site(host, listener, web, workers, concurrency, demo, home(), say)
        if prepare_patiently(listener, config, demo, say):
            site.run()


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the home as long as we live: two of us would be in each other's way."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / "serve.lock").open("a+")
    except OSError as error:
        raise CommandError(_("{home} cannot be written to: {why}.").format(home=folder, why=error.strerror)) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(_("Another `serve` is running on %s. Stop it, or set LLMAPP_HOME.") % folder) from None
        yield


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """Listen on the port, a free one for 0: the web processes share the socket. Raises `CommandError`.

    It outlives each of them, so a port that was ours stays ours, and who comes while one starts again waits.
    """
    if not 0 <= port <= 65535:
        raise CommandError(_("--port must be from 0 to 65535, not {port}.").format(port=port))
    try:
        family, kind, proto, _name, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(socket.socket(family, kind, proto))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            undo.pop_all()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(_("Port {port} is taken. Choose another one with --port.").format(port=port)) from None
        why = error.strerror or str(error)
        raise CommandError(_("Cannot listen on {host}:{port}: {why}.").format(host=host, port=port, why=why)) from None
    return listener


def prepare_patiently(listener: socket.socket, config: str | None, with_demo: bool, say: Say) -> bool:
    """Prepare once the database is there, however often it goes away meanwhile. False: a signal came first."""
    while wait_for_database(listener, say):
        try:
            prepare(config, with_demo, say)
            return True
        except DatabaseError as error:
            if not cannot_be_reached(error):
                raise
    say(_("stopped"))
    return False


def prepare(config: str | None, with_demo: bool, say: Say) -> None:
    """Bring the database up to date, declare the queue, apply the file, make the demo."""
    from .configure import configure, read

    if config is not None:
        read(Path(config))
    migrate(say)
    declare_queue(say)
    if config is not None:
        configure(Path(config), say)
    if with_demo:
        demo.make()


def migrate(say: Say) -> None:
    if unapplied():
        say(_("Preparing the database ..."))
        call_command("migrate", interactive=False, verbosity=0)


def declare_queue(say: Say) -> None:
    """Declare the queue before anyone sends or reads. A broker that is down does not keep the site from starting."""
    app = import_module(f"{celery_package()}.celery").app
    # Without its account.
    name = queue.broker_name()
    try:
        with app.connection_for_write() as broker:
            app.amqp.queues[QUEUE](broker.default_channel).declare()
    except Exception as error:
        # Each broker has its own exceptions.
        why = first_line(error)
        if is_refusal_of_broker(error):
            raise CommandError(_("{broker} refuses: {why}").format(broker=name, why=why)) from None
        say(_("{broker} cannot be reached ({why}); runs will wait until it is back.").format(broker=name, why=why))


def is_refusal_of_broker(error: BaseException | None) -> bool:
    """Say whether the broker answered, and will answer the same for ever: a wrong password, no such virtual host."""
    while error is not None:
        if isinstance(error, redis.AuthenticationError | redis.ResponseError | AccessRefused | NotAllowed):
            return not isinstance(error, redis.exceptions.BusyLoadingError)
        error = error.__cause__
    return False


def handle(**options: Any) -> None:
    run(**options)
