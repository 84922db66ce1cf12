"""What the pages of the admin have in common: who may do what, and their one style sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse

Row = TypeVar("Row", bound=models.Model)
Parent = TypeVar("Parent", bound=models.Model)

STYLE = "llmapp/admin/admin.css"

if TYPE_CHECKING:
    StockAdmin = admin.ModelAdmin
    StockInline = admin.TabularInline
    RowForm = forms.ModelForm
else:
    # Django's own classes take no parameters when they run.

    class StockAdmin(admin.ModelAdmin):
        def __class_getitem__(cls, item: object) -> type:
            return cls

    class StockInline(admin.TabularInline):
        def __class_getitem__(cls, item: object) -> type:
            return cls

    class RowForm(forms.ModelForm):
        def __class_getitem__(cls, item: object) -> type:
            return cls


class AppAdmin(StockAdmin[Row]):
    """A stock `ModelAdmin` with our style sheet."""

    class Media:
        css = {"all": [STYLE]}

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), **self.more_context(request, object_id)}
        return super().change_view(request, object_id, form_url, extra)

    def more_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        """Return what the template of the page of one row needs beyond the admin's own."""
        return {}

    def may(self, request: HttpRequest, codename: str) -> bool:
        """Say whether the user has a permission of this app."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))


class LookOnly(AppAdmin[Row]):
    """For what the app itself writes: people look at it."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LookOnlyInline(StockInline[Row, Parent]):
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
