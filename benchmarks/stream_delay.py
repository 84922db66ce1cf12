"""How late a token is: from the provider to the client, through each stack, side by side.

python -m benchmarks.stream_delay                         all loads, all stacks that are installed
python -m benchmarks.stream_delay --streams 1 50 --stacks "direct SSE" "llmapp server" --repeats 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from . import machine, processes
from .clients import Job, Result
from .stacks import STACKS, Missing, Running

#: Streams that are started in a second: a crowd that comes, not a wall.
STARTS = 20.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of one stack under one load. Times are milliseconds, None where nothing was measured."""

    p50: float | None
    p99: float | None
    first: float | None
    #: Microseconds of CPU for each token that arrived, of the stack's processes.
    cpu: float | None
    #: MiB of the stack's processes, at the end.
    memory: float | None
    lost: int
    errors: list[str]


def measure(running: Running, streams: int, rate: float, tokens: int) -> Measured:
    _run_clients(Job([running.warm_up], running.marker, STARTS, 60))
    seconds = tokens / rate + streams / STARTS
    job = Job(running.requests[:streams], running.marker, STARTS, seconds * 3 + 60)
    pids = processes.with_children(pid for group in running.processes.values() for pid in group)
    before = processes.cpu(pids)
    result = _run_clients(job)
    used = processes.cpu(pids) - before
    return _summary(result, used, processes.memory(pids), streams * tokens)


def _run_clients(job: Job) -> Result:
    command = [sys.executable, "-m", "benchmarks.clients"]
    done = subprocess.run(command, input=json.dumps(asdict(job)), stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(done.stdout))


def _summary(result: Result, cpu: float, memory: int, expected: int) -> Measured:
    arrived = sum(result.tokens)
    delays = sorted(result.delays)
    return Measured(
        p50=_at(delays, 0.50),
        p99=_at(delays, 0.99),
        first=statistics.median(result.first) / 1000 if result.first else None,
        cpu=cpu / arrived * 1e6 if arrived and memory else None,
        memory=memory / 2**20 if memory else None,
        lost=expected - arrived,
        errors=result.errors,
    )


def _at(ordered: Sequence[int], share: float) -> float | None:
    return ordered[int(share * (len(ordered) - 1))] / 1000 if ordered else None


# --- the table ------------------------------------------------------------------------------

COLUMNS: list[tuple[str, int, Callable[[Measured], float | None]]] = [
    ("p50 ms", 14, lambda row: row.p50),
    ("p99 ms", 16, lambda row: row.p99),
    ("first token ms", 16, lambda row: row.first),
    ("CPU us/token", 14, lambda row: row.cpu),
    ("memory MiB", 12, lambda row: row.memory),
    ("lost", 6, lambda row: row.lost),
]


def header() -> str:
    return f"{'streams':>7}  {'stack':<18}" + "".join(f"{name:>{width}}" for name, width, _ in COLUMNS)


def row(streams: int, stack: str, repeats: Sequence[Measured]) -> str:
    cells = "".join(f"{cell([read(one) for one in repeats]):>{width}}" for _, width, read in COLUMNS)
    errors = [error for one in repeats for error in one.errors]
    said = f"  {len(errors)} errors, the first: {errors[0]}" if errors else ""
    return f"{streams:>7}  {stack:<18}{cells}{said}"


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


# --- the run --------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 50, 100, 200, 400])
    parser.add_argument("--stacks", nargs="+", default=list(STACKS), choices=list(STACKS))
    parser.add_argument("--rate", type=float, default=50, help="tokens a second of each stream")
    parser.add_argument("--seconds", type=float, default=10, help="for which all streams run")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for line in [*machine.head(), *machine.warnings(max(options.streams)), "", header()]:
        print(line, flush=True)
    for streams in options.streams:
        compare(streams, options.stacks, options.rate, options.seconds, options.repeats)


def compare(streams: int, stacks: Sequence[str], rate: float, seconds: float, repeats: int) -> None:
    """Measure all stacks under one load, again and again in turn, so that a noisy minute is everybody's."""
    tokens = int(rate * (seconds + streams / STARTS))
    found: dict[str, list[Measured]] = {stack: [] for stack in stacks}
    missing: dict[str, str] = {}
    for _ in range(repeats):
        for stack in stacks:
            try:
                with processes.provider(rate, tokens) as url, STACKS[stack](url, streams) as running:
                    found[stack].append(measure(running, streams, rate, tokens))
            except Missing as error:
                missing[stack] = str(error)
    for stack in stacks:
        print(
            f"{streams:>7}  {stack:<18}  {missing[stack]}" if stack in missing else row(streams, stack, found[stack]),
            flush=True,
        )


if __name__ == "__main__":
    main()
