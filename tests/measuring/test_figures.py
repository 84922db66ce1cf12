"""What was measured, as figures and as cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmapp.measuring import figures
from llmapp.measuring.clients import Result
from llmapp.measuring.figures import Measured, cell, number, summary


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (0.04, "0.0"),
        (3.14159, "3.1"),
        (3.0, "3"),
        (99.94, "99.9"),
        (100.4, "100"),
        (12345.6, "12346"),
        (-2.0, "-2"),
    ],
)
def test_a_number(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    "values, text",
    [
        ([], "-"),
        ([None], "-"),
        ([None, 3.1], "3.1"),
        ([3.1], "3.1"),
        # Within a tenth of the median, or within what the table shows, a range says nothing.
        ([10.0, 10.5, 10.9], "10.5"),
        ([10.0, 11.2], "10.6 (10-11.2)"),
        ([0.01, 0.02, 0.05], "0.0"),
        ([3.1, 2.9, 4.0], "3.1 (2.9-4)"),
        ([0, 0, 7], "0 (0-7)"),
        ([100.0, 200.0], "150 (100-200)"),
        ([None, 1.0, 2.0], "1.5 (1-2)"),
    ],
)
def test_a_cell(values: Sequence[float | None], text: str) -> None:
    assert cell(values) == text


@pytest.mark.parametrize(
    "result, cpu, memory, expected, measured",
    [
        (Result(), None, None, 10, Measured(None, None, None, None, None, 10, [])),
        (
            Result(delays=list(range(1000, 101_000, 1000)), first=[5000, 7000, 9000], tokens=[50, 50], steady=2.0),
            0.5,
            3 * 2**20,
            100,
            Measured(p50=50.0, p99=99.0, first=7.0, cpu=5000.0, memory=3.0, lost=0, errors=[], steady=2.0),
        ),
        # Nobody could look at the memory: that is unknown, and not nothing.
        (Result(tokens=[4]), 0.1, 0, 5, Measured(None, None, None, 25_000.0, None, 1, [])),
        (Result(tokens=[0], errors=["gone"]), 0.1, 0, 5, Measured(None, None, None, None, None, 5, ["gone"])),
    ],
)
def test_a_summary(result: Result, cpu: float | None, memory: int | None, expected: int, measured: Measured) -> None:
    assert summary(result, cpu, memory, expected) == measured


def test_the_table_is_straight() -> None:
    row = figures.row([Measured(3.1, 9.9, 80.0, 400.0, 150.0, 0, [])])
    assert len(figures.header()) == len(row)
    assert row.split() == ["3.1", "9.9", "80", "400", "150", "0"]


def test_the_head_can_be_translated() -> None:
    assert figures.header(str.upper).split("  ")[-1].strip() == "LOST"


@pytest.mark.parametrize("seconds, streams, tokens", [(10, 1, 502), (10, 50, 625), (2, 100, 350)])
def test_answers_are_so_long_that_all_streams_run_together(seconds: float, streams: int, tokens: int) -> None:
    assert figures.tokens_for(seconds, 50, streams) == tokens
