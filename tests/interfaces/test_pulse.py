"""What `serve` hears of its children: silence counts after the first word only, and only while it listens."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from llmapp.management import processes
from llmapp.management.processes import Child, Pulse, how_it_ended
from llmapp.runs import pulse, watchdog


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def heard(clock: list[float]) -> Iterator[Pulse]:
    made = Pulse()
    yield made
    made.only_listen()
    made.close()


def silence_after(heard: Pulse, clock: list[float], seconds: float, look: float = 0.1) -> float:
    for _ in range(round(seconds / look)):
        clock[0] += look
        last = heard.silence()
    return round(last, 3)


def test_a_child_that_starts_has_all_the_time_it_needs(heard: Pulse, clock: list[float]) -> None:
    assert silence_after(heard, clock, 60) == 0


def test_silence_counts_from_the_last_word(heard: Pulse, clock: list[float]) -> None:
    os.write(heard.mouth, b".")
    assert silence_after(heard, clock, 0.1) == 0
    assert silence_after(heard, clock, 3) == 3
    os.write(heard.mouth, b"...")
    assert silence_after(heard, clock, 0.1) == 0


def test_a_pause_of_the_machine_is_no_silence(heard: Pulse, clock: list[float]) -> None:
    """Nobody could speak while nobody listened: an hour's sleep counts for a second."""
    os.write(heard.mouth, b".")
    assert silence_after(heard, clock, 1) == 0.9
    clock[0] += 3600
    assert round(heard.silence(), 3) == 1.9


def test_what_was_said_meanwhile_counts_first(heard: Pulse, clock: list[float]) -> None:
    """`serve` itself was stopped for a while, and its children were not."""
    os.write(heard.mouth, b"." * 60)
    clock[0] += 60
    assert heard.silence() == 0


def test_a_beat_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipe is full because `serve` is stopped, or closed because it is gone."""
    ear, mouth = os.pipe()
    monkeypatch.setenv(pulse.PULSE, str(mouth))
    monkeypatch.setattr(pulse, "_pipe", None)
    pulse.take()
    assert pulse.PULSE not in os.environ
    assert not os.get_inheritable(mouth)
    for _ in range(70_000):
        pulse.beat()
    os.close(ear)
    pulse.beat()
    os.close(mouth)


def test_how_a_worker_ended_that_ended_itself_is_said_in_words() -> None:
    assert "stood still" in how_it_ended(watchdog.STUCK)
    assert how_it_ended(1) == "exit code 1"


def test_a_child_that_falls_silent_is_asked_where_it_stands_and_killed(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """With a real process, which says a word and then nothing more."""
    settings.LLMAPP = {**settings.LLMAPP, "LEASE_SECONDS": 0.5}
    said: list[str] = []
    child = Child("worker", [], said.append)
    child._command = [sys.executable, "-c", SILENT]
    read, write = os.pipe()
    environment = processes.environment()
    try:
        until = time.monotonic() + 30
        while not any("ended" in line for line in said):
            assert time.monotonic() < until, said
            child.tend(read, environment)
            time.sleep(0.05)
    finally:
        child.kill()
        os.close(read)
        os.close(write)
    text = "\n".join(said)
    assert "worker has not moved for" in text
    assert "killed by SIGKILL" in text
    assert "in stand_still" in text


SILENT = """
import faulthandler, os, time
from llmapp.runs import pulse
from llmapp.supervised import WHERE
def stand_still():
    time.sleep(60)
pulse.take()
faulthandler.register(WHERE, file=2, all_threads=True)
pulse.beat()
stand_still()
"""
