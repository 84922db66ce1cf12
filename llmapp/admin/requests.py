"""A request of a run as it was sent, and the button that sends it once more.

Both show what people wrote: they take the permission to read it, and each reading is written down. A key is never
here: what is stored of a request has none, and of the key that was used its last characters are shown.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from llmapp.backends.openai_format import limit_name, request_body
from llmapp.masks import masked
from llmapp.models import Attempt, Probe, Run
from llmapp.runs import probe
from llmapp.runs.requests import Gone, rebuilt

from . import look, reading
from .probes import described

if TYPE_CHECKING:
    from .runs import RunAdmin


class RequestPages:
    """Below the page of a run: a request, and what came back when it was sent again."""

    def __init__(self, run_admin: RunAdmin) -> None:
        self._admin = run_admin

    def page(self, request: HttpRequest, id: Any, number: int) -> HttpResponse:
        run, attempt = self._attempt(request, id, number)
        reading.note(request, run)
        more = {
            "title": _("Request of an attempt"),
            "facts": facts(attempt),
            "body": body(attempt),
            "may_send": self._may_send(request) and attempt.model is not None and attempt.request is not None,
            "send_url": reverse("admin:llmapp_run_send_again", args=[run.pk, attempt.pk]),
            "sent": [(row, self._url(run, attempt, row)) for row in attempt.probes.all()[:10]],
        }
        return self._answer(request, "admin/llmapp/run/request.html", run, attempt, more)

    @method_decorator(require_POST)
    def send(self, request: HttpRequest, id: Any, number: int) -> HttpResponse:
        run, attempt = self._attempt(request, id, number)
        if not self._may_send(request):
            raise PermissionDenied
        if attempt.model is None or attempt.request is None:
            raise Http404
        row = probe.start_again(attempt, request.user)
        self._admin.log_change(request, run, _("Sent a request again."))
        return HttpResponseRedirect(self._url(run, attempt, row))

    def sent(self, request: HttpRequest, id: Any, number: int, probe_id: Any) -> HttpResponse:
        run, attempt = self._attempt(request, id, number)
        row = _probe(attempt, probe_id)
        reading.note(request, run)
        arguments = [run.pk, attempt.pk, row.pk]
        more = {
            "title": _("Request sent again"),
            "state": told(row),
            "state_url": reverse("admin:llmapp_run_sent_state", args=arguments),
            "again_url": reverse("admin:llmapp_run_send_again", args=arguments[:2]),
            "may_probe": self._may_send(request) and attempt.model is not None,
        }
        return self._answer(request, "admin/llmapp/run/sent.html", run, attempt, more)

    def state(self, request: HttpRequest, id: Any, number: int, probe_id: Any) -> HttpResponse:
        """Answer with what the page shows, as the pages of other probes do, and with what came back."""
        _run, attempt = self._attempt(request, id, number)
        response = JsonResponse(told(_probe(attempt, probe_id)))
        response.headers["Cache-Control"] = "no-store"
        return response

    def _attempt(self, request: HttpRequest, id: Any, number: int) -> tuple[Run, Attempt]:
        run = self._admin.run_of(request, id)
        if not reading.may_read(request):
            raise PermissionDenied
        rows = Attempt.objects.select_related("model__provider", "credential").filter(call__run=run)
        attempt = rows.filter(pk=number).first()
        if attempt is None:
            raise Http404
        return run, attempt

    def _may_send(self, request: HttpRequest) -> bool:
        return self._admin.may(request, "change_run") and reading.may_read(request)

    def _url(self, run: Run, attempt: Attempt, row: Probe) -> str:
        return reverse("admin:llmapp_run_sent", args=[run.pk, attempt.pk, row.pk])

    def _answer(
        self, request: HttpRequest, template: str, run: Run, attempt: Attempt, more: dict[str, Any]
    ) -> HttpResponse:
        context = {
            **self._admin.admin_site.each_context(request),
            "subtitle": _("attempt %(number)s") % {"number": attempt.number},
            "opts": self._admin.opts,
            "run": run,
            "attempt": attempt,
            "media": self._admin.media,
            **more,
        }
        return TemplateResponse(request, template, context)


def urls(run_admin: RunAdmin) -> list[URLPattern]:
    pages, site = RequestPages(run_admin), run_admin.admin_site.admin_view
    below = "<uuid:id>/attempts/<int:number>/"
    return [
        path(f"{below}request/", site(pages.page), name="llmapp_run_request"),
        path(f"{below}again/", site(pages.send), name="llmapp_run_send_again"),
        path(f"{below}again/<uuid:probe_id>/", site(pages.sent), name="llmapp_run_sent"),
        path(f"{below}again/<uuid:probe_id>/state/", site(pages.state), name="llmapp_run_sent_state"),
    ]


def facts(attempt: Attempt) -> list[tuple[str, Any]]:
    """Return what a request has beside its body."""
    model, key = attempt.model, attempt.credential
    return [
        (_("Provider"), look.link(model.provider) if model else look.DASH),
        (_("Model"), look.link(model) if model else attempt.model_name),
        (_("Key"), f"…{key.hint}" if key else look.DASH),
        (_("Result"), attempt.error_kind or attempt.finish_reason or look.DASH),
    ]


def body(attempt: Attempt) -> str:
    """Return the JSON body in the OpenAI format, "" where nothing is stored of it or messages are gone."""
    if attempt.request is None:
        return ""
    try:
        request = rebuilt(attempt.request)
    except Gone:
        return ""
    provider = attempt.model.provider if attempt.model else None
    options = provider.options if provider else {}
    found = request_body(request, options, limit_name(provider.base_url if provider else "", options))
    asked = {name: value if name in ("messages", "tools") else masked(value, name) for name, value in found.items()}
    return json.dumps(asked, ensure_ascii=False, indent=2)


def told(row: Probe) -> dict[str, Any]:
    """Return how it stands, and of one that is over what came back."""
    return described(row) | {"outcome": _outcome(row.outcome) if row.outcome else None}


def _outcome(kept: dict[str, Any]) -> dict[str, Any]:
    tokens = kept["tokens"]
    facts = [
        (_("Result"), kept["kind"] or kept["finish_reason"]),
        ("HTTP", kept["status"]),
        (_("Key"), f"…{kept['key']}" if kept["key"] else ""),
        (_("First token"), look.seconds(kept["first_token"])),
        (_("Took"), look.seconds(kept["seconds"])),
        (_("Tokens in / out"), f"{look.count(tokens.get('input_tokens'))} / {look.count(tokens.get('output_tokens'))}"),
        (_("Cost"), look.money(None if kept["cost"] is None else Decimal(kept["cost"]))),
    ]
    shown = [[name, str(value)] for name, value in facts if value not in (None, "")]
    texts = [(_("Reasoning"), kept["reasoning"]), (_("Answer"), kept["text"])]
    return {"facts": shown, "texts": [[name, text] for name, text in texts if text]}


def _probe(attempt: Attempt, probe_id: Any) -> Probe:
    row = attempt.probes.filter(pk=probe_id).first()
    if row is None:
        raise Http404
    return row
