"""Agents: instructions, models, limits, access. Each change is kept as a version, and can be taken back."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp import versions
from llmapp.models import AgentSettings, Run

from . import look
from .agent_form import AgentForm, known_models, passed_over, unusable
from .agent_versions import VersionPages
from .counts import number_of
from .recorded import Recorded
from .statistics import used_by


class AgentList(ChangeList):
    """The list, of which each agent knows its unusable models."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        agents: list[Any] = list(self.result_list)
        known = known_models(agents)
        for agent in agents:
            agent.unusable = passed_over(agent, known)
        self.result_list = agents


@admin.register(AgentSettings)
class AgentAdmin(Recorded[AgentSettings]):
    form = AgentForm
    list_display = ["title", "slug", "model", "fallback_chain", "passed_over", "access", "run_count", "enabled"]
    list_filter = ["enabled", "access", "model"]
    list_select_related = ["model"]
    search_fields = ["slug", "name", "description"]
    prepopulated_fields = {"slug": ["name"]}
    filter_horizontal = ["groups"]
    fieldsets = [
        (None, {"fields": ["name", "slug", "description", "enabled", "position"]}),
        (gettext_lazy("Who answers"), {"fields": ["model", "fallbacks", "summary_model", "instructions", "settings"]}),
        (gettext_lazy("Who may use it"), {"fields": ["access", "groups"]}),
        (
            gettext_lazy("Limits"),
            {"fields": [("timeout", "attempts", "max_turns"), ("timeout_limit", "violation_limit", "slow_after")]},
        ),
    ]
    readonly_fields = ["used"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgentSettings]:
        return super().get_queryset(request).annotate(number_of_runs=number_of(Run, "agent"))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        # `fallbacks` is a field that each form makes for its own agent: the factory must not ask for it.
        shown = flatten_fieldsets(self.get_fieldsets(request, obj))
        kwargs["fields"] = [name for name in shown if name != "fallbacks"]
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        sets = super().get_fieldsets(request, obj)
        return sets if obj is None else [*sets, (gettext_lazy("What its runs used"), {"fields": ["used"]})]

    @admin.display(description=gettext_lazy("used"))
    def used(self, agent: AgentSettings) -> str:
        return used_by(Run.objects.filter(agent=agent))

    @admin.display(description=gettext_lazy("agent"), ordering="name")
    def title(self, agent: AgentSettings) -> str:
        return agent.title

    @admin.display(description=gettext_lazy("fallbacks"))
    def fallback_chain(self, agent: AgentSettings) -> str:
        return ", ".join(agent.fallbacks) or look.DASH

    @admin.display(description=gettext_lazy("passed over"))
    def passed_over(self, agent: Any) -> str:
        """Warn of models that are deleted or disabled."""
        lines = ((look.badge("incomplete", text),) for text in agent.unusable)
        return format_html_join(" ", "{}", lines) or look.DASH

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return AgentList

    @admin.display(description=gettext_lazy("runs"), ordering="number_of_runs")
    def run_count(self, agent: Any) -> str:
        return look.count(agent.number_of_runs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Keep a version when everything that it holds is written, the groups included."""
        super().save_related(request, form, formsets, change)
        versions.record(form.instance, request.user)

    def view_on_site(self, agent: AgentSettings) -> str | None:
        """Lead to a new chat with it, where the site has our pages."""
        try:
            return f"{reverse('llmapp:chat')}?{urlencode({'agent': agent.slug})}"
        except NoReverseMatch:
            return None

    def next_step(self, request: HttpRequest, obj: AgentSettings) -> str:
        url = self.view_on_site(obj)
        return look.next_step(_("Next: chat with it."), url) if url else ""

    def more_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        agent = self.get_object(request, object_id)
        return {"warnings": unusable(agent, known_models([agent])) if agent is not None else []}

    def get_urls(self) -> list[URLPattern]:
        pages = VersionPages(self)
        site = self.admin_site.admin_view
        return [
            path("<path:id>/versions/", site(pages.history), name="llmapp_agentsettings_versions"),
            path("<path:id>/versions/<int:number>/restore/", site(pages.restore), name="llmapp_agentsettings_restore"),
            *super().get_urls(),
        ]
