"""Geometry of the overview's charts, for SVG without any script or style: places are percentages as text.

Percentages and no `viewBox`, so that bars grow with the page and words keep their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Parts of the height: room for the largest value above, for the labels below.
TOP, BOTTOM = 8.0, 86.0
#: Part of the width of a slot that its bar takes.
FULL = 0.72


@dataclass(frozen=True, slots=True)
class Bar:
    x: str
    y: str
    width: str
    height: str
    kind: str
    #: What is said of it to whoever points at it.
    title: str


@dataclass(frozen=True, slots=True)
class Segment:
    x1: str
    y1: str
    x2: str
    y2: str
    kind: str


@dataclass(frozen=True, slots=True)
class Dot:
    x: str
    y: str
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    x: str
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    #: The largest value, as words, at the upper edge.
    top: str
    labels: list[Label]
    bars: list[Bar]
    segments: list[Segment]
    dots: list[Dot]
    #: What the colours mean: (kind, word). Empty for one colour.
    legend: list[tuple[str, str]]

    @property
    def is_empty(self) -> bool:
        return not self.bars and not self.dots


Series = tuple[str, str, Sequence[float | None]]


def stacked(title: str, names: Sequence[str], series: Sequence[Series], say: Callable[[float], str]) -> Chart:
    """Return bars, one on the other. A series is (kind, word, one value for each name)."""
    sums = [sum(values[at] or 0 for _kind, _word, values in series) for at in range(len(names))]
    peak = max(sums, default=0)
    bars = []
    for at, name in enumerate(names):
        foot = 0.0
        for kind, word, values in series:
            if value := values[at] or 0:
                bars.append(
                    _bar(at, len(names), foot, foot + value, peak, kind, f"{name}: {say(value)} {word}".strip())
                )
                foot += value
    legend = [(kind, word) for kind, word, values in series if any(values)] if len(series) > 1 else []
    return Chart(title, say(peak) if peak else "", _labels(names), bars, [], [], legend)


def lines(title: str, names: Sequence[str], series: Sequence[Series], say: Callable[[float], str]) -> Chart:
    """Return dots joined by lines. Where a value is unknown, the line has a gap."""
    peak = max((value for _kind, _word, values in series for value in values if value is not None), default=0)
    segments, dots = [], []
    for kind, word, values in series:
        places = [None if value is None else _place(at, len(names), value, peak) for at, value in enumerate(values)]
        for name, value, place in zip(names, values, places, strict=True):
            if place is not None and value is not None:
                dots.append(Dot(*place, kind, f"{name}: {say(value)} {word}"))
        for here, there in pairwise(places):
            if here is not None and there is not None:
                segments.append(Segment(*here, *there, kind))
    legend = [(kind, word) for kind, word, _values in series] if dots else []
    return Chart(title, say(peak) if peak else "", _labels(names), [], segments, dots, legend)


def share(part: float, whole: float) -> str:
    """Return the length of a bar within a table."""
    return _percent(100 * part / whole if whole else 0)


def _bar(at: int, number: int, foot: float, head: float, peak: float, kind: str, title: str) -> Bar:
    slot = 100 / number
    x = slot * (at + (1 - FULL) / 2)
    low, high = _height(foot, peak), _height(head, peak)
    return Bar(_percent(x), _percent(high), _percent(slot * FULL), _percent(low - high), kind, title)


def _place(at: int, number: int, value: float, peak: float) -> tuple[str, str]:
    return _percent(100 / number * (at + 0.5)), _percent(_height(value, peak))


def _height(value: float, peak: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * (value / peak if peak else 0)


def _percent(value: float) -> str:
    return f"{value:.2f}%"


def _labels(names: Sequence[str]) -> list[Label]:
    """Name the first, the middle and the last: more would not fit on a telephone."""
    if len(names) < 3:
        return [Label(_percent(100 / len(names) * (at + 0.5)), "middle", name) for at, name in enumerate(names)]
    middle = len(names) // 2
    return [
        Label("0%", "start", names[0]),
        Label(_percent(100 / len(names) * (middle + 0.5)), "middle", names[middle]),
        Label("100%", "end", names[-1]),
    ]
