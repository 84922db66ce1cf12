"""Workers and web processes: how fresh their heartbeat is, what they hold, and in what they differ. Only looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from django.contrib import admin
from django.db.models import DateTimeField, QuerySet, Value
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from llmapp import comparison
from llmapp.models import Run, WebProcess, Worker
from llmapp.models.processes import Process
from llmapp.runs.clock import db_now
from llmapp.runs.presence import is_present

from . import look
from .base import LookOnly
from .counts import number_of

Row = TypeVar("Row", bound=Process)

#: How those stand who have something open.
THERE = frozenset({"alive", "unfit"})


def standing(worker: Worker, now: datetime) -> tuple[str, str]:
    """Return how a worker stands, and the word for it."""
    if worker.stopped_at is not None:
        return "stopped", _("stopped")
    if worker.revoked_at is not None or worker.lease_until <= now:
        return "gone", _("gone")
    if worker.unfit:
        return "unfit", _("takes no runs")
    return "alive", _("alive")


def standing_of_web(web: WebProcess, now: datetime) -> tuple[str, str]:
    """Return how a web process stands, and the word for it."""
    if web.stopped_at is not None:
        return "stopped", _("stopped")
    return ("alive", _("alive")) if is_present(web, now) else ("gone", _("gone"))


class ProcessAdmin(LookOnly[Row]):
    def get_queryset(self, request: HttpRequest) -> QuerySet[Row]:
        # Each row brings along the moment at which it is judged: leases are the database's clock's.
        rows: QuerySet[Any] = super().get_queryset(request).annotate(now=Value(db_now(), DateTimeField()))
        return rows

    @admin.display(description=gettext_lazy("heartbeat"), ordering="heartbeat_at")
    def heartbeat(self, row: Any) -> str:
        return look.ago(row.heartbeat_at, row.now)

    @admin.display(description=gettext_lazy("version"))
    def release(self, row: Row) -> str:
        return str(row.versions.get("llmapp", look.DASH))

    @admin.display(description=gettext_lazy("versions"))
    def all_versions(self, row: Row) -> str:
        return format_html_join(", ", "{} {}", comparison.versions_of(row).items())

    @admin.display(description=gettext_lazy("migrations"))
    def migrations(self, row: Row) -> str:
        return str(row.setup.get("migrations", {}).get("newest") or look.DASH)

    @admin.display(description=gettext_lazy("encryption keys"))
    def keys(self, row: Row) -> str:
        return ", ".join(row.setup.get("keys", [])) or look.DASH

    @admin.display(description=gettext_lazy("compared with this process"))
    def compared(self, row: Row) -> str:
        """Say in a word whether it differs: the page of the row says in what."""
        found = comparison.with_here(row)
        if not found.sentences:
            return look.badge("ok", _("the same"))
        number = len(found.sentences)
        text = ngettext("%(number)d difference", "%(number)d differences", number) % {"number": number}
        return look.badge("incomplete" if found.well else "failed", text)

    @admin.display(description=gettext_lazy("compared with this process"))
    def differences(self, row: Row) -> str:
        lines = comparison.with_here(row).sentences
        if not lines:
            return look.badge("ok", _("the same"))
        items = format_html_join("", "<li>{}</li>", ((line,) for line in lines))
        return format_html('<ul class="llmapp-lines">{}</ul>', items)


@admin.register(Worker)
class WorkerAdmin(ProcessAdmin[Worker]):
    list_display = ["__str__", "state", "heartbeat", "held", "streams", "release", "compared", "started_at"]
    fields = [
        "state",
        "differences",
        "hostname",
        "pid",
        "held",
        "streams",
        "heartbeat",
        "heartbeat_at",
        "lease_until",
        "started_at",
        "stopped_at",
        "revoked_at",
        "migrations",
        "keys",
        "all_versions",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        return super().get_queryset(request).annotate(run_count=number_of(Run, "worker"))

    @admin.display(description=gettext_lazy("status"))
    def state(self, worker: Any) -> str:
        return look.badge(*standing(worker, worker.now))

    @admin.display(description=gettext_lazy("runs held"), ordering="run_count")
    def held(self, worker: Any) -> str:
        return _("%(runs)s of %(concurrency)s") % {"runs": worker.run_count, "concurrency": worker.concurrency}

    @admin.display(description=gettext_lazy("open streams"))
    def streams(self, worker: Any) -> str:
        # The row of one that is gone still says what was open in its last second.
        is_there = standing(worker, worker.now)[0] in THERE
        return look.count(worker.open.get("streams", 0)) if is_there else look.DASH


@admin.register(WebProcess)
class WebProcessAdmin(ProcessAdmin[WebProcess]):
    list_display = ["__str__", "state", "heartbeat", "sockets", "release", "compared", "started_at"]
    fields = [
        "state",
        "differences",
        "hostname",
        "pid",
        "sockets",
        "heartbeat",
        "heartbeat_at",
        "started_at",
        "stopped_at",
        "migrations",
        "keys",
        "all_versions",
    ]

    @admin.display(description=gettext_lazy("status"))
    def state(self, web: Any) -> str:
        return look.badge(*standing_of_web(web, web.now))

    @admin.display(description=gettext_lazy("open connections"))
    def sockets(self, web: Any) -> str:
        if standing_of_web(web, web.now)[0] not in THERE:
            return look.DASH
        return look.count(web.open.get("websockets", 0) + web.open.get("event_streams", 0))
