"""`make matrix` runs the suite on what the machine has, and says what it has not."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def matrix() -> ModuleType:
    spec = importlib.util.spec_from_file_location("matrix", ROOT / "scripts" / "matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["matrix"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "classifier, attribute", [("Programming Language :: Python", "PYTHONS"), ("Framework :: Django", "DJANGOS")]
)
def test_what_is_promised_is_what_is_tried(matrix: ModuleType, classifier: str, attribute: str) -> None:
    found = re.findall(rf"{classifier} :: (\d+\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert found == list(getattr(matrix, attribute))


@pytest.mark.parametrize(
    "python, django, found, result",
    [
        ("3.12", "6.1", {"3.12": "python3.12"}, None),
        ("3.13", "5.2", {"3.12": "python3.12"}, "MISSING: no Python 3.13 on this machine"),
        ("3.11", "6.0", {"3.11": "python3.11"}, "not possible: Django 6.0 needs Python 3.12"),
        ("3.12", "9.9", {"3.12": "python3.12"}, "MISSING: DJANGOS knows 5.2, 6.0, 6.1"),
    ],
)
def test_what_cannot_be_tried_is_a_line(
    matrix: ModuleType, python: str, django: str, found: dict[str, str], result: str | None
) -> None:
    row = matrix.missing(python, django, found)
    assert (row and row.result) == result


def test_an_interpreter_counts_when_it_runs(matrix: ModuleType, tmp_path: Path) -> None:
    shim = tmp_path / "python3.11"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = matrix.interpreters([str(tmp_path / "absent"), str(shim), sys.executable, "/usr/bin/env"])
    assert found == {own: sys.executable}


def test_constraints_hold_but_for_django(matrix: ModuleType) -> None:
    text = "# Exact.\ncelery==5.7.0\nDjango==5.2.19\ndjango-stubs==6.1.2\n"
    assert matrix.constraints_for("6.0", text) == "# Exact.\ncelery==5.7.0\ndjango-stubs==6.1.2\nDjango>=6.0,<6.1\n"


@pytest.mark.parametrize(
    "report, words",
    [
        ('<testsuites><testsuite tests="9" failures="0" errors="0" skipped="0"/></testsuites>', "9 passed"),
        (
            '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3"/></testsuites>',
            "3 passed, 2 failed, 1 errors, 3 skipped",
        ),
    ],
)
def test_a_report_in_words(matrix: ModuleType, report: str, words: str) -> None:
    assert matrix.counted(report) == words


def test_a_machine_without_any_python_fails_and_names_them_all(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONS", "/nowhere/python")
    assert matrix.main([]) == 1
    table = capsys.readouterr().out.rpartition("Result\n")[2]
    assert [line.split()[:2] for line in table.splitlines()] == [[p, d] for p in matrix.PYTHONS for d in matrix.DJANGOS]
