"""What only the database knows of: timeouts of agents, stored keys. Looked at with `--database`, and before `migrate`.

Warnings only: an error would keep `migrate` from its work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from celery import current_app
from django.core.checks import CheckMessage, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction

from llmapp.conf import app_settings
from llmapp.encryption import Undecipherable, decrypt
from llmapp.models import AgentSettings, Credential
from llmapp.runs.lease import LONGEST
from llmapp.runs.queue import TASK

from .celery import transport

#: Seconds after which brokers hand a message out again that is still being worked on, unless they are told otherwise.
#: RabbitMQ does not: it closes the channel after half an hour, and `llmapp.tasks` has the worker open another one.
VISIBILITY = {"redis": 3600, "rediss": 3600, "sentinel": 3600, "sqs": 1800, "pgmq": 1800}
RABBITMQ = ("amqp", "amqps", "pyamqp", "librabbitmq")


@register(Tags.database)
def check_stored(databases: Sequence[str] | None = None, **kwargs: object) -> list[CheckMessage]:
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        # A savepoint, so that what fails breaks no transaction of others.
        with transaction.atomic():
            return list(_look()) if _is_migrated() else []
    except Error as error:
        text = " ".join(str(error).split())[:200]
        return [
            Warning(
                f"The database could not be asked about agents and keys: {text}",
                hint="Look whether it is there; if it is, run `manage.py migrate`.",
                id="llmapp.W018",
            )
        ]


def _is_migrated() -> bool:
    tables = connections[DEFAULT_DB_ALIAS].introspection.table_names()
    return {model._meta.db_table for model in (AgentSettings, Credential)} <= set(tables)


def _look() -> Iterator[CheckMessage]:
    agents = AgentSettings.objects.filter(enabled=True).order_by("-timeout")
    if (slowest := agents.values_list("slug", "timeout").first()) is not None:
        slug, timeout = slowest
        needed = min(timeout, LONGEST) + app_settings.GRACE_SECONDS
        yield from _check_broker(slug, needed)
        yield from _check_time_limits(slug, needed)
    yield from _check_keys()


# -- timeouts


def _check_broker(slug: str, needed: float) -> Iterator[CheckMessage]:
    if transport() in RABBITMQ:
        # It knows no such option.
        return
    options = current_app.conf.broker_transport_options or {}
    patience = options.get("visibility_timeout") or VISIBILITY.get(transport())
    if patience is not None and float(patience) < needed:
        yield Warning(
            f"The broker hands out a run again after {float(patience):g} s, but one of the agent {slug} may take "
            f"{needed:g} s. It is carried out once all the same; each time costs a worker a look.",
            hint=f'Set CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"] to {needed:g} or more.',
            id="llmapp.W015",
        )
    limit = None if _has_no_limits() else time_limits()["time_limit"]
    # Below `needed` either has been said.
    if patience is not None and limit and needed <= float(patience) <= limit:
        yield Warning(
            f"The broker hands out a task again after {float(patience):g} s, before Celery's time_limit of {limit:g} s "
            "ends one that hangs: two workers are busy with it.",
            hint=f'Set CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"] to more than {limit:g}, or lower that.',
            id="llmapp.W015",
        )


def _has_no_limits() -> bool:
    return str(current_app.conf.worker_pool) == "threads"


def _check_time_limits(slug: str, needed: float) -> Iterator[CheckMessage]:
    if _has_no_limits():
        return
    for name, limit in time_limits().items():
        if limit and limit < needed:
            yield Warning(
                f"Celery's {name} is {limit:g} s, but a run of the agent {slug} may take {needed:g} s: in the pool "
                "prefork it is broken off.",
                hint=f'Raise it for runs: CELERY_TASK_ANNOTATIONS = {{"{TASK}": {{"{name}": {needed:g}}}}}.',
                id="llmapp.W016",
            )


def time_limits() -> dict[str, float | None]:
    """Return Celery's limits for a run, in seconds: those of its own, else those of every task."""
    conf = current_app.conf
    own: dict[str, Any] = {}
    annotations = conf.task_annotations if isinstance(conf.task_annotations, dict) else {}
    for task in ("*", TASK):
        own |= annotations.get(task) or {}
    return {name: own.get(name, conf[f"task_{name}"]) for name in ("soft_time_limit", "time_limit")}


# -- keys


def _check_keys() -> Iterator[CheckMessage]:
    for secret, hint, provider in Credential.objects.values_list("secret", "hint", "provider__name"):
        try:
            decrypt(bytes(secret))
        except Undecipherable:
            yield Warning(
                f"The key of the provider {provider} that ends with {hint} cannot be read.",
                hint='Put the key that it was encrypted with back into LLMAPP["ENCRYPTION_KEYS"], or type it again.',
                id="llmapp.W017",
            )
        except (ImproperlyConfigured, ValueError):
            # There are no encryption keys, or they are none: E001 and E003 say so.
            return
