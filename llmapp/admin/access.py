"""API tokens: whose they are, how long they are good for, and the end of one. The token itself is nowhere."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from llmapp.models import ApiToken

from . import look
from .base import LookOnly


@admin.register(ApiToken)
class ApiTokenAdmin(LookOnly[ApiToken]):
    list_display = ["__str__", "user", "state", "created_at", "expires_at", "revoked_at"]
    list_select_related = ["user"]
    list_filter = ["created_at"]
    fields = ["user", "hint", "state", "created_at", "expires_at", "revoked_at"]
    actions = ["revoke"]

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        return [f"user__{get_user_model().USERNAME_FIELD}", "=hint"]

    @admin.display(description=gettext_lazy("status"))
    def state(self, token: ApiToken) -> str:
        if token.revoked_at is not None:
            return look.badge("revoked", _("revoked"))
        if token.expires_at is not None and token.expires_at <= timezone.now():
            return look.badge("expired", _("expired"))
        return look.badge("active", _("valid"))

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "change_apitoken")

    @admin.action(description=gettext_lazy("Revoke the selected tokens"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """End tokens at once and for good. Each is written down in the history."""
        tokens: list[Any] = list(queryset.filter(revoked_at=None))
        ApiToken.objects.filter(pk__in=[token.pk for token in tokens], revoked_at=None).update(
            revoked_at=timezone.now()
        )
        for token in tokens:
            self.log_change(request, token, _("Revoked."))
        text = ngettext("%(number)d token is revoked.", "%(number)d tokens are revoked.", len(tokens))
        messages.success(request, text % {"number": len(tokens)})
