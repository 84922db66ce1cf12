"""The Celery app of a site that has none of its own: `celery -A llmapp worker -Q llmapp -P threads`.

A site that has one needs nothing from here: its worker finds `llmapp.tasks` by `autodiscover_tasks`.
"""

from __future__ import annotations

import os

from celery import Celery
from django.conf import settings

from llmapp.runs.queue import QUEUE
from llmapp.whereabouts import home

app = Celery("llmapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_routes = app.conf.task_routes or {"llmapp.*": {"queue": QUEUE}}
if not (getattr(settings, "CELERY_BROKER_URL", "") or os.environ.get("CELERY_BROKER_URL")):
    # A site that names no broker has none: Celery would look for RabbitMQ on this machine. A queue of files does.
    app.conf.update(
        broker_url="filesystem://",
        broker_transport="llmapp.broker:Transport",
        broker_transport_options={"folder": str(home() / "queue")},
        worker_enable_remote_control=False,
    )
app.autodiscover_tasks()
