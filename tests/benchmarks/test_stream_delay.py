"""The table of delays: a stack that cannot be measured says so, and never is a blank."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks import stream_delay
from benchmarks.running import Missing, Running, chat
from benchmarks.stream_delay import compare, header, row, why
from llmapp.measuring.figures import Measured

WELL = Measured(3.1, 9.9, 80.0, 400.0, 150.0, 0, [], steady=3.0)
FAILED = Measured(None, None, None, None, None, 500, ["429: too many", "x"], steady=0.0)
NEVER_TOGETHER = Measured(3.1, 9.9, 80.0, 400.0, 150.0, 0, [], steady=0.0)


def test_the_table_is_straight() -> None:
    assert len(header()) == len(row(50, "llmapp server", [WELL]))
    assert row(50, "llmapp server", [WELL]).split("  ")[-1].strip() == "0"


@pytest.mark.parametrize(
    "repeats, words",
    [
        ([WELL, WELL], ""),
        ([NEVER_TOGETHER], "never all streams at once: delays of all tokens"),
        ([WELL, FAILED], "2 errors, the first: 429: too many"),
    ],
)
def test_what_is_wrong_stands_at_the_end_of_the_line(repeats: list[Measured], words: str) -> None:
    assert words in why(repeats)
    assert row(1, "x", repeats).endswith(why(repeats))
    assert bool(why(repeats)) == bool(words)


def test_a_stack_that_is_missing_is_tried_once_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    @contextmanager
    def missing(provider: str, streams: int) -> Iterator[Running]:
        tried.append(streams)
        raise Missing("not installed: make bench-peers")
        yield

    @contextmanager
    def direct(provider: str, streams: int) -> Iterator[Running]:
        yield Running("1.2.3", chat(provider, "Warm up."), [chat(provider)] * streams, "", {})

    monkeypatch.setattr(stream_delay, "STACKS", {"direct": direct, "gone": missing})
    assert compare(2, ["direct", "gone"], rate=200, seconds=0.2, repeats=2) == {"direct": "1.2.3"}
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["2", "direct"]
    assert first.split()[-1] == "0"
    assert second.split(maxsplit=2) == ["2", "gone", "not installed: make bench-peers"]
    assert tried == [2]
