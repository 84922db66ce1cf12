"""What Markdown costs a worker: each kind of text, as tokens that come, rendered as often as a run renders it.

python -m benchmarks.rendering                  50 tokens a second
python -m benchmarks.rendering --rate 200 --repeats 9
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llmapp.rendering.markdown import MarkdownStream, render
from llmapp.runs.presenter import pause_after

from . import machine, texts

T = TypeVar("T")

KINDS: dict[str, Callable[[], str]] = {
    "plain prose": lambda: texts.prose(12_000, marks=False),
    "prose with marks": lambda: texts.prose(12_000),
    "one plain paragraph": lambda: texts.prose(5_900, paragraph=6_000, marks=False),
    "one paragraph with marks": lambda: texts.prose(5_900, paragraph=6_000),
    "list": lambda: texts.bullets(12_000),
    "table": lambda: texts.table(12_000),
    "code": lambda: texts.code(12_000),
    "everything": lambda: texts.answer(24_000),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One text from its first token to its end. Times are seconds of CPU."""

    tokens: int
    growing: float
    whole: float
    #: Of each update: text fed, blocks settled, the open block rendered.
    updates: list[float]
    #: Characters of HTML that were sent.
    sent: int


def measure(text: str, rate: float) -> Measured:
    """Feed a text at so many tokens a second, on a clock of its own: no time passes between two tokens."""
    stream, pending, updates, sent = MarkdownStream(), "", [], 0
    due = before = 0.0
    pieces = texts.tokens(text)
    for number, token in enumerate(pieces):
        pending += token
        if (now := number / rate) < due:
            continue
        seconds, html = _timed(_update, stream, pending)
        updates.append(seconds)
        sent += html
        pending, due = "", now + pause_after(min(before, seconds), stream.open_cost)
        before = seconds
    rest, html = _timed(_rest, stream, pending)
    whole, _ = _timed(render, text)
    return Measured(len(pieces), sum(updates) + rest, whole, updates, sent + html)


def _update(stream: MarkdownStream, text: str) -> int:
    blocks = stream.feed(text)
    shown = stream.open()
    return sum(len(block.html) for block in [*blocks, *([shown] if shown else [])])


def _rest(stream: MarkdownStream, text: str) -> int:
    return sum(len(block.html) for block in [*stream.feed(text), *stream.finish()])


def _timed(function: Callable[..., T], *arguments: object) -> tuple[float, T]:
    began = time.process_time()
    result = function(*arguments)
    return time.process_time() - began, result


# --- the table ------------------------------------------------------------------------------

COLUMNS: list[tuple[str, int, Callable[[Measured], float]]] = [
    ("us/token", 12, lambda row: (row.growing + row.whole) / row.tokens * 1e6),
    ("at the end", 12, lambda row: row.whole / row.tokens * 1e6),
    ("updates/s", 12, lambda row: len(row.updates)),
    ("us/update", 12, lambda row: statistics.mean(row.updates) * 1e6),
    ("p95", 10, lambda row: sorted(row.updates)[int(0.95 * (len(row.updates) - 1))] * 1e6),
    ("HTML/token", 12, lambda row: row.sent / row.tokens),
]


def line(name: str, repeats: Sequence[Measured], rate: float) -> str:
    seconds = repeats[0].tokens / rate
    cells = []
    for column, width, read in COLUMNS:
        middle = statistics.median(read(one) for one in repeats)
        cells.append(f"{middle / seconds if column == 'updates/s' else middle:>{width}.1f}")
    return f"{name:<26}{repeats[0].tokens:>8}" + "".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=50, help="tokens a second")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    names = "".join(f"{name:>{width}}" for name, width, _ in COLUMNS)
    about = (
        f"{options.rate:g} tokens a second of {texts.TOKEN} characters; us of CPU, the rendering at the end included"
    )
    for heading in [*machine.head(), *machine.warnings(1), about, "", f"{'text':<26}{'tokens':>8}{names}"]:
        print(heading)
    for name, make in KINDS.items():
        text = make()
        measure(text[:1_000], options.rate)  # what is used for the first time is also loaded
        print(line(name, [measure(text, options.rate) for _ in range(options.repeats)], options.rate), flush=True)


if __name__ == "__main__":
    main()
