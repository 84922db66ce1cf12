"""Writes docs/crash-matrix.md: only what was seen, and how to read it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from llmapp.conf import AppSettings

from .action import HELD_ON, TAKEN_WITHIN, Outcome, Result
from .cells import PAUSE, Cell, Point, Signal, Stack, Target
from .site import CONCURRENCY

DOCUMENT = Path(__file__).parents[3] / "docs" / "crash-matrix.md"

HEAD = """\
# What becomes of runs when processes die

<!-- Written by `make crash-matrix` from what it saw. Do not edit it by hand. -->

Real sites, started with `llmapp serve`, each with a provider on loopback and clients that follow their runs over SSE
and come back when their streams break. Runs were brought to the point that a column names; then a signal was sent, and
the site was brought back as a person would.

- **Points.** *{queued}*: its message has just been acknowledged, and all places of each worker ({places}) are taken.
  *{first}*: the provider was asked, and has said nothing yet. *{mid}*: a third of the answer has been shown, and the
  rest comes at the provider's pace. *{commit}*: the provider has sent everything, and the end
  cannot be written, for another transaction holds a lock that it needs; it lets go {held:.0f} s after the signal.
- **Signals.** SIGSTOP is followed by SIGCONT after {pause:.0f} s, where the process is still there. A worker or a web
  process that ended is started again by `serve`; `serve` itself is started again on the same home and servers.
- **Targets.** *worker*: the process that holds the run; for a queued run one whose places are taken. *web*: the process
  that serves the client's stream; the queued message was acknowledged over a websocket. *serve*: with SIGKILL and
  SIGSTOP all of its processes at once, as when a container is killed or paused; with SIGTERM `serve` alone, which
  ends the others.
- **Processes.** On SQLite one web process and one worker; on PostgreSQL two of each.

After each signal all of this held, as seen from outside by SQL on the site's database: every run has one log, numbered
without a hole, with one terminal event, its last, and its row says the same. What the client holds, the log and the
stored message are the same text, byte for byte, and that of a completed run is what the provider said. No attempt
begins after the end, no turn that had ended is asked again, and nothing is left open. Each acknowledged message is
there. No socket to a provider outlives its run by 2 s. Somebody goes on with each run within {taken:.0f} s from when a
live worker is there, and the next run completes.

**How to read a cell.** How the run ended; the seconds to its end, from the signal, or from when a live worker was there
where that was later, so that a negative number is a run that ended before one was there again; how often the provider
was asked. At its first pace an answer takes about 6 s; when it is asked again, about a second. A queued run also waited
for the places that the others had.
"""

#: Why a provider is asked again: said once, below the tables.
ASKED_AGAIN = """\
**Asked twice.** A worker that is dead, or slept for longer than its lease, has lost its run to another one. What it was
told and had not written down as a finished turn nobody can know: its text is withdrawn, and the provider asked again.
A worker that ends in good order lets its runs go on for {seconds:.0f} s, and then gives them back in the same way.
"""


def page(results: Sequence[Result], sites: int, minutes: float) -> str:
    """Return the whole page."""
    words = {"queued": Point.QUEUED, "first": Point.FIRST, "mid": Point.MID, "commit": Point.COMMIT}
    numbers = {"pause": PAUSE, "taken": TAKEN_WITHIN, "held": HELD_ON, "places": CONCURRENCY}
    outcomes = {outcome.cell: outcome for result in results for outcome in result.outcomes}
    parts = [HEAD.format(**words, **numbers), "\n".join(_sum(outcomes.values(), sites, minutes))]
    parts += ["\n".join(_table(stack, outcomes)) for stack in Stack]
    parts += ["\n".join(_left(results, outcomes.values()))]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _sum(outcomes: Iterable[Outcome], sites: int, minutes: float) -> Iterator[str]:
    found = list(outcomes)
    completed = sum(one.status == "completed" for one in found)
    once = sum(one.asked == 1 for one in found)
    slowest = max((one.seconds for one in found), default=0.0)
    yield "## What was seen"
    yield ""
    yield (
        f"{len(found)} cells, {sites} sites at a time, in {minutes:.0f} minutes on {os.cpu_count()} cores."
        f" {completed} runs completed; for {once} of all the provider was asked once; the longest took {slowest:.1f} s."
    )


def _table(stack: Stack, outcomes: dict[Cell, Outcome]) -> Iterator[str]:
    points = [point for point in Point if any(cell.stack is stack and cell.point is point for cell in outcomes)]
    yield f"## {stack}"
    yield ""
    yield f"| signal | target | {' | '.join(points)} |"
    yield "|---|---|" + "---|" * len(points)
    for signal in Signal:
        for target in Target:
            cells = [_words(outcomes.get(Cell(signal, target, stack, point))) for point in points]
            yield f"| {signal} | {target} | {' | '.join(cells)} |"


def _words(outcome: Outcome | None) -> str:
    if outcome is None:
        return "**not seen**"
    status = outcome.status if outcome.status == "completed" else f"**{outcome.status}** ({outcome.error_kind})"
    times = {1: "asked once", 2: "asked twice"}.get(outcome.asked, f"asked {outcome.asked} times")
    return f"{status}, {outcome.seconds:.1f} s, {times}"


def _left(results: Iterable[Result], outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Say what needs an explanation: what was asked again, what did not complete, what does not hold."""
    found = list(outcomes)
    if any(one.asked > 1 for one in found):
        yield ASKED_AGAIN.format(seconds=AppSettings.SHUTDOWN_SECONDS)
        yield ""
    for one in found:
        if one.status != "completed":
            yield (f"- {one.cell}: {one.status} with `{one.error_kind}` in execution {one.executions} of at most 3.")
    if broken := [(result.action, sentence) for result in results for sentence in result.broken]:
        yield ""
        yield "## What does not hold"
        yield ""
        for action, sentence in broken:
            yield f"- {action}: {sentence.splitlines()[0]}"
