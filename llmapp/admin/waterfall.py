"""Geometry of a run's waterfall: a lane for each span, over the time since the run was submitted.

Times are seconds since then; places across are percentages as text, down they are pixels, so that lanes grow with the
page and words keep their size. A long stretch in which nobody was at work is cut short, and marked: the rest would
be a hair's breadth beside an hour in the queue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Pixels: the axis above, a lane, and in it the line of its words, and its bar.
AXIS, LANE = 24, 34
WORDS, BAR, THICK = 12, 17, 10
#: Pixels by which words of an inner lane stand further right.
INDENT = 10
#: An idle stretch takes at most so much of what the time at work takes together.
IDLE = 0.15
#: Percent of the width: what can be seen, and how far apart words of the axis are, and a word from the sign of a cut.
VISIBLE, APART, BESIDE = 0.4, 17.0, 8.0
#: Seconds between ticks: what people count in.
STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400),
)
TICKS = 5


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a span. `kind` is how it is drawn, `title` what is said to whoever points at it."""

    begin: float
    end: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Span:
    """One lane: words above, stretches of time below; `marks` are moments with their words."""

    depth: int
    label: str
    took: str
    stretches: Sequence[Stretch]
    marks: Sequence[tuple[float, str]] = ()


class Scale:
    """From seconds to percent. `idle` are stretches that may be cut short, in order and apart from each other."""

    def __init__(self, end: float, idle: Sequence[tuple[float, float]] = ()) -> None:
        self.end = max(end, 0.001)
        at_work = self.end - sum(to - since for since, to in idle)
        longest = IDLE * at_work if at_work > 0 else self.end
        self.cuts = [(since, to) for since, to in idle if to - since > longest]
        #: Seconds that the width stands for.
        self.shown = self.end - sum(to - since - longest for since, to in self.cuts)
        self._longest = longest

    def at(self, moment: float) -> float:
        """Return the place of a moment; what lies outside is brought to the edge."""
        moment = min(max(moment, 0.0), self.end)
        place = moment
        for since, to in self.cuts:
            within = min(max(moment - since, 0.0), to - since)
            place -= within * (1 - self._longest / (to - since))
        return 100 * place / self.shown

    def ticks(self) -> list[float]:
        """Return moments worth a word: even ones, none within a cut, and none so near to another that words touch."""
        step = next((step for step in STEPS if self.shown / step <= TICKS), self.shown / TICKS)
        found: list[float] = []
        for since, to in self._whole():
            for number in range(math.ceil(since / step - 1e-9), math.floor(to / step + 1e-9) + 1):
                moment = number * step
                if (not found or self.at(moment) - self.at(found[-1]) >= APART) and not self._at_a_sign(moment):
                    found.append(moment)
        return found

    def _at_a_sign(self, moment: float) -> bool:
        return any(abs(self.at(moment) - self.at(to)) < BESIDE for _since, to in self.cuts)

    def _whole(self) -> list[tuple[float, float]]:
        """Return the stretches that are not cut."""
        edges = [0.0, *(edge for cut in self.cuts for edge in cut), self.end]
        return list(zip(edges[::2], edges[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Bar:
    x: str
    y: int
    width: str
    kind: str
    title: str
    #: Where it ends: a line over a wait needs it.
    to: str
    middle: int


@dataclass(frozen=True, slots=True)
class Mark:
    x: str
    top: int
    bottom: int
    title: str


@dataclass(frozen=True, slots=True)
class Words:
    x: str
    y: int
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Waterfall:
    height: int
    bars: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    labels: list[Words] = field(default_factory=list)
    durations: list[Words] = field(default_factory=list)
    ticks: list[Words] = field(default_factory=list)
    #: The end of each stretch that is cut short.
    cuts: list[str] = field(default_factory=list)


def draw(spans: Sequence[Span], scale: Scale) -> Waterfall:
    drawn = Waterfall(AXIS + LANE * len(spans))
    for number, span in enumerate(spans):
        top = AXIS + LANE * number
        drawn.labels.append(Words(str(INDENT * span.depth), top + WORDS, span.label))
        drawn.durations.append(Words("100%", top + WORDS, span.took, "end"))
        drawn.bars.extend(_bar(stretch, top + BAR, scale) for stretch in span.stretches)
        for moment, title in span.marks:
            drawn.marks.append(Mark(_percent(scale.at(moment)), top + BAR - 2, top + BAR + THICK + 2, title))
    drawn.ticks.extend(_tick(moment, scale) for moment in scale.ticks())
    drawn.cuts.extend(_percent(scale.at(to)) for _since, to in scale.cuts)
    return drawn


def clock(moment: float, *, fine: bool) -> str:
    """Return a moment as people read it at an axis: seconds within the first minute, else as on a clock."""
    if fine:
        return f"{moment:.10g}"
    minutes, seconds = divmod(round(moment), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _tick(moment: float, scale: Scale) -> Words:
    place = scale.at(moment)
    anchor = "start" if place < 4 else "end" if place > 92 else "middle"
    fine = scale.end <= 60
    text = clock(round(moment, 3), fine=fine)
    return Words(_percent(place), WORDS, f"{text} s" if fine else text, anchor)


def _bar(stretch: Stretch, y: int, scale: Scale) -> Bar:
    x, to = scale.at(stretch.begin), scale.at(stretch.end)
    width = max(to - x, VISIBLE)
    x = min(x, 100 - width)
    middle = y + THICK // 2
    return Bar(_percent(x), y, _percent(width), stretch.kind, stretch.title, _percent(x + width), middle)


def _percent(value: float) -> str:
    return f"{value:.2f}%"
