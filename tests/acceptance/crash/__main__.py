"""Carries out the whole matrix, several sites at once, and writes docs/crash-matrix.md from what it saw.

    python -m tests.acceptance.crash [--only WORDS] [--verbose] [--to docs/crash-matrix.md]

Exits with 1 where an invariant is broken. It needs what the tests on servers need: see `tests/support/stack.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from .action import Result, carry_out_all
from .cells import Action, whole
from .page import DOCUMENT, page


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill, pause and end every process at every point of a run.")
    parser.add_argument("--only", default="", help="only actions in whose name these words are; nothing is written")
    parser.add_argument("--verbose", action="store_true", help="show what each site said")
    parser.add_argument("--to", type=Path, default=DOCUMENT)
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    began = time.monotonic()
    lanes = [[action for action in lane if arguments.only in str(action)] for lane in whole()]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(lanes)) as pool:
        places = [Path(folder) / f"{number}" for number in range(len(lanes))]
        results = [
            result for done in pool.map(carried_out, lanes, places, repeat(arguments.verbose)) for result in done
        ]
    minutes = (time.monotonic() - began) / 60
    print(f"{sum(len(result.outcomes) for result in results)} cells in {minutes:.1f} minutes")
    if not arguments.only:
        arguments.to.write_text(page(results, len(lanes), minutes))
    return 1 if any(result.broken for result in results) else 0


def carried_out(lane: Sequence[Action], folder: Path, verbose: bool) -> list[Result]:
    folder.mkdir()
    return [told(result, verbose) for result in carry_out_all(lane, folder)]


def told(result: Result, verbose: bool) -> Result:
    print(f"{'BROKEN' if result.broken else 'ok':<6} {result.action}", flush=True)
    for one in result.outcomes:
        said = f"{one.status} {one.error_kind} {one.seconds:.1f} s, asked {one.asked} {' '.join(one.failures)}"
        print(f"         {one.cell.point}: {said}")
    for sentence in result.broken:
        print(f"       - {sentence}")
    if result.broken or verbose:
        print("\n".join(f"       | {line}" for line in result.lines[-60:]), flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
