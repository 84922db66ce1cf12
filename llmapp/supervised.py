"""How `serve` starts its children: `python -m llmapp.supervised daphne ...`, `... celery ...`.

A child never outlives its parent. It holds the read end of a pipe whose other end only the parent has:
when that closes, because the parent wants it to or because it was killed, the child stops itself as if it
had been sent SIGTERM. So SIGTERM comes exactly once; a second one would make Celery drop everything.

Through another pipe it says that its event loop turns. One that has fallen silent is asked by a signal where it stands,
and then killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from llmapp.runs import pulse
from llmapp.runs.garbage import SERVED

#: The environment variable that names the pipe's descriptor.
LIFELINE = "LLMAPP_LIFELINE"

#: Has every thread's stack written to the standard error, whatever the threads are doing.
WHERE = signal.SIGUSR2
STDERR = 2

#: Seconds that a child has for its own clean end when nobody is there to wait for it.
PATIENCE = 15.0

#: Program -> module and function that runs it with `sys.argv`.
PROGRAMS = {"daphne": ("daphne.cli", "CommandLineInterface.entrypoint"), "celery": ("celery.__main__", "main")}

#: What is of no interest on the command line: no banner, and the checks that the parent has run already.
QUIETLY = {"daphne": [], "celery": ["--quiet", "--skip-checks"]}

#: What a program imports when it is installed, and has no use for here: TLS and HTTP/2 are spoken by the proxy in
#: front. 8 MB of each web process.
UNUSED = {"daphne": ["OpenSSL", "service_identity", "h2", "cbor2"], "celery": []}


def main() -> None:
    """Run the program that the arguments name, until it ends or the parent does."""
    name, *arguments = sys.argv[1:]
    # `runs.garbage` asks: what concerns the whole process is done in ours only.
    os.environ[SERVED] = "1"
    if descriptor := os.environ.pop(LIFELINE, ""):
        _follow(int(descriptor))
    pulse.take()
    faulthandler.register(WHERE, file=STDERR, all_threads=True)
    # In a container one often is; what makes it dangerous, pickled messages, we do not accept.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    sys.argv = [name, *QUIETLY[name], *arguments]
    module, path = PROGRAMS[name]
    with _without(UNUSED[name]):
        target = import_module(module)
    for part in path.split("."):
        target = getattr(target, part)
    if name == "daphne":
        _keep_the_pulse_of_twisted()
    target()  # type: ignore[operator]


def _keep_the_pulse_of_twisted() -> None:
    """Daphne's event loop is the reactor's. That of a worker is in `runs.worker`."""
    reactor: Any = import_module("twisted.internet.reactor")

    def turn() -> None:
        pulse.beat()
        reactor.callLater(pulse.EACH, turn)

    reactor.callWhenRunning(turn)


@contextlib.contextmanager
def _without(modules: list[str]) -> Iterator[None]:
    """Make these modules look as if they were not installed. The site itself may import them afterwards."""
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    yield
    for name in hidden:
        del sys.modules[name]


def _follow(lifeline: int) -> None:
    # What a child starts in its turn must not keep the pipe.
    os.set_inheritable(lifeline, False)
    threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True).start()


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
