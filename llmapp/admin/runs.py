"""Runs: how they stand, what they asked of models, what went wrong, what it cost. Looked at, and stopped."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import IGNORED_PARAMS
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from llmapp.core import run_state
from llmapp.core.run_state import Trigger
from llmapp.models import Run, RunEvent
from llmapp.runs import actions, sentences

from . import look, reading, requests
from .attempts import calls_of, rows_of
from .base import LookOnly
from .filters import AgentFilter, DayFilter, ModelFilter, Owned, OwnerFilter
from .spans import drawing_of
from .statistics import used_by

EVENTS_PER_PAGE = 200


@admin.register(Run)
class RunAdmin(Owned, LookOnly[Run]):
    list_display = [
        "short_id",
        "created_at",
        "state",
        "kind",
        "agent_slug",
        "owner",
        "model_name",
        "took",
        "price",
        "tokens",
    ]
    list_filter = ["status", "error_kind", AgentFilter, ModelFilter, OwnerFilter, DayFilter]
    list_select_related = ["user"]
    list_per_page = 50
    search_help_text = gettext_lazy("The id of a run or of a visitor, or the name of a user.")
    fieldsets = [
        (None, {"fields": [("state", "error"), ("id", "client_id")]}),
        (
            gettext_lazy("Who asked whom"),
            {"fields": [("whole_owner", "conversation_link", "continues_link"), ("agent_link", "model_name")]},
        ),
        (
            gettext_lazy("When"),
            {"fields": [("created_at", "started_at", "ended_at", "took"), ("worker_link", "executions", "budget")]},
        ),
        (
            gettext_lazy("What it used"),
            {
                "fields": [
                    ("price", "input_tokens", "output_tokens"),
                    ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "summarised"),
                ]
            },
        ),
    ]

    # -- what is shown

    @admin.display(description=gettext_lazy("run"), ordering="id")
    def short_id(self, run: Run) -> str:
        return str(run.pk)[:8]

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def state(self, run: Run) -> str:
        if run.active and run.stop_requested_at is not None:
            return look.badge("stopping", _("is being stopped"))
        return look.badge(run.status, run.get_status_display())

    @admin.display(description=gettext_lazy("error"), ordering="error_kind")
    def kind(self, run: Run) -> str:
        return run.error_kind

    @admin.display(description=gettext_lazy("error"))
    def error(self, run: Run) -> str:
        if not run.error_kind:
            return look.DASH
        return f"{run.error_kind}: {sentences.ending(run.status, run.error_kind, run.error_facts)}"

    @admin.display(description=gettext_lazy("tokens in / out"))
    def tokens(self, run: Run) -> str:
        return f"{look.compact(run.input_tokens)} / {look.compact(run.output_tokens)}"

    @admin.display(description=gettext_lazy("cost"), ordering="cost")
    def price(self, run: Run) -> str:
        return look.money(run.cost)

    @admin.display(description=gettext_lazy("took"))
    def took(self, run: Run) -> str:
        if run.started_at is None or run.ended_at is None:
            return look.DASH
        return look.seconds((run.ended_at - run.started_at).total_seconds())

    @admin.display(description=gettext_lazy("budget"))
    def budget(self, run: Run) -> str:
        text = _("%(used)s of %(limit)s attempts, %(timeout)s in all")
        return text % {"used": run.attempts_used, "limit": run.attempts_limit, "timeout": look.seconds(run.timeout)}

    @admin.display(description=gettext_lazy("conversation"))
    def conversation_link(self, run: Run) -> str:
        # By its id: its title is what somebody wrote.
        return look.link(run.conversation, str(run.conversation_id)[:8])

    @admin.display(description=gettext_lazy("agent"))
    def agent_link(self, run: Run) -> str:
        return look.link(run.agent, run.agent_slug) if run.agent else run.agent_slug

    @admin.display(description=gettext_lazy("continues"))
    def continues_link(self, run: Run) -> str:
        return look.link(run.continues, str(run.continues_id)[:8])

    @admin.display(description=gettext_lazy("worker"))
    def worker_link(self, run: Run) -> str:
        return look.link(run.worker)

    # -- what can be done: what the table of `run_state` says

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        rows = super().get_queryset(request)
        return rows.select_related("user", "agent", "worker", "conversation", "continues")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Say what the runs that were asked for used. Not of all there are, which would read the whole table."""
        response = super().changelist_view(request, extra_context)
        found = getattr(response, "context_data", None) or {}
        listed = found.get("cl")
        if listed is not None and (listed.query or any(name not in IGNORED_PARAMS for name in listed.params)):
            found["used"] = used_by(listed.queryset)
        return response

    def may_stop(self, request: HttpRequest, run: Run) -> bool:
        can_be = run_state.allowed(run.status, Trigger.CANCEL) and run.stop_requested_at is None
        return can_be and self.may(request, "change_run")

    def more_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        run = self.get_object(request, object_id)
        if run is None or not self.has_view_permission(request, run):
            return {}
        calls = calls_of(run)
        return {
            "attempts": rows_of(calls),
            "drawing": drawing_of(run, calls, timezone.now()),
            "may_stop": self.may_stop(request, run),
            "may_read": reading.may_read(request),
        }

    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site.admin_view
        return [
            path("<uuid:id>/stop/", site(self.stop_view), name="llmapp_run_stop"),
            path("<uuid:id>/log/", site(self.log_view), name="llmapp_run_log"),
            *requests.urls(self),
            *super().get_urls(),
        ]

    @method_decorator(require_POST)
    def stop_view(self, request: HttpRequest, id: Any) -> HttpResponse:
        run = self.run_of(request, id)
        if not self.may(request, "change_run"):
            raise PermissionDenied
        if self.may_stop(request, run):
            actions.request_stop(run)
            self.log_change(request, run, _("Asked to stop."))
            messages.success(request, _("The run is being stopped."))
        else:
            messages.info(request, _("The run has ended, or is being stopped already."))
        return HttpResponseRedirect(reverse("admin:llmapp_run_change", args=[run.pk]))

    def log_view(self, request: HttpRequest, id: Any) -> HttpResponse:
        """Show a run's events, which hold what was said, and write down who read them."""
        run = self.run_of(request, id)
        reading.note(request, run)
        events = Paginator(RunEvent.objects.filter(run=run).order_by("seq"), EVENTS_PER_PAGE)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Log of a run"),
            "opts": self.opts,
            "run": run,
            "page": events.get_page(request.GET.get("p")),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/llmapp/run/log.html", context)

    def run_of(self, request: HttpRequest, id: Any) -> Run:
        run = self.get_object(request, str(id))
        if run is None or not self.has_view_permission(request, run):
            raise Http404
        return run
