"""The overview: what runs did today and lately, what went wrong, what it cost, how long people waited."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp.core.run_state import ACTIVE, RunStatus
from llmapp.models import Overview
from llmapp.models.runs import STATUSES

from . import charts, key_states, look, now, periods
from .base import LookOnly
from .charts import Chart
from .parts import Line, Table, Tile
from .statistics import Figures, Group, Statistics, largest, statistics

#: The order in a stack, from its foot up, and the colour of each.
STACK = [
    (RunStatus.COMPLETED, "good"),
    (RunStatus.REQUIRES_ACTION, "second"),
    (RunStatus.CANCELLED, "quiet"),
    (RunStatus.INCOMPLETE, "warn"),
    (RunStatus.FAILED, "bad"),
    (RunStatus.IN_PROGRESS, "busy"),
    (RunStatus.QUEUED, "busy"),
]
WORDS = dict(STATUSES)

DEFAULT_DAYS = 7


@admin.register(Overview)
class OverviewAdmin(LookOnly[Overview]):
    """The list of a model without a table of its own: the page is its list."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "view_run")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {"add": False, "change": False, "delete": False, "view": self.has_view_permission(request)}

    def get_urls(self) -> list[URLPattern]:
        # No page for a single one: that is what the admin of runs is for.
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="llmapp_overview_changelist")]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        days = _chosen(request)
        period = periods.period(days)
        found = statistics(period)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Overview"),
            "opts": self.opts,
            "media": self.media,
            "choices": [(length, periods.name(length), length == days) for length in periods.LENGTHS],
            "warnings": key_states.warnings() if self.may(request, "view_provider") else [],
            **now.context(self.may(request, "view_worker")),
            "tiles": tiles(found.total),
            "charts": charts_of(period, found),
            "over_time": over_time(period, found),
            "tables": tables(found),
            "total": found.total,
        }
        return TemplateResponse(request, "admin/llmapp/overview/change_list.html", context)


def _chosen(request: HttpRequest) -> int:
    asked = request.GET.get("days", "")
    return int(asked) if asked in map(str, periods.LENGTHS) else DEFAULT_DAYS


# -- the page's parts


def tiles(total: Figures) -> list[Tile]:
    active = sum(total.by_status.get(status, 0) for status in ACTIVE)
    unknown = _("and %(number)s runs of unknown cost") % {"number": look.count(total.unknown_cost)}
    return [
        Tile(_("Runs"), look.count(total.runs), _("%(number)s active") % {"number": look.count(active)}),
        Tile(_("Went wrong"), look.count(total.bad), look.percent(total.bad, total.ended)),
        Tile(_("Cost"), look.known(total.cost, total.unknown_cost), unknown if total.unknown_cost else ""),
        Tile(_("Input tokens"), look.compact(total.input_tokens)),
        Tile(_("Output tokens"), look.compact(total.output_tokens)),
        Tile(
            _("First token, median"),
            look.seconds(total.p50),
            _("%(time)s for 95 %% of answers") % {"time": look.seconds(total.p95)},
        ),
    ]


def charts_of(period: periods.Period, found: Statistics) -> list[Chart]:
    names = [slot.label for slot in period.slots]
    slots = found.slots
    runs = [(kind, str(WORDS[status]), [slot.by_status.get(status, 0) for slot in slots]) for status, kind in STACK]
    cost = [("main", "", [float(slot.cost or 0) for slot in slots])]
    tokens = [
        ("main", _("in"), [slot.input_tokens or 0 for slot in slots]),
        ("second", _("out"), [slot.output_tokens or 0 for slot in slots]),
    ]
    waits = [
        ("main", _("median"), [slot.p50 for slot in slots]),
        ("second", _("for 95 %"), [slot.p95 for slot in slots]),
    ]
    return [
        charts.stacked(_("Runs by status"), names, runs, lambda value: look.count(int(value))),
        charts.stacked(_("Cost"), names, cost, look.money),
        charts.stacked(_("Tokens"), names, tokens, lambda value: look.compact(int(value))),
        charts.lines(_("Time to the first token"), names, waits, look.seconds),
    ]


def over_time(period: periods.Period, found: Statistics) -> Table:
    columns = [_("Hour") if period.days == 1 else _("Day"), *_columns(gettext_lazy("Runs"))]
    lines = []
    for slot, figures in zip(period.slots, found.slots, strict=True):
        if figures.runs or period.days != 1:
            url = _runs(day=slot.day.isoformat()) if slot.day else ""
            lines.append(Line(slot.label, url, _cells(figures, figures.runs, figures.bad)))
    return Table(_("Over time"), columns, lines[::-1])


def tables(found: Statistics) -> list[Table]:
    return [
        _by_status(found.total),
        _failures(found),
        _grouped(_("Agents"), gettext_lazy("Runs"), found.agents, "agent_slug"),
        _grouped(_("Models"), gettext_lazy("Attempts"), found.models, "model_name"),
        _grouped(_("Users"), gettext_lazy("Runs"), found.users, "q"),
    ]


def _by_status(total: Figures) -> Table:
    lines = [
        Line(
            str(WORDS[status]),
            _runs(status__exact=status.value),
            [look.count(number), look.percent(number, total.runs)],
            charts.share(number, total.runs),
            kind,
        )
        for status, kind in STACK
        if (number := total.by_status.get(status, 0))
    ]
    return Table(_("By status"), [_("Status"), _("Runs"), _("Share")], lines)


def _failures(found: Statistics) -> Table:
    most = max((number for _kind, number in found.failures), default=0)
    lines = [
        Line(
            kind or look.DASH,
            _runs(error_kind__exact=kind),
            [look.count(number), look.percent(number, found.total.bad)],
            charts.share(number, most),
            "bad",
        )
        for kind, number in found.failures
    ]
    return Table(_("Failures by kind"), [_("Kind"), _("Runs"), _("Share")], lines)


def _grouped(title: str, counted: Any, groups: list[Group], parameter: str) -> Table:
    most = largest(groups)
    lines = [
        Line(
            *_named(group.name, parameter),
            _cells(group.figures, group.asked, group.bad, with_times=parameter != "q"),
            charts.share(group.asked, most),
            "main",
        )
        for group in groups
    ]
    columns = _columns(counted)
    return Table(title, [_("Name"), *(columns if parameter != "q" else columns[:-1])], lines)


def _named(name: str, parameter: str) -> tuple[str, str]:
    """Return what a group is called, and where its runs are. Users without a name are visitors without an account."""
    if parameter == "q" and not name:
        return _("Visitors"), _runs(owner="visitor")
    return name or look.DASH, _runs(**{parameter: name})


def _columns(counted: Any) -> list[Any]:
    wrong, tokens, cost = gettext_lazy("Went wrong"), gettext_lazy("Tokens in / out"), gettext_lazy("Cost")
    return [counted, wrong, tokens, cost, f"{_('First token, median')} / {_('for 95 %')}"]


def _cells(figures: Figures, asked: int, bad: int, with_times: bool = True) -> list[str]:
    cells = [
        look.count(asked),
        look.count(bad),
        f"{look.compact(figures.input_tokens)} / {look.compact(figures.output_tokens)}",
        look.known(figures.cost, figures.unknown_cost),
    ]
    return [*cells, f"{look.seconds(figures.p50)} / {look.seconds(figures.p95)}"] if with_times else cells


def _runs(**filters: str) -> str:
    return f"{reverse('admin:llmapp_run_changelist')}?{urlencode(filters)}"
