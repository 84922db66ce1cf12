"""Workers: which processes are there, how fresh their heartbeat is, what they hold. Only looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import DateTimeField, QuerySet, Value
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp.models import Run, Worker
from llmapp.runs.clock import db_now

from . import look
from .base import LookOnly
from .counts import number_of

#: Kept beside the versions, for workers to find each other dead; of no interest to people.
NOT_A_VERSION = "process"


def standing(worker: Worker, now: datetime) -> tuple[str, str]:
    """Return how a worker stands, and the word for it."""
    if worker.stopped_at is not None:
        return "stopped", _("stopped")
    if worker.revoked_at is not None or worker.lease_until <= now:
        return "gone", _("gone")
    return "alive", _("alive")


@admin.register(Worker)
class WorkerAdmin(LookOnly[Worker]):
    list_display = ["__str__", "state", "heartbeat", "held", "release", "started_at"]
    fields = [
        "state",
        "hostname",
        "pid",
        "held",
        "heartbeat",
        "heartbeat_at",
        "lease_until",
        "started_at",
        "stopped_at",
        "revoked_at",
        "all_versions",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        # Each row brings along the moment at which it is judged: leases are the database's clock's.
        now = Value(db_now(), DateTimeField())
        return super().get_queryset(request).annotate(run_count=number_of(Run, "worker"), now=now)

    @admin.display(description=gettext_lazy("status"))
    def state(self, worker: Any) -> str:
        return look.badge(*standing(worker, worker.now))

    @admin.display(description=gettext_lazy("heartbeat"), ordering="heartbeat_at")
    def heartbeat(self, worker: Any) -> str:
        return look.ago(worker.heartbeat_at, worker.now)

    @admin.display(description=gettext_lazy("runs held"), ordering="run_count")
    def held(self, worker: Any) -> str:
        return _("%(runs)s of %(concurrency)s") % {"runs": worker.run_count, "concurrency": worker.concurrency}

    @admin.display(description=gettext_lazy("version"))
    def release(self, worker: Worker) -> str:
        return str(worker.versions.get("llmapp", look.DASH))

    @admin.display(description=gettext_lazy("versions"))
    def all_versions(self, worker: Worker) -> str:
        named = sorted((name, text) for name, text in worker.versions.items() if name != NOT_A_VERSION)
        return format_html_join(", ", "{} {}", named)
