"""The Celery app of a site that has none of its own: `celery -A llmapp worker -Q llmapp -P threads`.

A site that has one needs nothing from here: its worker finds `llmapp.tasks` by `autodiscover_tasks`.
"""

from __future__ import annotations

from celery import Celery

from llmapp.runs.queue import QUEUE

app = Celery("llmapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_routes = app.conf.task_routes or {"llmapp.*": {"queue": QUEUE}}
app.autodiscover_tasks()
