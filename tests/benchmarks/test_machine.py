"""What stands above a table: the machine, and every reason not to believe the figures."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import machine, peer_stacks
from llmapp.measuring import processes
from tests.support.site import ROOT

FILES = "from benchmarks import machine; machine.WATCH = 0; machine.BUSY = 2; print(*machine.warnings({streams}))"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "WATCH", 0.1)


def test_the_head_names_the_machine_and_the_versions() -> None:
    first, second = machine.head()
    assert "cores" in first
    assert "GiB" in first
    assert all(f"{name} " in second for name in machine.PACKAGES)


@pytest.mark.parametrize("used, said", [(0.0, []), (0.1, []), (0.35, ["BUSY MACHINE: others use 35% of its cores"])])
def test_a_busy_machine(used: float, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_used_by_others", lambda seconds: used)
    assert [line.split(";")[0] for line in machine.warnings(1)] == said


def test_how_busy_it_is_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of two cores, idle for one second of one."""
    idle = iter([100.0, 101.0])
    clock = iter([0.0, 1.0])
    monkeypatch.setattr(processes, "idle", lambda: next(idle))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    assert machine._used_by_others(1.0) == 0.5


@pytest.mark.parametrize("streams, said", [(10, ""), (100, "TOO FEW FILES: 100 streams need 600, the limit is 300")])
def test_too_few_open_files(streams: int, said: str) -> None:
    """As far as it may, it raises the limit itself."""
    code = FILES.format(streams=streams)
    command = f"ulimit -Sn 64 && ulimit -Hn 300 && exec {sys.executable} -c '{code}'"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == said


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peer_stacks, "PEERS", tmp_path)
    monkeypatch.setattr(machine, "_used_by_others", lambda seconds: 0.0)
    program = tmp_path / "chainlit" / "bin" / "chainlit"
    program.parent.mkdir(parents=True)
    program.touch()
    assert machine.warnings(1, ["direct SSE", "LiteLLM proxy", "Chainlit", "Open WebUI"]) == [
        "NOT INSTALLED: LiteLLM proxy, Open WebUI; `make bench-peers` does it"
    ]
    assert machine.warnings(1, ["direct SSE", "Chainlit"]) == []


def test_watching_takes_as_long_as_it_says() -> None:
    began = time.monotonic()
    assert 0.0 <= machine._used_by_others(0.1) <= 1.0
    assert 0.1 <= time.monotonic() - began < 1.0
