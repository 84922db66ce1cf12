"""For what is part of the configuration: each change in the admin is a version of the whole."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from llmapp import history

from .base import AppAdmin, Row


class Recorded(AppAdmin[Row]):
    """Keeps what there is before and after each change, in the transaction of the change."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        history.record_what_was_found()
        super().save_model(request, obj, form, change)

    # The admin logs an addition or a change when all of it is written: keys, groups and what follows from them.

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        history.record(request.user)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        history.record(request.user)
        return super().log_change(request, obj, message)

    # What to do next is said once, to whoever sets it up for the first time.

    def response_add(self, request: HttpRequest, obj: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().response_add(request, obj, *args, **kwargs)
        if "_popup" not in request.POST and (step := self.next_step(request, obj)):
            messages.info(request, step)
        return response

    def next_step(self, request: HttpRequest, obj: Any) -> str:
        """Return what a person who has just added this row would do now, or an empty text."""
        return ""

    # A deletion is logged before it is made.

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        history.record_what_was_found()
        super().delete_model(request, obj)
        history.record(request.user)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Row]) -> None:
        history.record_what_was_found()
        super().delete_queryset(request, queryset)
        history.record(request.user)
