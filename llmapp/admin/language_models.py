"""Models: what they cost, what they take, what a check found out, and which agents use them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp import versions
from llmapp.models import AgentSettings, LanguageModel

from . import look, model_health, probes
from .base import RowForm
from .capabilities import described
from .recorded import Recorded

ABOUT = {
    "name": gettext_lazy("What agents and people here call it."),
    "model": gettext_lazy("Exactly as the provider writes it, such as gpt-4o-mini."),
}


class LanguageModelForm(RowForm[LanguageModel]):
    class Meta:
        model = LanguageModel
        fields = "__all__"  # the admin's fieldsets choose

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, text in ABOUT.items():
            if name in self.fields:
                self.fields[name].help_text = text
        for name in ("cached_input_price", "cache_write_price", "output_price"):
            if name in self.fields:
                self.fields[name].help_text = self.fields["input_price"].help_text


@admin.register(LanguageModel)
class LanguageModelAdmin(Recorded[LanguageModel]):
    form = LanguageModelForm
    change_form_template = probes.CHANGE_FORM
    list_display = ["name", "provider", "model", "context_window", "price", "users", "checked", "enabled"]
    list_filter = ["provider", "enabled"]
    list_select_related = ["provider"]
    search_fields = ["name", "model", "provider__name"]
    fieldsets = [
        (None, {"fields": ["name", "provider", "model", "enabled"]}),
        (gettext_lazy("Limits"), {"fields": [("context_window", "max_output_tokens", "tokens_per_minute")]}),
        (
            gettext_lazy("Prices"),
            {"fields": [("input_price", "cached_input_price"), ("cache_write_price", "output_price")]},
        ),
        (gettext_lazy("How to speak to it"), {"fields": [("streaming", "system_role"), "what_works"]}),
        (gettext_lazy("How it does"), {"fields": ["health", "lessons"]}),
    ]
    readonly_fields = ["what_works", "health", "lessons"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LanguageModel]:
        return probes.with_last(super().get_queryset(request).annotate(agent_count=Count("agents")))

    @admin.display(description=gettext_lazy("price in / out"))
    def price(self, model: LanguageModel) -> str:
        if model.input_price is None and model.output_price is None:
            return _("unknown")
        return f"{look.money(model.input_price)} / {look.money(model.output_price)}"

    @admin.display(description=gettext_lazy("agents"), ordering="agent_count")
    def users(self, model: Any) -> str:
        return look.count(model.agent_count)

    @admin.display(description=gettext_lazy("last check"))
    def checked(self, model: Any) -> str:
        return probes.verdict(model)

    @admin.display(description=gettext_lazy("what works"))
    def what_works(self, model: LanguageModel) -> str:
        features = described(model.capabilities) if model.pk else []
        if not features:
            return _("Not known yet. Save, then press “Check this model”.")
        rows = format_html_join("", "<li>{} {}</li>", ((look.badge(f.state, f.word), f.name) for f in features))
        return format_html('<ul class="llmapp-features">{}</ul>', rows)

    @admin.display(description=gettext_lazy("now"))
    def health(self, model: LanguageModel) -> str:
        return model_health.health_of(model) if model.pk else look.DASH

    @admin.display(description=gettext_lazy("what its provider said"))
    def lessons(self, model: LanguageModel) -> str:
        return model_health.lessons_of(model) if model.pk else look.DASH

    # -- agents name their fallbacks

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: LanguageModel, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "name" in form.changed_data:
            self._rename(request, form.initial["name"], obj.name)

    def _rename(self, request: HttpRequest, old: str, new: str) -> None:
        """Let agents follow: those that use it have a new version, and those that only name it a new name."""
        for agent in AgentSettings.objects.select_related("model"):
            if old in (*agent.fallbacks, agent.summary_model):
                agent.fallbacks = [new if name == old else name for name in agent.fallbacks]
                agent.summary_model = new if agent.summary_model == old else agent.summary_model
                agent.save(update_fields=["fallbacks", "summary_model"])
            versions.record(agent, request.user)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse while an agent falls back on it or summarises with it: the database sees only its own model."""
        listed, counts, missing, protected = super().get_deleted_objects(objs, request)
        names = {model.name for model in objs}
        for agent in AgentSettings.objects.all():
            for name in sorted(names & set(agent.fallbacks)):
                text = _("Agent %(agent)s falls back on %(model)s") % {"agent": agent.slug, "model": name}
                protected.append(look.link(agent, text))
            if agent.summary_model in names:
                text = _("Agent %(agent)s summarises with %(model)s")
                protected.append(look.link(agent, text % {"agent": agent.slug, "model": agent.summary_model}))
        return listed, counts, missing, protected

    # -- does it answer, and what can it do?

    def get_urls(self) -> list[URLPattern]:
        return [*probes.urls(self), *model_health.urls(self), *super().get_urls()]

    def next_step(self, request: HttpRequest, obj: LanguageModel) -> str:
        text = _("Next: add an agent that uses this model.")
        return look.next_step(text, f"{reverse('admin:llmapp_agentsettings_add')}?model={obj.pk}")

    def more_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        model = self.get_object(request, object_id)
        tools = model_health.tools(model) if model is not None else []
        return {**probes.button(self, request, object_id), "tools": tools}
