"""Celery as this process has it, whichever app that is: pool, queue, broker. Nothing is sent.

A worker knows its command line beside these: what only that says, no check can see.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from celery import current_app
from django.core.checks import CheckMessage, Error, Warning

from llmapp.runs import probe
from llmapp.runs.queue import QUEUE, TASK

from .registry import check

#: Green threads have an event loop of their own.
GREEN = ("gevent", "eventlet")

PICKLE = {"pickle", "application/x-python-serialize"}


@check("llmapp")
def check_pool() -> Iterator[CheckMessage]:
    pool = str(current_app.conf.worker_pool)
    for name in GREEN:
        # On the command line it is not in the settings; by then the process has been patched.
        if name not in pool and not (name == "gevent" and getattr(sys.modules.get("gevent.monkey"), "saved", None)):
            continue
        yield Error(
            f"llmapp does not run in Celery's {name} pool.",
            hint='Use "threads" (many runs in a process) or "prefork" (a process for each run).',
            id="llmapp.E005",
        )


@check("llmapp")
def check_queue() -> Iterator[CheckMessage]:
    conf = current_app.conf
    names = {getattr(queue, "name", queue) for queue in conf.task_queues or ()}
    if not conf.task_create_missing_queues and QUEUE not in names:
        yield Error(
            f"Celery makes no queues by itself, and there is none called {QUEUE}: no run is ever sent.",
            hint=f'Add kombu.Queue("{QUEUE}") to CELERY_TASK_QUEUES.',
            id="llmapp.E007",
        )
    for task in (TASK, probe.TASK):
        # Our queue goes before the queue of a route, but an exchange or a routing key of it goes before ours.
        if elsewhere := _led_elsewhere(task):
            yield Error(
                f"A route of Celery gives {task} {elsewhere}: it does not arrive in the queue {QUEUE}.",
                hint=f'Put "llmapp.*": {{"queue": "{QUEUE}"}} before it in CELERY_TASK_ROUTES.',
                id="llmapp.E007",
            )


def _led_elsewhere(task: str) -> str:
    route = current_app.amqp.router.lookup_route(task, (), {}, {}, None)
    if not isinstance(route, Mapping):
        return ""
    named = [(name, route.get(name)) for name in ("exchange", "routing_key")]
    return ", ".join(f"the {name} {_name(value)!r}" for name, value in named if value and _name(value) != QUEUE)


def _name(exchange: Any) -> str:
    return str(getattr(exchange, "name", exchange))


@check("llmapp")
def check_broker() -> Iterator[CheckMessage]:
    if transport() == "memory":
        yield Warning(
            "The broker is the memory of one process: a worker in another one never hears of a run.",
            hint="Name one that processes share in CELERY_BROKER_URL: Redis or RabbitMQ, for example.",
            id="llmapp.W005",
        )
    if current_app.conf.task_always_eager:
        yield Warning(
            "Celery executes tasks eagerly, but runs go to the broker all the same and wait there for a worker.",
            hint="Take CELERY_TASK_ALWAYS_EAGER away and start a worker, or only know that it does nothing for runs.",
            id="llmapp.W004",
        )


def transport() -> str:
    """Return the kind of the broker: redis, amqp, sqs, ... Nothing of it is imported or asked."""
    conf = current_app.conf
    urls = conf.broker_url or "amqp://"
    first = urls if isinstance(urls, str) else next(iter(urls), "")
    return str(conf.broker_transport or first.split(";")[0].partition("://")[0].partition("+")[0]).lower()


@check("llmapp")
def check_content() -> Iterator[CheckMessage]:
    if PICKLE & set(current_app.conf.accept_content or ()):
        yield Warning(
            "Celery accepts pickled messages: whoever can write to the broker can run code in the workers.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"].',
            id="llmapp.W003",
        )
