"""`llmapp doctor`: look at everything that a run needs, and say in a line each what is there and what is wrong."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from celery import current_app
from django.core.management import CommandError
from django.db import connection
from django.utils.translation import gettext as _

from llmapp.encryption import Undecipherable
from llmapp.models import Provider
from llmapp.runs import lease
from llmapp.runs.hub import get_hub
from llmapp.runs.queue import QUEUE

from .database import unapplied
from .processes import Say

#: Seconds for each look at something that may not answer.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    well: bool
    said: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""


def handle(say: Say) -> None:
    findings = []
    for finding in examine():
        say(f"{_('ok') if finding.well else _('FAIL'):<5} {finding.subject:<18} {finding.said}")
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
    yield _look(_("bell"), look_at_bell)
    for provider in Provider.objects.filter(enabled=True):
        yield _look(_("provider {name}").format(name=provider.name), partial(look_at, provider))


def _look(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, look())
    except Exception as error:
        # Whatever it was, the other lines are wanted too; and a line it must be.
        return Finding(subject, False, " ".join(str(error).split())[:300] or type(error).__name__)


def look_at_database() -> str:
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
        if folder := broker.transport_options.get("folder"):
            waiting = broker.default_channel._size(QUEUE)
            return _("files in {folder}, {number} waiting").format(folder=folder, number=waiting)
        # Without the password.
        return str(broker.as_uri())


def look_at_workers() -> Iterator[Finding]:
    workers = list(lease.live_workers())
    if not workers:
        yield Finding(_("workers"), False, _("no worker is running"))
    for worker in workers:
        named = ", ".join(
            f"{name} {version}" for name, version in sorted(worker.versions.items()) if name != "process" and version
        )
        yield Finding(_("worker"), True, f"{worker}, {worker.runs.count()}/{worker.concurrency}, {named}")


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


def look_at(provider: Provider) -> str:
    """Look whether its keys can be read and its host be reached. Nothing is asked of a model."""
    keys = _readable_keys(provider)
    if provider.backend == "scripted":
        return _("plays a script")
    if not provider.base_url:
        return _("{keys} keys; its address is litellm's to know").format(keys=keys)
    parts = urlsplit(provider.base_url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        with socket.create_connection((host, port), timeout=PATIENCE) as plain:
            if secure:
                with ssl.create_default_context().wrap_socket(plain, server_hostname=host):
                    pass
    except OSError as error:
        raise RuntimeError(f"{host}:{port}: {error.strerror or error}") from None
    return _("{keys} keys; {host}:{port} answers").format(keys=keys, host=host, port=port)


def _readable_keys(provider: Provider) -> int:
    pool = list(provider.credentials.filter(enabled=True))
    for credential in pool:
        try:
            credential.secrets()
        except Undecipherable as error:
            raise RuntimeError(str(error)) from None
    return len(pool)
