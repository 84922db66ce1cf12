"""`llmapp stress`: send so many answers at once through the running site, and say whether it keeps up.

Everything is the site's own, web server, broker, workers and database, but for the provider: a script plays, so nothing
is paid. Each token says when it was made, so delays are measured. What is made for it is removed in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.core.management import CommandError
from django.db import connection
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from llmapp.measuring import clients, figures, processes
from llmapp.measuring.clients import Job, Result
from llmapp.measuring.figures import STARTS, Measured
from llmapp.models import Run, Worker
from llmapp.runs import lease
from llmapp.whereabouts import worker_command

from . import stress_site
from .processes import Say
from .serve import is_loopback
from .site import own_headers
from .stress_site import NAME

URL = "http://127.0.0.1:8000/"

#: Tokens a second of each stream.
RATE = 50.0

#: Milliseconds that a site that keeps up stays below: the delay of a token (p99), and of a stream's first one (median).
DELAY, FIRST = 200.0, 2000.0

#: Seconds for one short answer before all others, and for each stream beyond the time that it takes.
WARM_UP, GRACE = 15.0, 20.0
WARM_UP_TOKENS = 5

#: The share of a core above which a process has no more to give, and of all cores above which the machine has none.
FULL = 0.85

#: Where the API and its events have their sentence for people.
MESSAGE = re.compile(r'"message": ?("(?:[^"\\]|\\.)*")')

#: Files that a process has open beside its streams.
OTHER_FILES = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the processes that serve are on this machine, where they can be watched."""

    workers: list[int]
    webs: list[int]
    #: Whether all workers tell the time as we do.
    one_clock: bool


@dataclass(frozen=True, slots=True)
class Busy:
    """Shares of a core that each process used in the middle; of the machine, of all its cores. None: unknown."""

    machine: float
    worker: float | None
    web: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--streams", type=int, default=10, metavar="N", help=_("Answers at a time (10)."))
    parser.add_argument("--seconds", type=int, default=10, metavar="S", help=_("For how long all of them run (10)."))
    parser.add_argument("--url", default=URL, help=_("Where the web server of this site is ({url}).").format(url=URL))


def handle(url: str, streams: int, seconds: int, say: Say) -> None:
    """Raises `CommandError` when the site does not keep up, and when nothing can be measured."""
    if sys.platform != "linux":
        raise CommandError(_("This works on Linux only, which tells what processes cost."))
    check_range("--streams", streams, 5000)
    check_range("--seconds", seconds, 600)
    port = reach(url)
    workers = present_workers()
    place, room = look_around(workers, port), room_in(workers)
    notes = [*about_place(url, place), *about_files(streams, place), *about_room(streams, room)]
    measured, busy = put_to_the_test(url, streams, seconds, place)
    for line in table(streams, measured, notes):
        say(line)
    if missed := what_was_missed(measured, room, streams, busy):
        raise CommandError(_("Not ok: {missed}").format(missed=missed))
    say(verdict(measured, streams))


def check_range(name: str, given: int, most: int) -> None:
    if not 1 <= given <= most:
        raise CommandError(_("{name} must be from 1 to {most}.").format(name=name, most=most))


def table(streams: int, measured: Measured, notes: Sequence[str]) -> list[str]:
    lines = [f"{_('streams'):>7}{figures.header(_)}", f"{streams:>7}{figures.row([measured])}", *notes]
    if measured.p50 is not None and not measured.steady:
        lines.append(_("The answers never ran all at once: the delays are those of all tokens."))
    return lines


# --- who is there ---------------------------------------------------------------------------


