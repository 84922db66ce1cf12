"""What goes on at this moment, for the overview: figures, what is wrong, and the most silent of what is open."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from llmapp import comparison
from llmapp.models import Alarm
from llmapp.runs import mails
from llmapp.runs import now as now_
from llmapp.runs.now import Closely, Now
from llmapp.runs.presence import WEBSOCKET

from . import look
from .parts import Line, Table, Tile

#: Streams and sockets that the page names.
SHOWN = 10


def tiles(found: Now) -> list[Tile]:
    active = _("%(number)s in progress") % {"number": look.count(found.runs_in_progress)}
    people = ngettext("%(number)s person", "%(number)s people", found.people) % {"number": look.count(found.people)}
    silence = _("longest silence %(time)s") % {"time": look.seconds(found.longest_silence_seconds)}
    places = ngettext("%(number)s place", "%(number)s places", found.places) % {"number": look.count(found.places)}
    return [
        Tile(_("Longest wait"), look.seconds(found.queue_lag_seconds), active),
        Tile(_("Workers"), look.count(found.workers_taking_runs), _with_trouble(places, found)),
        Tile(_("Open streams"), look.count(found.streams), silence if found.streams else ""),
        Tile(_("Connections"), look.count(found.websockets + found.event_streams), people),
        Tile(_("Oldest lease"), look.seconds(found.oldest_lease_seconds)),
        Tile(_("Last sweep"), look.seconds(found.last_sweep_seconds)),
    ]


def _with_trouble(places: str, found: Now) -> str:
    more = []
    if found.workers_unfit:
        more.append(_("%(number)s take no runs") % {"number": look.count(found.workers_unfit)})
    if found.workers_silent:
        more.append(_("%(number)s silent") % {"number": look.count(found.workers_silent)})
    return ", ".join([places, *more])


def warnings() -> list[SafeString]:
    """Return what is wrong now, and processes that differ, a sentence each with the way to it."""
    told = Alarm.objects.exclude(told_at=None).exclude(signal="slow_response").order_by("since")[:SHOWN]
    lines = [format_html("{}", mails.sentence(alarm.signal, alarm.facts)) for alarm in told]
    # The worst only: other versions of a package are for the page of the process.
    severe = [one for one in (*comparison.workers(), *comparison.webs()) if not one.well]
    return [*lines, *(format_html("{}: {}", look.link(one.process), "; ".join(one.severe)) for one in severe)]


def tables(closely: Closely) -> list[Table]:
    """Return the tables of what is open; none for what is not."""
    found = []
    if closely.streams:
        columns: list[Any] = [_("Model"), _("Silent for"), _("Age"), _("Tokens"), _("Worker")]
        found.append(Table(_("Open streams, the most silent first"), columns, _streams(closely)))
    if closely.sockets:
        columns = [_("Kind"), _("Silent for"), _("Age"), _("Web process")]
        found.append(Table(_("Connections, the most silent first"), columns, _sockets(closely)))
    return found


def _streams(closely: Closely) -> list[Line]:
    return [
        Line(
            one.model,
            reverse("admin:llmapp_run_change", args=[one.run]),
            [look.seconds(one.silence), look.seconds(one.age), f"≈ {look.count(one.tokens)}", one.worker],
        )
        for one in closely.streams[:SHOWN]
    ]


def _sockets(closely: Closely) -> list[Line]:
    return [
        Line(
            _("Websocket") if one.kind == WEBSOCKET else _("Event stream"),
            "",
            [look.seconds(one.silence), look.seconds(one.age), one.web],
        )
        for one in closely.sockets[:SHOWN]
    ]


def context(with_processes: bool) -> dict[str, Any]:
    """Return what the template shows of it."""
    found, closely = now_.look()
    return {
        "now_tiles": tiles(found),
        "now_tables": tables(closely),
        "now_warnings": warnings() if with_processes else [],
    }
