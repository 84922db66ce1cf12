"""Filters and searches of lists that may be long: none of them reads a whole table to offer its choices."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp.models import AgentSettings, LanguageModel, Visitor
from llmapp.runs.access import as_uuid

#: Days that are offered one by one.
DAYS = 7


def starts(day: date) -> datetime:
    """Return the first moment of a day in the zone that is active."""
    return timezone.make_aware(datetime.combine(day, time.min))


def of_day(rows: QuerySet[Any], day: date, field: str = "created_at") -> QuerySet[Any]:
    """Return the rows of a day, by comparison: an index on the field serves it."""
    return rows.filter(**{f"{field}__gte": starts(day), f"{field}__lt": starts(day + timedelta(days=1))})


class DayFilter(admin.SimpleListFilter):
    """One of the last days; the overview links to any other."""

    title = gettext_lazy("day")
    parameter_name = "day"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        today = timezone.localdate()
        days = [today - timedelta(days=back) for back in range(DAYS)]
        chosen = self._chosen()
        if chosen is not None and chosen not in days:
            days.append(chosen)
        return [(day.isoformat(), formats.date_format(day, "DATE_FORMAT")) for day in days]

    def _chosen(self) -> date | None:
        try:
            return date.fromisoformat(str(self.value() or ""))
        except ValueError:
            return None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        day = self._chosen()
        return queryset if day is None else of_day(queryset, day)


class OwnerFilter(admin.SimpleListFilter):
    title = gettext_lazy("user")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("user", gettext_lazy("Users")), ("visitor", gettext_lazy("Visitors"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("user", "visitor"):
            return queryset
        return queryset.filter(visitor__isnull=self.value() == "user")


class AgentFilter(admin.SimpleListFilter):
    title = gettext_lazy("agent")
    parameter_name = "agent_slug"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return with_chosen(self, [(agent.slug, agent.title) for agent in AgentSettings.objects.all()])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(agent_slug=self.value()) if self.value() else queryset


class ModelFilter(admin.SimpleListFilter):
    """The model that was asked last."""

    title = gettext_lazy("model")
    parameter_name = "model_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return with_chosen(self, [(name, name) for name in LanguageModel.objects.values_list("name", flat=True)])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model_name=self.value()) if self.value() else queryset


def with_chosen(filter: admin.SimpleListFilter, known: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Offer what is chosen too, when it is not there any more; runs remember its name."""
    chosen = filter.value()
    return [*known, (chosen, chosen)] if chosen and chosen not in dict(known) else known


class Owned:
    """Shows whose a row is, and searches by an id, ours, a client's or a visitor's, and by the name of the user."""

    @admin.display(description=gettext_lazy("user"), ordering="user")
    def owner(self, row: Any) -> str:
        return str(row.user) if row.visitor_id is None else str(Visitor(pk=row.visitor_id))

    @admin.display(description=gettext_lazy("user"))
    def whole_owner(self, row: Any) -> str:
        return str(row.user) if row.visitor_id is None else _("visitor {id}").format(id=row.visitor_id)

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        return [f"user__{get_user_model().USERNAME_FIELD}"]

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], term: str) -> tuple[Any, bool]:
        term = term.strip()
        if (id := as_uuid(term.lower())) is not None:
            return queryset.filter(Q(pk=id) | Q(client_id=term) | Q(visitor=id)), False
        found, distinct = super().get_search_results(request, queryset, term)  # type: ignore[misc]
        return (found | queryset.filter(client_id=term) if term else found), distinct