def reach(url: str) -> int | None:
    """Knock at the web server, and return its port if it is on this machine. Raises `CommandError`."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError
        address = parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]
    except ValueError:
        raise CommandError(_("--url must be like {example}, not {url}.").format(example=URL, url=url)) from None
    try:
        with socket.create_connection(address, timeout=5) as probe:
            is_local = probe.getsockname()[0] == probe.getpeername()[0]
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandError(
            _("No web server answers at {url} ({why}). Say where yours is: --url.").format(url=url, why=why)
        ) from None
    return address[1] if is_local else None


def present_workers() -> list[Worker]:
    """Return the workers that take runs. Raises `CommandError` when there is none."""
    if workers := list(lease.present_workers()):
        return workers
    raise CommandError(_("No worker is there. Start one: {command}").format(command=worker_command()))


def room_in(workers: Sequence[Worker]) -> int:
    """Return how many more answers these can work on at a time."""
    return sum(worker.concurrency for worker in workers) - Run.objects.filter(worker__in=workers).count()


def look_around(workers: Sequence[Worker], local_port: int | None) -> Place:
    webs = processes.listening(local_port) if local_port else set()
    return Place(
        workers=[worker.pid for worker in workers if lease.process_identity(worker.pid) == _identity(worker)],
        # A proxy in front of them is none of ours, and what it costs says nothing.
        webs=sorted(pid for pid in webs if processes.program(pid).startswith("python")),
        one_clock=all(_tells_our_time(worker) for worker in workers),
    )


def _identity(worker: Worker) -> str:
    return str(worker.versions.get("process"))


def _tells_our_time(worker: Worker) -> bool:
    """Say whether it runs on this boot of this machine, in a container maybe: its monotonic clock is ours."""
    mine = lease.process_identity(os.getpid()) or ""
    return _identity(worker).partition("/")[0] == mine.partition("/")[0]


def about_place(url: str, place: Place) -> list[str]:
    """Say what the figures leave out."""
    notes = []
    if not place.workers:
        notes.append(_("CPU and memory are without the workers: they are not on this machine, or in a container."))
    if not place.webs:
        notes.append(
            _("CPU and memory are without the web processes: {url} is not theirs, or not here.").format(url=url)
        )
    if not place.one_clock:
        notes.append(_("Delays are unknown: a worker is on another machine, and its clock is not this one's."))
    return notes


def about_files(streams: int, place: Place) -> list[str]:
    """Say who may open too few files, once we ourselves may open as many as possible."""
    notes = []
    if (allowed := processes.allow_files(streams + OTHER_FILES)) < streams + OTHER_FILES:
        notes.append(_too_few_files(_("this command"), allowed, streams + OTHER_FILES))
    each = streams // max(len(place.webs), 1) + OTHER_FILES
    limits = [limit for pid in place.webs if (limit := processes.files_allowed(pid)) is not None]
    if limits and min(limits) < each:
        notes.append(_too_few_files(_("a web process"), min(limits), each))
    return notes


def about_room(streams: int, room: int) -> list[str]:
    if room >= streams:
        return []
    return [_("{room} answers at a time have room in the workers.").format(room=max(room, 0))]


def _too_few_files(who: str, allowed: int, needed: int) -> str:
    text = _("Too few open files: {who} may have {allowed} and needs about {needed} (ulimit -n).")
    return text.format(who=who, allowed=allowed, needed=needed)


# --- the test -------------------------------------------------------------------------------


def put_to_the_test(url: str, streams: int, seconds: int, place: Place) -> tuple[Measured, Busy]:
    """Make what is needed, measure, and remove it again. Raises `CommandError` when nothing can be measured."""
    tokens = figures.tokens_for(seconds, RATE, streams)
    patience = tokens / RATE + GRACE
    at_most = WARM_UP + streams / STARTS + patience + GRACE
    with ended_by_signals(), stress_site.prepared(streams + 1, tokens, RATE, at_most) as people:
        warm_up(url, request(url, people.pop(), WARM_UP_TOKENS))
        return measure([request(url, token, tokens) for token in people], patience, place, streams * tokens)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Take a SIGTERM, and a terminal that is closed, for a Ctrl-C: what was made is removed then, too."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        # Under `nohup` it is meant to go on.
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def request(url: str, token: str, tokens: int) -> dict[str, Any]:
    """Ask for an answer of so many tokens: the script reads its length from the message."""
    parts = urlsplit(url)
    # Behind TLS the site is told by its proxy how the request came; straight to a web process we are that proxy.
    headers = own_headers() if parts.scheme == "http" and is_loopback(parts.hostname or "") else {}
    message = {"id": f"answer-of-{tokens}", "role": "user", "content": str(tokens)}
    return {
        "method": "POST",
        "url": url.rstrip("/") + reverse("llmapp:api-runs", args=[NAME]),
        "headers": {**headers, "Authorization": f"Bearer {token}"},
        "json": {"messages": [message]},
    }


def warm_up(url: str, short: dict[str, Any]) -> None:
    """Have one short answer. Raises `CommandError` when none comes: nothing else would come either."""
    result = ask([short], WARM_UP)
    if sum(result.tokens) == WARM_UP_TOKENS:
        return
    why = in_words(result.errors[0]) if result.errors else _("the answer was not whole")
    text = _("Not even one answer came through {url}: {why}. More: manage.py llmapp doctor")
    raise CommandError(text.format(url=url, why=why))


def in_words(error: str) -> str:
    """Return the sentence for people in a refusal or an event that ended a stream; else all of it, in one line."""
    if (found := MESSAGE.search(error)) is not None:
        error = str(json.loads(found[1])).rstrip(".")
    return " ".join(error.split())


def ask(requests: list[dict[str, Any]], patience: float) -> Result:
    return clients.run(Job(requests, "TEXT_MESSAGE_CONTENT", STARTS, patience, failure="RUN_ERROR"))


def measure(requests: list[dict[str, Any]], patience: float, place: Place, expected: int) -> tuple[Measured, Busy]:
    workers, webs = processes.with_children(place.workers), processes.with_children(place.webs)
    began, idle = time.monotonic(), processes.idle()
    worker_cpu, web_cpu = processes.cpu(workers), processes.cpu(webs)
    result = ask(requests, patience)
    took, idle = time.monotonic() - began, processes.idle() - idle
    worker_cpu, web_cpu = processes.cpu(workers) - worker_cpu, processes.cpu(webs) - web_cpu
    watched = workers | webs
    if not place.one_clock:
        result.delays = []
    measured = figures.summary(
        result, worker_cpu + web_cpu if watched else None, processes.memory(watched) or None, expected
    )
    busy = Busy(
        machine=1 - idle / took / (os.cpu_count() or 1),
        worker=worker_cpu / took / len(place.workers) if place.workers else None,
        web=web_cpu / took / len(place.webs) if place.webs else None,
    )
    return measured, busy


# --- what it means --------------------------------------------------------------------------


def what_was_missed(measured: Measured, room: int, streams: int, busy: Busy) -> str | None:
    """Return which limit was missed and what to do; None when none was."""
    if room < streams:
        text = _(
            "the workers have room for {room} of {streams} answers. Start more of them, or give them more "
            "concurrency (`celery -c`, `serve --concurrency`)."
        )
        return text.format(room=max(room, 0), streams=streams)
    if measured.errors:
        text = ngettext(
            "{number} stream failed: {first}. The logs of the web and worker processes say more.",
            "{number} streams failed, the first: {first}. The logs of the web and worker processes say more.",
            len(measured.errors),
        )
        return text.format(number=len(measured.errors), first=in_words(measured.errors[0]))
    if measured.lost:
        text = ngettext("{number} token did not arrive.", "{number} tokens did not arrive.", measured.lost)
        return text.format(number=measured.lost) + " " + _("This is a fault: please report it.")
    if measured.p99 is not None and measured.p99 > DELAY:
        text = _("one token in a hundred is later than {limit:.0f} ms ({found:.0f} ms). {advice}")
        return text.format(limit=DELAY, found=measured.p99, advice=advice(busy))
    if measured.first is not None and measured.first > FIRST:
        text = _("a first token takes longer than {limit:.0f} ms ({found:.0f} ms). {advice}")
        return text.format(limit=FIRST, found=measured.first, advice=advice(busy))
    return None


def advice(busy: Busy) -> str:
    """Return what to do about delays: the first thing that is full."""
    if busy.machine > FULL:
        return _("All cores of this machine are busy: give it more, or move something to another one.")
    if busy.worker is not None and busy.worker > FULL:
        return _("The workers use a whole core each: start more worker processes.")
    if busy.web is not None and busy.web > FULL:
        return _("The web processes use a whole core each: start more of them.")
    if connection.vendor == "sqlite":
        return _("SQLite has one writer: move to PostgreSQL.")
    return _("It is neither the CPU of the workers nor of the web processes: look at database, broker and network.")


def verdict(measured: Measured, streams: int) -> str:
    if measured.p99 is None:
        return _("Ok, as far as can be told: all tokens arrived. Delays were not measured.")
    text = ngettext(
        "Ok: {streams} answer at a time, no token lost, and 99 of 100 are there within {p99} ms.",
        "Ok: {streams} answers at a time, no token lost, and 99 of 100 are there within {p99} ms.",
        streams,
    )
    return text.format(streams=streams, p99=math.ceil(measured.p99))
