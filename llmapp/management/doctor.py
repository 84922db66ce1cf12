"""`llmapp doctor`: look at everything that a run needs, and say in a line each what is there and what is wrong."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from celery import current_app
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from llmapp import comparison
from llmapp.backends import reach
from llmapp.encryption import Undecipherable
from llmapp.models import LanguageModel, Provider, Worker
from llmapp.runs import layer
from llmapp.runs.away import database_name
from llmapp.runs.hub import get_hub
from llmapp.runs.probe_sentences import sentence
from llmapp.runs.queue import QUEUE
from llmapp.whereabouts import worker_command

from .database import unapplied
from .processes import Say
from .waiting import why_away

#: Seconds for each look at something that may not answer.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    well: bool
    said: str
    #: It works, and somebody had better look at it.
    doubtful: bool = False

    @property
    def mark(self) -> str:
        if not self.well:
            return _("FAIL")
        return _("warn") if self.doubtful else _("ok")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""


def handle(say: Say) -> None:
    findings = []
    for finding in examine():
        say(f"{finding.mark:<5} {finding.subject:<24} {finding.said}")
        findings.append(finding)
    if bad := sum(not finding.well for finding in findings):
        raise CommandError(_("{number} of {all} need attention.").format(number=bad, all=len(findings)))


def examine() -> Iterator[Finding]:
    """Look at one thing after the other. What depends on a database that is not there is not looked at."""
    database = _look(_("database"), look_at_database)
    yield database
    yield _look(_("broker"), look_at_broker)
    if not database.well:
        return
    yield from look_at_workers()
    if (path := comparison.constraints_file()) is not None:
        yield look_at_constraints(path)
    yield _look(_("bell"), look_at_bell)
    if layer.is_there():
        yield _look(_("channel layer"), look_at_layer)
    for provider in Provider.objects.filter(enabled=True):
        yield _look(_("provider {name}").format(name=provider.name), partial(look_at, provider))


def _look(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, look())
    except Exception as error:
        # Whatever it was, the other lines are wanted too; and a line it must be.
        return Finding(subject, False, " ".join(str(error).split())[:300] or type(error).__name__)


def look_at_database() -> str:
    # The pool would say only that it has no connection.
    if (why := why_away()) is not None:
        raise RuntimeError(f"{database_name()}: {why}")
    connection.ensure_connection()
    if missing := unapplied():
        raise RuntimeError(_("{number} migrations are missing; run `manage.py migrate`").format(number=len(missing)))
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        return f"SQLite {sqlite3.sqlite_version}, {mode.upper()}, {connection.settings_dict['NAME']}"
    version = ".".join(str(part) for part in connection.get_database_version())
    return f"{connection.display_name} {version}, {connection.settings_dict['HOST']}"


def look_at_broker() -> str:
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=PATIENCE)
        folder, waiting = broker.transport_options.get("folder"), _waiting(broker)
        if folder:
            return _("files in {folder}, {number} waiting").format(folder=folder, number=waiting)
        # Without the password.
        return _("{url}, {number} waiting").format(url=broker.as_uri(), number=waiting)


def _waiting(broker: Any) -> int:
    """Return how many messages nobody has taken yet."""
    channel = broker.default_channel
    if hasattr(channel, "_size"):
        return int(channel._size(QUEUE))
    try:
        return int(channel.queue_declare(QUEUE, passive=True).message_count)
    except broker.channel_errors:
        # RabbitMQ knows of no such queue: no worker has listened yet, and no run was sent.
        return 0


def look_at_workers() -> Iterator[Finding]:
    """Those that listen to our queue: no others are in the table."""
    workers = comparison.workers()
    if not workers:
        text = _("no worker listens to the queue {queue}; start one: {command}")
        yield Finding(_("workers"), False, text.format(queue=QUEUE, command=worker_command()))
    for worker in workers:
        row = worker.process
        assert isinstance(row, Worker)
        yield _look_at_process(_("worker"), worker, f"{row.runs.count()}/{row.concurrency}")
    for web in comparison.webs():
        yield _look_at_process(_("web process"), web)


def _look_at_process(subject: str, found: comparison.Compared, *more: str) -> Finding:
    versions = [f"{name} {version}" for name, version in comparison.versions_of(found.process).items()]
    line = ", ".join([str(found.process), *more, *versions])
    sentences = found.sentences
    refuses = [_("takes no runs")] if found.unfit else []
    return Finding(subject, found.well, "; ".join([line, *refuses, *sentences]), doubtful=bool(sentences))


def look_at_constraints(path: Path) -> Finding:
    """Say which packages here have other versions than the file beside the project says."""
    unlike = comparison.unlike_constraints(path)
    said = _("other versions: {names}").format(names=", ".join(unlike)) if unlike else _("the versions are those")
    return Finding("constraints.txt", True, said, doubtful=bool(unlike))


def look_at_bell() -> str:
    if not asyncio.run(_rings()):
        raise RuntimeError(_("it does not answer"))
    return "LISTEN/NOTIFY" if connection.vendor == "postgresql" else "PRAGMA data_version"


async def _rings() -> bool:
    hub = get_hub()
    try:
        return await hub.bell_works()
    finally:
        await hub.aclose()


def look_at_layer() -> str:
    if not asyncio.run(layer.works()):
        raise RuntimeError(_("it does not answer"))
    return layer.name()


def look_at(provider: Provider) -> str:
    """Look whether its keys can be read and its host be reached. Nothing is asked of a model."""
    keys = _readable_keys(provider)
    if provider.backend == "scripted":
        return _("plays a script")
    if not provider.base_url:
        text = ngettext(
            "{keys} key; its address is litellm's to know", "{keys} keys; its address is litellm's to know", keys
        )
        return text.format(keys=keys)
    try:
        host, port = asyncio.run(_go_to(provider.base_url))
    except reach.Unreachable as error:
        raise RuntimeError(_said(error, provider)) from None
    text = ngettext("{keys} key; {host}:{port} answers", "{keys} keys; {host}:{port} answers", keys)
    return text.format(keys=keys, host=host, port=port)


async def _go_to(url: str) -> tuple[str, int]:
    """Go as far as a call would, by the same certificates. Raises `Unreachable`."""
    host, port, is_secure = reach.address(url)
    await reach.resolve(host, port, PATIENCE)
    await reach.connect(host, port, PATIENCE)
    if is_secure:
        await reach.secure(host, port, PATIENCE)
    return host, port


def _said(error: reach.Unreachable, provider: Provider) -> str:
    host, port, _is_secure = reach.address(provider.base_url)
    said = sentence(error.code, {"host": host, "port": port, "seconds": f"{PATIENCE:g}"})
    model = LanguageModel.objects.filter(provider=provider, enabled=True).order_by("pk").first()
    if model is None:
        return said
    return said + " " + _("More: manage.py llmapp check-model {name}").format(name=model.name)


def _readable_keys(provider: Provider) -> int:
    pool = list(provider.credentials.filter(enabled=True))
    if refused := [str(credential) for credential in pool if credential.dead_since is not None]:
        raise RuntimeError(_("it refuses these keys: {keys}; replace them").format(keys=", ".join(refused)))
    now = timezone.now()
    if pool and (resting := [key for key in pool if key.benched_until and key.benched_until > now]) == pool:
        first = min(resting, key=lambda key: key.benched_until or now)
        text = _("no key can be used until {time} ({kind})")
        raise RuntimeError(text.format(time=f"{first.benched_until:%Y-%m-%d %H:%M} UTC", kind=first.bench_kind))
    for credential in pool:
        try:
            credential.secrets()
        except Undecipherable as error:
            raise RuntimeError(str(error)) from None
    return len(pool)
