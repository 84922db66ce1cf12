"""How many real provider errors the classifier understands, and what one costs.

    python -m benchmarks.classifier FILE [--repeats 7]

FILE has one JSON object a line: id, provider, status, headers, body, exception, expected, and, where more than one
kind is right, alternatives. The score is the share of rows that got an expected or an alternative kind. The last
third (`id % 3 == 2`) is printed beside it: rules that are written while it is not looked at show there what they
are worth. Time is CPU time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmapp.core.classify import classify
from llmapp.core.errors import ErrorFacts

REPEATS = 7


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row, and what the classifier made of it."""

    row: dict[str, Any]
    kind: str

    @property
    def right(self) -> bool:
        return self.kind == self.row["expected"] or self.kind in (self.row.get("alternatives") or ())


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def facts_of(row: dict[str, Any]) -> ErrorFacts:
    return ErrorFacts(
        provider=row.get("provider") or "",
        status=row.get("status"),
        headers=row.get("headers") or {},
        body=row.get("body"),
        exception=row.get("exception"),
    )


def outcomes(rows: Iterable[dict[str, Any]]) -> list[Outcome]:
    return [Outcome(row, classify(facts_of(row)).kind.value) for row in rows]


def score(results: Sequence[Outcome]) -> float:
    return sum(result.right for result in results) / len(results) if results else 1.0


def held_out(results: Iterable[Outcome]) -> list[Outcome]:
    return [result for result in results if int(result.row["id"]) % 3 == 2]


def microseconds(rows: Sequence[dict[str, Any]], repeats: int) -> float:
    """Return the CPU time of one row, the median of the repeats."""
    all_facts = [facts_of(row) for row in rows]
    return statistics.median(_pass(all_facts) for _ in range(repeats)) / max(len(rows), 1) * 1e6


def _pass(all_facts: Sequence[ErrorFacts]) -> float:
    start = time.process_time()
    for facts in all_facts:
        classify(facts)
    return time.process_time() - start


def report(results: Sequence[Outcome], cost: float) -> str:
    third = held_out(results)
    lines = [
        f"all             {_share(results)}",
        f"held-out third  {_share(third)}",
        f"time            {cost:.0f} us a row",
        "",
        *_table("kind", results, lambda result: str(result.row["expected"])),
        "",
        *_table("provider", results, lambda result: str(result.row["provider"])),
        "",
        *(_miss(result) for result in results if not result.right),
    ]
    return "\n".join(lines)


def _share(results: Sequence[Outcome]) -> str:
    return f"{score(results):.3f}  {sum(result.right for result in results)}/{len(results)}"


def _table(name: str, results: Sequence[Outcome], key: Callable[[Outcome], str]) -> list[str]:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return [f"by {name}", *(f"  {group:<24}{_share(groups[group])}" for group in sorted(groups))]


def _miss(result: Outcome) -> str:
    row = result.row
    said = str(row.get("body") or row.get("exception"))[:160].replace("\n", " ")
    return f"miss {row['id']} ({row['provider']}, {row['status']}): {row['expected']}, got {result.kind}: {said}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args(arguments)
    rows = read(options.file)
    print(report(outcomes(rows), microseconds(rows, options.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
