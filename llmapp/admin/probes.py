""" "Test connection" and "Check this model": a button that posts, and a page that follows the stages.

A worker carries them out, never the web process. The pages belong to the admin of a provider or of a model.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from llmapp.models import LanguageModel, Probe, Provider
from llmapp.runs import probe
from llmapp.runs.clock import db_now
from llmapp.runs.lease import live_workers
from llmapp.runs.probe_sentences import sentence, summary, title
from llmapp.whereabouts import worker_command

from . import look

CHANGE_FORM = "admin/llmapp/probed_change_form.html"

Subject = TypeVar("Subject", Provider, LanguageModel)


class ProbePages:
    """Start one, follow one. To start takes the right to change what is probed, to look the right to view it."""

    def __init__(self, model_admin: admin.ModelAdmin[Any]) -> None:
        self._admin = model_admin

    @method_decorator(require_POST)
    def start(self, request: HttpRequest, id: str) -> HttpResponse:
        subject = self._subject(request, id)
        if not self._admin.has_change_permission(request, subject):
            raise PermissionDenied
        if isinstance(subject, LanguageModel):
            started = probe.start(subject.provider, subject, request.user)
        else:
            started = probe.start(subject, None, request.user)
        return HttpResponseRedirect(self._url("probe", id, started.pk))

    def page(self, request: HttpRequest, id: str, probe_id: Any) -> HttpResponse:
        subject = self._subject(request, id)
        row = self._probe(subject, probe_id)
        context = {
            **self._admin.admin_site.each_context(request),
            "title": label(subject),
            "subtitle": str(subject),
            "opts": self._admin.opts,
            "subject": subject,
            "subject_url": self._url("change", subject.pk),
            "state": described(row),
            "state_url": self._url("probe_state", id, row.pk),
            "again_url": self._url("start_probe", id),
            "may_probe": self._admin.has_change_permission(request, subject),
            "media": self._admin.media,
        }
        return TemplateResponse(request, "admin/llmapp/probe.html", context)

    def state(self, request: HttpRequest, id: str, probe_id: Any) -> HttpResponse:
        """Answer with what the page shows: {"state", "message", "stages": [{"title", "word", ...}]}."""
        response = JsonResponse(described(self._probe(self._subject(request, id), probe_id)))
        response.headers["Cache-Control"] = "no-store"
        return response

    def _subject(self, request: HttpRequest, id: str) -> Any:
        subject = self._admin.get_object(request, id)
        if subject is None:
            raise Http404
        if not self._admin.has_view_or_change_permission(request, subject):
            raise PermissionDenied
        return subject

    def _probe(self, subject: Any, probe_id: Any) -> Probe:
        row = of(subject).filter(pk=probe_id).first()
        if row is None:
            raise Http404
        return row

    def _url(self, name: str, *arguments: Any) -> str:
        return reverse(f"admin:llmapp_{self._admin.opts.model_name}_{name}", args=arguments)


def urls(model_admin: admin.ModelAdmin[Any]) -> list[URLPattern]:
    pages, site = ProbePages(model_admin), model_admin.admin_site.admin_view
    name = f"llmapp_{model_admin.opts.model_name}"
    return [
        path("<path:id>/probe/", site(pages.start), name=f"{name}_start_probe"),
        path("<path:id>/probe/<uuid:probe_id>/", site(pages.page), name=f"{name}_probe"),
        path("<path:id>/probe/<uuid:probe_id>/state/", site(pages.state), name=f"{name}_probe_state"),
    ]


def button(model_admin: admin.ModelAdmin[Any], request: HttpRequest, id: str) -> dict[str, Any]:
    """Return what the change page needs for the button and for the last result."""
    subject = model_admin.get_object(request, id)
    if subject is None:
        return {}
    last = of(subject).first()
    name = f"admin:llmapp_{model_admin.opts.model_name}"
    return {
        "probe_url": reverse(f"{name}_start_probe", args=[subject.pk]),
        "probe_label": label(subject),
        "may_probe": model_admin.has_change_permission(request, subject),
        "last_probe": last,
        "last_verdict": verdict(subject),
        "last_probe_url": reverse(f"{name}_probe", args=[subject.pk, last.pk]) if last else "",
    }


def label(subject: Provider | LanguageModel) -> str:
    return _("Check this model") if isinstance(subject, LanguageModel) else _("Test connection")


def of(subject: Provider | LanguageModel) -> QuerySet[Probe]:
    """Return the probes of a model, or of a provider's connection."""
    rows = Probe.objects.filter(attempt=None).order_by("-created_at")
    if isinstance(subject, LanguageModel):
        return rows.filter(model=subject)
    return rows.filter(provider=subject, model=None)


def with_last(rows: QuerySet[Subject]) -> QuerySet[Subject]:
    """Let each row know how its last probe ended, and when."""
    ended = Probe.objects.filter(attempt=None).exclude(ended_at=None).order_by("-created_at")
    if rows.model is LanguageModel:
        ended = ended.filter(model=OuterRef("pk"))
    else:
        ended = ended.filter(provider=OuterRef("pk"), model=None)
    return rows.annotate(
        last_passed=Subquery(ended.values("passed")[:1]), last_ended=Subquery(ended.values("ended_at")[:1])
    )


def verdict(row: Any) -> str:
    """Return the badge of a row of `with_last`."""
    if row.last_passed is None:
        return look.DASH
    word = _("passed") if row.last_passed else _("failed")
    when = look.ago(row.last_ended, timezone.now())
    return look.badge("ok" if row.last_passed else "failed", f"{word}, {when}")


#: How a probe stands -> what it counts as for the page.
STATES = {"lost": "failed", "way_clear": "passed", "answered": "passed"}


def described(row: Probe) -> dict[str, Any]:
    """Return how a probe stands, in words."""
    stages = [_stage(stage) for stage in row.stages]
    standing = probe.standing(row, db_now(), live_workers().exists())
    failed = next((stage["message"] for stage in stages if stage["state"] == probe.FAILED), "")
    if standing == "passed" and any(stage["code"] == "no_model" for stage in row.stages):
        standing = "way_clear"
    if standing == "passed" and row.kind == Probe.Kind.REQUEST:
        standing = "answered"
    over = standing in ("passed", "way_clear", "answered", "failed", "lost")
    state = STATES.get(standing, standing) if over else "going_on"
    return {"state": state, "message": summary(standing, failed, worker_command()), "stages": stages}


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    words = {
        probe.OK: _("ok"),
        probe.FAILED: _("failed"),
        probe.SKIPPED: _("skipped"),
        probe.RUNNING: _("…"),
        probe.UNCLEAR: _("unclear"),
    }
    state = stage["state"]
    return {
        "state": state,
        "colour": look.COLOURS.get(state, "warn"),
        "word": words[state],
        "title": title(stage["name"]),
        "took": look.seconds(stage["seconds"]) if stage["seconds"] is not None else "",
        "message": sentence(stage["code"], stage["values"]) if stage["code"] else "",
        "detail": stage["detail"],
    }
