"""Kill, pause and end each process at points of a run: the cells that CI carries out; `make crash-matrix` does all.

Each test looks at one action. docs/crash-matrix.md says what is done, and what was seen.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import stack

from .action import Result, carry_out_all
from .cells import IN_CI, Action, Point, Signal, Stack, Target, cells_of, whole
from .page import DOCUMENT

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

ON = {"redis": Stack.REDIS, "rabbitmq": Stack.RABBITMQ}[stack.broker()] if stack.on_servers() else Stack.FILES


LANES = IN_CI[ON]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[Action, Result]:
    """All of them, to several sites at once: each waits most of the time."""
    with ThreadPoolExecutor(len(LANES)) as pool:
        folders = [tmp_path_factory.mktemp("crash") for _ in LANES]
        done = pool.map(lambda lane, folder: list(carry_out_all(lane, folder)), LANES, folders)
        return {result.action: result for lane in done for result in lane}


@pytest.mark.parametrize("action", [action for lane in LANES for action in lane], ids=str)
def test_nothing_hangs_and_nothing_is_lost(results: dict[Action, Result], action: Action) -> None:
    """Whatever holds of a site holds afterwards, and each run completes."""
    result = results[action]
    assert not result.broken, "\n".join([*result.broken, *result.lines[-40:]])
    assert {one.cell: one.status for one in result.outcomes} == dict.fromkeys(cells_of(action), "completed")


def test_each_row_is_carried_out_somewhere_and_each_point() -> None:
    """On one of the three stacks; the page has all of them on each."""
    done = [action for lanes in IN_CI.values() for lane in lanes for action in lane]
    assert {(action.signal, action.target) for action in done} == {(s, t) for s in Signal for t in Target}
    assert {point for action in done for point in action.points} == set(Point)
    assert len([cell for lane in whole() for action in lane for cell in cells_of(action)]) == 9 * (4 + 4 + 1)


def test_the_page_says_something_of_each_cell() -> None:
    """It is written by `make crash-matrix`, and is to be written again when the matrix changes."""
    text = DOCUMENT.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| SIG")]
    assert len(rows) == 9 * len(Stack)
    assert sum(line.count("asked") for line in rows) == 9 * (4 + 4 + 1)
    assert "not seen" not in text
    assert "does not hold" not in text
