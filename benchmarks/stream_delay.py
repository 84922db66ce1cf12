"""How late a token is: from the provider to the client, through each stack, side by side.

python -m benchmarks.stream_delay                         all loads, all stacks that are installed
python -m benchmarks.stream_delay --streams 1 50 --stacks "direct SSE" "llmapp server" --repeats 5
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from llmapp.measuring import clients, figures, processes
from llmapp.measuring.clients import Job
from llmapp.measuring.figures import STARTS, Measured, summary, tokens_for

from . import machine, provider
from .running import Missing, Running
from .stacks import STACKS


def measure(running: Running, streams: int, tokens: int, rate: float) -> Measured:
    clients.run(Job([running.warm_up], running.marker, STARTS, 60), running.clients)
    job = Job(running.requests[:streams], running.marker, STARTS, 3 * tokens / rate + 60)
    pids = processes.with_children(pid for group in running.processes.values() for pid in group)
    before = processes.cpu(pids)
    result = clients.run(job, running.clients)
    used = processes.cpu(pids) - before
    return summary(result, used if pids else None, processes.memory(pids), streams * tokens)


# --- the table ------------------------------------------------------------------------------


def header() -> str:
    return f"{'streams':>7}  {'stack':<18}" + figures.header()


def row(streams: int, stack: str, repeats: Sequence[Measured]) -> str:
    return f"{streams:>7}  {stack:<18}{figures.row(repeats)}{why(repeats)}"


def why(repeats: Sequence[Measured]) -> str:
    """Say what went wrong, and what the delays are those of if not of the time when all streams ran."""
    said = ""
    if errors := [error for one in repeats for error in one.errors]:
        said += f"  {len(errors)} errors, the first: {' '.join(errors[0].split())[:200]}"
    if any(one.p50 is not None and not one.steady for one in repeats):
        said += "  never all streams at once: delays of all tokens, or more --seconds"
    return said


# --- the run --------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 50, 100, 200, 400])
    parser.add_argument("--stacks", nargs="+", default=list(STACKS), choices=list(STACKS))
    parser.add_argument("--rate", type=float, default=50, help="tokens a second of each stream")
    parser.add_argument("--seconds", type=float, default=10, help="for which all streams run")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for line in [*machine.head(), *machine.warnings(max(options.streams), options.stacks), "", header()]:
        print(line, flush=True)
    versions: dict[str, str] = {}
    for streams in options.streams:
        versions |= compare(streams, options.stacks, options.rate, options.seconds, options.repeats)
    print("\n" + ", ".join(f"{stack} {version}" for stack, version in versions.items() if version))


def compare(streams: int, stacks: Sequence[str], rate: float, seconds: float, repeats: int) -> dict[str, str]:
    """Measure all stacks under one load, again and again in turn, so that a noisy minute is everybody's.

    Returns the version of each one that was measured.
    """
    tokens = tokens_for(seconds, rate, streams)
    found: dict[str, list[Measured]] = {stack: [] for stack in stacks}
    missing: dict[str, str] = {}
    versions: dict[str, str] = {}
    for _ in range(repeats):
        for stack in (stack for stack in stacks if stack not in missing):
            try:
                with provider.running(rate, tokens) as url, STACKS[stack](url, streams) as running:
                    versions[stack] = running.version
                    found[stack].append(measure(running, streams, tokens, rate))
            except Missing as error:
                missing[stack] = str(error)
    for stack in stacks:
        print(
            f"{streams:>7}  {stack:<18}  {missing[stack]}" if stack in missing else row(streams, stack, found[stack]),
            flush=True,
        )
    return versions


if __name__ == "__main__":
    main()
