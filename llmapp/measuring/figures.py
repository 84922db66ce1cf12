"""What was measured, as figures and as a row of a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .clients import Result

#: Streams that are started in a second: a crowd that comes, not a wall.
STARTS = 20.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement under one load. Times are milliseconds, None where nothing was measured."""

    p50: float | None
    p99: float | None
    first: float | None
    #: Microseconds of CPU for each token that arrived, of the processes that were watched.
    cpu: float | None
    #: MiB of the same processes, at the end.
    memory: float | None
    lost: int
    errors: list[str]
    #: Seconds for which all streams ran together. Delays are those of that time; with 0, of all tokens.
    steady: float = 0.0


def tokens_for(seconds: float, rate: float, streams: int) -> int:
    """Return how many tokens an answer has to have, so that all of these streams run for so long together."""
    return int(rate * (seconds + streams / STARTS))


def summary(result: Result, cpu: float | None, memory: int | None, expected: int) -> Measured:
    """`cpu` is seconds and `memory` bytes, None where nobody could look; `expected` is a number of tokens."""
    arrived = sum(result.tokens)
    delays = sorted(result.delays)
    return Measured(
        p50=_at(delays, 0.50),
        p99=_at(delays, 0.99),
        first=statistics.median(result.first) / 1000 if result.first else None,
        cpu=cpu / arrived * 1e6 if arrived and cpu is not None else None,
        memory=memory / 2**20 if memory else None,
        lost=expected - arrived,
        errors=result.errors,
        steady=result.steady,
    )


def _at(ordered: Sequence[int], share: float) -> float | None:
    return ordered[int(share * (len(ordered) - 1))] / 1000 if ordered else None


# --- the table ------------------------------------------------------------------------------


def _(title: str) -> str:
    """Mark a title for translation: a benchmark has no language and no settings to find one in."""
    return title


COLUMNS: list[tuple[str, int, Callable[[Measured], float | None]]] = [
    (_("p50 ms"), 14, lambda row: row.p50),
    (_("p99 ms"), 16, lambda row: row.p99),
    (_("first token ms"), 16, lambda row: row.first),
    (_("CPU us/token"), 14, lambda row: row.cpu),
    (_("memory MiB"), 12, lambda row: row.memory),
    (_("lost"), 6, lambda row: row.lost),
]


def header(translate: Callable[[str], str] = str) -> str:
    return "".join(f"  {translate(title):>{width}}" for title, width, _read in COLUMNS)


def row(repeats: Sequence[Measured]) -> str:
    return "".join(f"  {cell([read(one) for one in repeats]):>{width}}" for _title, width, read in COLUMNS)


def cell(values: Sequence[float | None]) -> str:
    """Write the median, and the range where it is wide: "3.1 (2.9-4.0)". "-" for what cannot be said."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    middle = statistics.median(known)
    if max(known) - min(known) < max(0.1 * middle, 0.05):
        return number(middle)
    return f"{number(middle)} ({number(min(known))}-{number(max(known))})"


def number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.1f}"
