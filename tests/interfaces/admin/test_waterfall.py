"""Where a run's time went: the geometry as tables, and the picture on the run's page."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client
from django.utils import timezone

from llmapp.admin import spans, waterfall
from llmapp.admin.attempts import calls_of
from llmapp.admin.waterfall import Scale, Span, Stretch, clock, draw
from llmapp.core import events
from llmapp.models import Attempt, Call, Run, RunEvent, Turn
from llmapp.runs import log

from .conftest import Site, add_run, body, queries

DAY = 86_400.0

#: (end, idle stretches, {moment: percent}).
SCALES: list[tuple[float, list[tuple[float, float]], dict[float, float]]] = [
    (10, [], {0: 0, 5: 50, 10: 100, -1: 0, 11: 100}),
    # A short wait is drawn as long as it was.
    (10, [(0, 1)], {1: 10, 10: 100}),
    # An hour in the queue before ten seconds of work: as much as 1.5 of them.
    (3610, [(0, 3600)], {0: 0, 3600: 100 * 1.5 / 11.5, 3605: 100 * 6.5 / 11.5, 3610: 100}),
    # Half of a wait that is cut is half of its width.
    (3610, [(0, 3600)], {1800: 100 * 0.75 / 11.5}),
    # Cut in the middle.
    (1010, [(5, 1005)], {5: 100 * 5 / 11.5, 1005: 100 * 6.5 / 11.5, 1010: 100}),
    # Nobody was ever at work: the queue is all there is.
    (600, [(0, 600)], {0: 0, 300: 50, 600: 100}),
    # It lasted no time at all.
    (0, [], {0: 0}),
    (DAY, [], {DAY / 4: 25}),
]


@pytest.mark.parametrize("end, idle, places", SCALES)
def test_a_moment_has_its_place(end: float, idle: list[tuple[float, float]], places: dict[float, float]) -> None:
    scale = Scale(end, idle)
    assert {moment: scale.at(moment) for moment in places} == pytest.approx(places)
    assert scale.at(scale.end) == pytest.approx(100)


@pytest.mark.parametrize(
    "end, idle, ticks",
    [
        (10, [], [0, 2, 4, 6, 8, 10]),
        (0.3, [], [0, 0.1, 0.2, 0.3]),
        (45, [], [0, 10, 20, 30, 40]),
        (DAY, [], [0, 21_600, 43_200, 64_800, 86_400]),
        # None in the hour that is cut: what is even goes on behind it.
        (3610, [(0, 3600)], [0, 3605, 3610]),
        # And none where the sign of the cut stands.
        (40, [(15, 29)], [0, 10, 40]),
    ],
)
def test_ticks_are_even_and_apart(end: float, idle: list[tuple[float, float]], ticks: list[float]) -> None:
    scale = Scale(end, idle)
    found = scale.ticks()
    assert found == pytest.approx(ticks)


@pytest.mark.parametrize("end", [0.004, 0.7, 3, 59, 61, 601, 5000, DAY, 3 * DAY])
@pytest.mark.parametrize("idle", [0.0, 0.3, 0.99])
def test_words_of_the_axis_do_not_touch(end: float, idle: float) -> None:
    scale = Scale(end, [(0, end * idle)] if idle else [])
    places = [scale.at(moment) for moment in scale.ticks()]
    assert 2 <= len(places) <= waterfall.TICKS + 2
    assert all(later - before >= waterfall.APART for before, later in pairwise(places))


@pytest.mark.parametrize(
    "moment, fine, text",
    [
        (0.5, True, "0.5"),
        (12, True, "12"),
        (75, False, "1:15"),
        (3600, False, "1:00:00"),
        (86_399.6, False, "24:00:00"),
    ],
)
def test_a_moment_is_read_as_on_a_clock(moment: float, fine: bool, text: str) -> None:
    assert clock(moment, fine=fine) == text


def test_what_is_very_short_can_be_seen_and_stays_inside() -> None:
    picture = draw([Span(0, "a", "", [Stretch(DAY, DAY, "good", ""), Stretch(0, 0.01, "good", "")])], Scale(DAY))
    last, first = picture.bars
    assert (last.x, last.width, last.to) == ("99.60%", "0.40%", "100.00%")
    assert (first.x, first.width) == ("0.00%", "0.40%")


def test_lanes_stand_below_each_other() -> None:
    picture = draw([Span(depth, "x", "", [Stretch(0, 1, "good", "")]) for depth in range(3)], Scale(1))
    assert picture.height == waterfall.AXIS + 3 * waterfall.LANE
    assert [bar.y for bar in picture.bars] == [41, 75, 109]
    assert [label.x for label in picture.labels] == ["0", "10", "20"]


# --- what there is to see -----------------------------------------------------------------------


class Story:
    """A run, told in seconds since its submit."""

    def __init__(self, site: Site, status: str, until: float | None, claimed: float = 0.2, **fields: Any) -> None:
        end = until if until is not None else fields.pop("now")
        self.start = timezone.now() - timedelta(seconds=end)
        times = {"created_at": self.start, "started_at": self.at(claimed)}
        ended = None if until is None else self.at(until)
        if status == "in_progress":
            fields["worker"] = site.worker
        self.run = add_run(site.conversation, site.agent, status, **times, ended_at=ended, **fields)
        self.run.turns.all().delete()
        self.run.events.all().delete()
        self.status("queued", 0)
        self.status("in_progress", claimed)
        self.site, self.number = site, 0

    def at(self, seconds: float | None) -> Any:
        return None if seconds is None else self.start + timedelta(seconds=seconds)

    def status(self, status: str, at: float) -> None:
        seq = RunEvent.objects.filter(run=self.run).count() + 1
        RunEvent.objects.create(run=self.run, seq=seq, status=status, data="{}", created_at=self.at(at))

    def turn(self, begin: float, end: float | None, kind: str = "") -> None:
        number = Turn.objects.filter(run=self.run).count() + 1
        reason = "stop" if end and not kind else ""
        times = {"started_at": self.at(begin), "ended_at": self.at(end), "error_kind": kind}
        turn = Turn.objects.create(run=self.run, number=number, finish_reason=reason, **times)
        self.call = Call.objects.create(run=self.run, turn=turn, **times)

    def attempt(
        self, begin: float, end: float | None, kind: str = "", action: str = "", first: float | None = None, **more: Any
    ) -> None:
        self.number += 1
        reason = "" if kind or end is None else "stop"
        fields = {"model_name": "small", "error_kind": kind, "action": action, "finish_reason": reason} | more
        times = {"started_at": self.at(begin), "ended_at": self.at(end), "first_token": first}
        Attempt.objects.create(call=self.call, number=self.number, **times, **fields)


def one_good(site: Site) -> Run:
    story = Story(site, "completed", 4.2)
    story.turn(0.3, 4.1)
    story.attempt(0.35, 4.05, first=0.9)
    return story.run


def waits_and_a_fallback(site: Site) -> Run:
    story = Story(site, "completed", 21.5, claimed=1.5)
    story.turn(1.6, 21.4)
    story.attempt(1.7, 2.4, "rate_limit", "Wait", waited=4.0)
    story.attempt(6.4, 7.2, "rate_limit", "Wait", waited=5.0)
    story.attempt(12.2, 13.0, "overloaded", "Wait", waited=2.0)
    story.attempt(15.0, 15.3, "overloaded", "SwitchModel")
    story.attempt(15.4, 21.3, first=1.1, model_name="a-model-with-a-very-long-name-2026-11")
    return story.run


def a_takeover(site: Site) -> Run:
    story = Story(site, "completed", 40.0, executions=2)
    story.turn(0.3, 16.0, "cancelled")
    story.attempt(0.4, 16.0, "cancelled", first=0.8, error_detail="lease_ran_out")
    story.status("queued", 16.0)
    story.status("in_progress", 29.0)
    story.turn(29.1, 39.9)
    story.attempt(29.2, 39.8, first=0.7)
    return story.run


def still_running(site: Site) -> Run:
    story = Story(site, "in_progress", None, now=8.0)
    story.turn(0.3, None)
    story.attempt(0.4, 1.4, "server_error", "Wait", waited=1.5)
    story.attempt(3.0, None, first=0.9)
    return story.run


def long_in_the_queue(site: Site) -> Run:
    story = Story(site, "completed", 845.0, claimed=841.0)
    story.turn(841.1, 844.9)
    story.attempt(841.2, 844.8, first=0.6)
    return story.run


def a_day_of_twelve(site: Site) -> Run:
    story = Story(site, "failed", DAY)
    story.turn(1, DAY - 1, "overloaded")
    for number in range(12):
        begin = 2 + number * 7_000
        story.attempt(begin, begin + 30 + 300 * number, "overloaded", "Wait")
    return story.run


def never_claimed(site: Site) -> Run:
    run = add_run(site.conversation, site.agent, "cancelled", started_at=None)
    run.turns.all().delete()
    run.calls.all().delete()
    return run


STORIES = [one_good, waits_and_a_fallback, a_takeover, still_running, long_in_the_queue, a_day_of_twelve, never_claimed]


def picture_of(page: str) -> ElementTree.Element:
    found = re.search(r"<svg role=\"img\" aria-labelledby=\"llmapp-waterfall.*?</svg>", page, re.DOTALL)
    assert found is not None
    return ElementTree.fromstring(found[0])


def labels_of(page: str) -> list[str]:
    return [text.text or "" for text in picture_of(page).iter("text") if "llmapp-loud" in text.attrib["class"]]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_picture_is_well_formed_and_inside_its_frame(browser: Client, site: Site, story: Any) -> None:
    """Without any style or script; every bar and line can be asked what it is."""
    page = body(browser.get(f"/admin/llmapp/run/{story(site).pk}/change/"))
    picture = picture_of(page)
    height = int(picture.attrib["height"])
    assert picture.find("title") is not None
    assert picture.find("desc") is not None
    bars = list(picture.iter("rect"))
    assert bars
    for bar in bars:
        assert float(bar.attrib["x"][:-1]) + float(bar.attrib["width"][:-1]) <= 100.02
        assert int(bar.attrib["y"]) + int(bar.attrib["height"]) <= height
        assert bar.findtext("title")
    for element in picture.iter():
        assert not {"style", "onclick"} & element.attrib.keys()


def test_lanes_are_the_run_its_turns_calls_and_attempts(browser: Client, site: Site) -> None:
    page = body(browser.get(f"/admin/llmapp/run/{waits_and_a_fallback(site).pk}/change/"))
    assert labels_of(page) == [
        "Run · ✓ completed",
        "Turn 1 · ✓",
        "Call · ✓",
        "Attempt 1 · small · ✗ rate_limit → Wait",
        "Attempt 2 · small · ✗ rate_limit → Wait",
        "Attempt 3 · small · ✗ overloaded → Wait",
        "Attempt 4 · small · ✗ overloaded → SwitchModel",
        "Attempt 5 · a-model-with-a-very-l… · ✓",
    ]
    titles = [title.text or "" for title in picture_of(page).iter("title")]
    assert [title for title in titles if title.startswith("Waited")] == [
        f"Waited {seconds} s before the next attempt" for seconds in ("4.00", "5.00", "2.00", "0.10")
    ]
    assert "First token after 1.10 s" in titles
    assert any("a-model-with-a-very-long-name-2026-11" in title for title in titles)


def test_a_takeover_shows_the_queue_between(browser: Client, site: Site) -> None:
    run = a_takeover(site)
    page = body(browser.get(f"/admin/llmapp/run/{run.pk}/change/"))
    assert "In the queue for 13.0 s" in page
    assert labels_of(page)[1:] == [
        *["Turn 1 · – cancelled", "Call · – cancelled", "Attempt 1 · small · – cancelled"],
        *["Turn 2 · ✓", "Call · ✓", "Attempt 2 · small · ✓"],
    ]
    assert "What was noticed: lease_ran_out" in page
    # Of a log that was compacted only its first wait is known.
    RunEvent.objects.filter(run=run).delete()
    page = body(browser.get(f"/admin/llmapp/run/{run.pk}/change/"))
    assert "In the queue for 0.20 s" in page
    assert "In the queue for 13" not in page


def test_long_times_are_read_as_on_a_clock(browser: Client, site: Site) -> None:
    page = body(browser.get(f"/admin/llmapp/run/{long_in_the_queue(site).pk}/change/"))
    assert "In the queue for 14:01" in page
    assert "14:05 from the submit to the end, 1 attempt." in page
    assert "Cut short" in page


def test_what_is_not_over_goes_on_until_now(site: Site) -> None:
    run = still_running(site)
    now = run.created_at + timedelta(seconds=10)
    drawn = spans.drawing_of(run, calls_of(run), now)
    assert [words.text for words in drawn.picture.durations] == ["10.0 s", "9.70 s", "9.70 s", "1.00 s", "7.00 s"]
    assert [bar.to for bar in drawn.picture.bars][-1] == "100.00%"
    assert drawn.sentence.startswith("10.0 s since the submit, 2 attempts so far")


def test_who_is_still_answering_does_not_look_as_if_nothing_had_come(site: Site) -> None:
    """The row of an open attempt has no first token yet; its log says whether words came, and since when."""
    story = Story(site, "in_progress", None, now=8.0)
    story.turn(0.3, None)
    story.attempt(0.4, None)
    run, now = story.run, story.run.created_at + timedelta(seconds=8)

    def pale() -> list[str]:
        return [bar.width for bar in spans.drawing_of(run, calls_of(run), now).picture.bars if "pale" in bar.kind]

    assert pale() == ["95.00%"]
    # what an earlier execution said is nothing that this attempt brought
    for seq, at in ((3, 0.35), (4, 2.4)):
        data = log.encode(events.text_content("m", "Hello"))
        RunEvent.objects.create(run=run, seq=seq, data=data, created_at=story.at(at))
    assert pale() == ["25.00%"]


def test_the_number_of_queries_does_not_grow(browser: Client, site: Site) -> None:
    """Also not with the turns, which the table names by their number."""
    path = f"/admin/llmapp/run/{one_good(site).pk}/change/"
    queries(browser, path)  # what is read once in a process
    few = queries(browser, path)
    Run.objects.update(status="failed", ended_at=timezone.now(), worker=None)
    run = a_takeover(site)
    assert queries(browser, f"/admin/llmapp/run/{run.pk}/change/") == few
    page = body(browser.get(f"/admin/llmapp/run/{run.pk}/change/"))
    assert re.findall(r'rowspan="\d+">([^<]*)</th>', page) == ["1", "2"]
