"""The history of an agent: who changed what and when, as a difference, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from llmapp import versions
from llmapp.models import AgentSettings, AgentVersion

from .changed import Change, changes


@dataclass(frozen=True, slots=True)
class Entry:
    version: AgentVersion
    changes: list[Change]
    is_current: bool


class VersionPages:
    """The pages of `AgentAdmin` about versions. To look takes the right to view, to restore the right to change."""

    def __init__(self, model_admin: admin.ModelAdmin[AgentSettings]) -> None:
        self._admin = model_admin

    def history(self, request: HttpRequest, id: str) -> HttpResponse:
        agent = self._agent(request, id)
        if not self._admin.has_view_or_change_permission(request, agent):
            raise PermissionDenied
        context = {
            **self._admin.admin_site.each_context(request),
            "title": _("Versions of %(agent)s") % {"agent": agent},
            "opts": self._admin.opts,
            "agent": agent,
            "entries": list(entries(agent)),
            "may_restore": self._admin.has_change_permission(request, agent),
            "media": self._admin.media,
        }
        return TemplateResponse(request, "admin/llmapp/agentsettings/versions.html", context)

    @method_decorator(require_POST)
    def restore(self, request: HttpRequest, id: str, number: int) -> HttpResponse:
        agent = self._agent(request, id)
        if not self._admin.has_change_permission(request, agent):
            raise PermissionDenied
        version = get_object_or_404(AgentVersion, agent=agent, number=number)
        try:
            new = versions.restore(version, request.user)
        except versions.CannotRestore as error:
            messages.error(request, str(error))
        else:
            self._say(request, agent, number, new)
        return HttpResponseRedirect(reverse("admin:llmapp_agentsettings_versions", args=[agent.pk]))

    def _say(self, request: HttpRequest, agent: AgentSettings, number: int, new: AgentVersion | None) -> None:
        if new is None:
            messages.info(request, _("It is what version %(number)d says already.") % {"number": number})
            return
        text = _("Version %(number)d is restored, as version %(new)d.") % {"number": number, "new": new.number}
        self._admin.log_change(request, agent, text)
        messages.success(request, text)

    def _agent(self, request: HttpRequest, id: str) -> AgentSettings:
        agent = self._admin.get_object(request, id)
        if agent is None:
            raise Http404
        return agent


def entries(agent: AgentSettings) -> Iterator[Entry]:
    """Give the versions of an agent, newest first, each with what it changed."""
    rows = list(agent.versions.select_related("changed_by"))
    current = versions.values_of(agent)
    for at, version in enumerate(rows):
        before = rows[at + 1].values if at + 1 < len(rows) else {}
        yield Entry(
            version, list(changes(AgentSettings, before, version.values)), at == 0 and version.values == current
        )
