"""The overview adds up what the runs say, in the zone of the site, and draws it without script or style."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from llmapp.admin import charts, look, periods
from llmapp.admin.statistics import statistics
from llmapp.models import Attempt, Conversation, Run

from .conftest import Site, add_run, body

PAGE = "/admin/llmapp/overview/"


def at(run: Run, moment: datetime, **fields: Any) -> None:
    """Move a run, and what it asked, in time."""
    Run.objects.filter(pk=run.pk).update(created_at=moment, **fields)
    Attempt.objects.filter(call__run=run).update(started_at=moment)


@pytest.fixture
def many(site: Site) -> list[Run]:
    """Runs of the last 40 days, of all that ended kinds."""
    chance = random.Random(7)
    Run.objects.all().delete()
    for _number in range(60):
        status = chance.choice(["completed", "completed", "failed", "incomplete", "cancelled"])
        run = add_run(site.conversation, site.agent, status, error_kind="timeout" if status == "failed" else "")
        cost = chance.choice([None, Decimal(chance.randrange(1, 9999)) / 10**6])
        moment = timezone.now() - timedelta(days=chance.random() * 40)
        at(run, moment, cost=cost, input_tokens=chance.choice([None, 10, 20]), agent_slug=chance.choice("ab"))
        for attempt in Attempt.objects.filter(call__run=run):
            Attempt.objects.filter(pk=attempt.pk).update(first_token=chance.choice([None, chance.random() * 5]))
    return list(Run.objects.all())


def total(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def percentile(values: list[float], share: float) -> float | None:
    """Return the smallest value such that this share of all is not above it."""
    ordered = sorted(values)
    return next((v for at, v in enumerate(ordered, start=1) if at / len(ordered) >= share), None)


@pytest.mark.parametrize("days", periods.LENGTHS)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/Los_Angeles"])
def test_the_database_adds_up_what_python_does(many: list[Run], days: int, zone: str) -> None:
    with timezone.override(ZoneInfo(zone)):
        period = periods.period(days)
        found = statistics(period)
        for place, slot in enumerate(period.slots):
            end = period.slots[place + 1].start if place + 1 < len(period.slots) else None
            runs = [r for r in many if r.created_at >= slot.start and (end is None or r.created_at < end)]
            figures = found.slots[place]
            assert figures.runs == len(runs)
            assert figures.cost == total([r.cost for r in runs])
            assert figures.input_tokens == total([r.input_tokens for r in runs])
            if slot.day is not None:
                assert all(timezone.localtime(r.created_at).date() == slot.day for r in runs)
            attempts = Attempt.objects.filter(call__run__in=runs).exclude(first_token=None)
            times = [round(a.first_token, 2) for a in attempts if a.first_token is not None]
            assert (figures.p50, figures.p95) == (percentile(times, 0.5), percentile(times, 0.95))
        inside = [r for r in many if r.created_at >= period.start]
        assert found.total.runs == len(inside) == sum(group.asked for group in found.agents)
        assert found.total.bad == sum(r.status in ("failed", "incomplete") for r in inside)
        assert found.total.unknown_cost == sum(r.cost is None for r in inside)
        assert sum(number for _kind, number in found.failures) == found.total.bad
        assert sum(group.asked for group in found.models) == 2 * len(inside)


def test_a_day_of_23_hours_has_23_slots() -> None:
    with timezone.override(ZoneInfo("Europe/Berlin")):
        assert len(periods._hours(datetime(2026, 3, 29).date())) == 23
        assert len(periods._hours(datetime(2026, 10, 25).date())) == 25
        assert len(periods._hours(datetime(2026, 7, 1).date())) == 24


@pytest.mark.parametrize("days", periods.LENGTHS)
def test_more_runs_take_no_more_queries(browser: Client, site: Site, days: int) -> None:
    path = f"{PAGE}?days={days}"
    browser.get(path)
    counts = []
    for _round in range(2):
        with CaptureQueriesContext(connection) as captured:
            browser.get(path)
        counts.append(len(captured))
        for number in range(3):
            conversation = Conversation.objects.create(user=site.conversation.user)
            add_run(conversation, site.agent, "completed", agent_slug=f"a{number}", model_name=f"m{number}")
    assert counts[0] == counts[1] <= 24


def test_the_page_says_what_there_is(browser: Client, site: Site) -> None:
    add_run(site.conversation, site.agent, "completed", cost=None)
    html = body(browser.get(f"{PAGE}?days=1"))
    for said in ["and 1 runs of unknown cost", "$0.001234", "overloaded", "helper", "small", "ada", "50.0 %"]:
        assert said in html, said


@pytest.mark.parametrize("days", ["", "2", "-1", "nonsense", "1e9"])
def test_a_period_that_is_not_offered_is_a_week(browser: Client, site: Site, days: str) -> None:
    html = body(browser.get(f"{PAGE}?days={days}"))
    assert '<a href="?days=7" aria-current="true">' in html


def test_an_empty_site_has_an_empty_overview(browser: Client) -> None:
    html = body(browser.get(PAGE))
    assert "Nobody has asked anything" in html
    assert html.count("Nothing known") == 4


def test_the_links_lead_to_the_runs_that_were_counted(browser: Client, site: Site) -> None:
    add_run(site.conversation, site.agent, "completed")
    html = body(browser.get(PAGE))
    day = timezone.localdate().isoformat()
    for query, number in [
        (f"day={day}", 2),
        ("status__exact=failed", 1),
        ("error_kind__exact=overloaded", 1),
        ("agent_slug=helper", 2),
        ("model_name=small", 2),
        ("q=ada", 2),
    ]:
        path = f"/admin/llmapp/run/?{query}"
        assert f'href="{path}"' in html
        assert browser.get(path).context["cl"].result_count == number


def test_charts_are_well_formed_and_inside_their_frame(browser: Client, many: list[Run]) -> None:
    html = body(browser.get(f"{PAGE}?days=30"))
    drawings = re.findall(r"<svg role=\"img\".*?</svg>", html, re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        for element in ElementTree.fromstring(drawing).iter():
            assert "style" not in element.attrib
            for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy"):
                assert 0 <= float(element.get(name, "0%").removesuffix("%")) <= 100
            if element.tag == "rect":
                assert float(element.attrib["y"][:-1]) + float(element.attrib["height"][:-1]) <= charts.BOTTOM + 0.02


def test_a_gap_in_what_is_known_is_a_gap_in_the_line() -> None:
    chart = charts.lines("t", ["a", "b", "c", "d"], [("main", "", [1.0, None, 2.0, 4.0])], look.seconds)
    assert len(chart.dots) == 3
    assert len(chart.segments) == 1
    assert chart.top == "4.00 s"


def test_a_stack_is_as_high_as_its_parts() -> None:
    chart = charts.stacked("t", ["a", "b"], [("x", "one", [1, 0]), ("y", "two", [3, 2])], str)
    assert [(bar.kind, bar.title) for bar in chart.bars] == [("x", "a: 1 one"), ("y", "a: 3 two"), ("y", "b: 2 two")]
    first, second, third = chart.bars
    assert first.y == f"{float(second.y[:-1]) + float(second.height[:-1]):.2f}%"
    assert second.y == f"{charts.TOP:.2f}%"
    assert float(third.height[:-1]) * 2 == pytest.approx(charts.BOTTOM - charts.TOP, abs=0.02)


@pytest.mark.parametrize(
    "amount, said",
    [
        (None, "–"),
        (Decimal(0), "$0.00"),
        (Decimal("0.0000001"), "< $0.000001"),
        (Decimal("0.000926"), "$0.000926"),
        (Decimal("0.01234"), "$0.0123"),
        (Decimal("12345.678"), "$12,345.68"),
    ],
)
def test_money(amount: Decimal | None, said: str) -> None:
    assert look.money(amount) == said


@pytest.mark.parametrize(
    "number, said",
    [(None, "–"), (0, "0"), (9999, "9,999"), (10_000, "10.0 k"), (99_949, "99.9 k"), (999_499, "999 k"),
     (999_500, "1.00 M"), (60_565_286, "60.6 M"), (1_234_567_890, "1.23 G")],
)  # fmt: skip
def test_counts_where_there_is_little_room(number: int | None, said: str) -> None:
    assert look.compact(number) == said


def test_numbers_are_written_as_the_reader_writes_them() -> None:
    with translation.override("de"):
        said = [look.money(Decimal("1234.5")), look.seconds(0.5), look.count(10_000), look.percent(2, 3)]
    assert [text.replace("\xa0", " ") for text in said] == ["$1.234,50", "0,50 s", "10.000", "66,7 %"]
