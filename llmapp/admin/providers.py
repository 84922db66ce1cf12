"""Providers: where they are, their keys, their models, and whether they answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters

from llmapp.models import Credential, LanguageModel, Provider

from . import key_states, look, probes
from .base import LookOnlyInline, StockInline
from .provider_forms import LABELS, CredentialForm, ProviderForm
from .recorded import Recorded


class CredentialInline(StockInline[Credential, Provider]):
    """The pool. The first usable key is taken; another one where that fails."""

    model = Credential
    form = CredentialForm
    extra = 0
    # One below the other: a row of a table would be wider than a phone, with the box to delete a key out of sight.
    template = "admin/edit_inline/stacked.html"
    fields = [("key", "ends_with"), ("position", "enabled"), "stands"]
    readonly_fields = ["ends_with", "stands"]
    verbose_name = gettext_lazy("key")
    verbose_name_plural = gettext_lazy("keys (stored encrypted, never shown again)")

    def get_extra(self, request: HttpRequest, obj: Provider | None = None, **kwargs: Any) -> int:
        return 0 if obj is not None and obj.credentials.exists() else 1

    @admin.display(description=gettext_lazy("ends with"))
    def ends_with(self, credential: Credential) -> str:
        if credential.pk is None:
            return look.DASH
        return f"…{credential.hint}" if credential.hint else _("not shown")

    @admin.display(description=gettext_lazy("state"))
    def stands(self, credential: Credential) -> str:
        return look.DASH if credential.pk is None else key_states.described(credential, timezone.now())


class ModelInline(LookOnlyInline[LanguageModel, Provider]):
    """The models that it serves, with a way to each."""

    model = LanguageModel
    fields = ["name", "model", "enabled"]
    verbose_name_plural = gettext_lazy("models of this provider")


@admin.register(Provider)
class ProviderAdmin(Recorded[Provider]):
    form = ProviderForm
    change_form_template = probes.CHANGE_FORM
    list_display = ["name", "backend", "base_url", "keys", "served", "tested", "enabled"]
    list_filter = ["backend", "enabled"]
    search_fields = ["name", "base_url"]
    fieldsets = [
        (None, {"fields": ["name", "enabled", "backend", "base_url", "key_strategy"]}),
        (
            gettext_lazy("Timeouts of one attempt"),
            {
                "fields": [("timeout_connect", "timeout_first_token"), ("timeout_idle", "timeout_total")],
                "description": gettext_lazy("Leave empty for the value that is shown in the field."),
            },
        ),
        (gettext_lazy("Headers and options"), {"fields": ["headers", "options"], "classes": ["collapse"]}),
    ]

    readonly_fields = ["timeouts_now"]

    def get_fieldsets(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        """Show the timeouts as they are to somebody who may not change them: their fields exist in the form only."""
        if self.has_change_permission(request, obj) if obj else self.has_add_permission(request):
            return self.fieldsets
        head, timeouts, rest = self.fieldsets
        return [head, (timeouts[0], {"fields": ["timeouts_now"]}), rest]

    @admin.display(description=gettext_lazy("timeouts"))
    def timeouts_now(self, provider: Provider) -> str:
        now = asdict(provider.effective_timeouts)
        return ", ".join(f"{LABELS[name][0]}: {look.seconds(value)}" for name, value in now.items())

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        pool = Count("credentials", distinct=True)
        rows = super().get_queryset(request).annotate(key_count=pool, model_count=Count("models", distinct=True))
        return probes.with_last(key_states.with_refused(rows))

    def get_inlines(self, request: HttpRequest, obj: Provider | None) -> list[Any]:
        return [CredentialInline, ModelInline] if obj is not None and obj.models.exists() else [CredentialInline]

    @admin.display(description=gettext_lazy("keys"), ordering="key_count")
    def keys(self, provider: Any) -> str:
        number = look.count(provider.key_count)
        if not provider.refused_count:
            return number
        return format_html("{} {}", number, look.badge("failed", key_states.refused(provider.refused_count)))

    @admin.display(description=gettext_lazy("models"), ordering="model_count")
    def served(self, provider: Any) -> str:
        return look.count(provider.model_count)

    @admin.display(description=gettext_lazy("last test"))
    def tested(self, provider: Any) -> str:
        return probes.verdict(provider)

    # -- keys never leave

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if change and form.moved:
            self._drop_keys(request, form.instance, formsets)

    def _drop_keys(self, request: HttpRequest, provider: Provider, formsets: Any) -> None:
        """Forget the keys that were meant for another place, except those which were typed just now."""
        typed = [
            form.instance.pk
            for formset in formsets
            if formset.model is Credential
            for form in formset.forms
            if form.typed
        ]
        dropped, _rows = provider.credentials.exclude(pk__in=typed).delete()
        if dropped:
            text = ngettext(
                "The address has changed, so the key was dropped. Type it again.",
                "The address has changed, so %(number)d keys were dropped. Type them again.",
                dropped,
            )
            messages.warning(request, text % {"number": dropped})

    def next_step(self, request: HttpRequest, obj: Provider) -> str:
        url = f"{reverse('admin:llmapp_languagemodel_add')}?provider={obj.pk}"
        return look.next_step(_("Next: add a model of this provider. Then its key can be tested."), url)

    # -- does it answer?

    def get_urls(self) -> list[URLPattern]:
        return [*probes.urls(self), *key_states.urls(self), *super().get_urls()]

    def more_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        provider = self.get_object(request, object_id)
        tools = key_states.tools(provider) if provider is not None else []
        return {**probes.button(self, request, object_id), "tools": tools}
