"""The page's JavaScript in node's own test runner, and the fixtures that hold both folds together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from django.utils import translation

from llmapp.core.transcript import Transcript
from llmapp.views.strings import page_strings

HERE = Path(__file__).parent
FIXTURES = sorted((HERE.parent / "fixtures" / "events").glob("*.json"))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_the_python_fold_agrees_with_the_fixture(path: Path) -> None:
    fixture = json.loads(path.read_text())
    transcript = Transcript(fixture["events"])
    for name in ("texts", "reasoning", "open_texts", "open_reasoning", "open_steps", "steps", "ended"):
        assert getattr(transcript, name) == fixture["expect"][name], name
    assert [event["type"] for event in transcript.closing()] == fixture["expect"]["closing"]


def test_javascript() -> None:
    node = shutil.which("node")
    if node is None:
        assert not os.environ.get("CI"), "node is needed for the tests of the page's JavaScript"
        pytest.skip("node is not installed: the page's JavaScript is NOT tested")
    with translation.override("en"):
        strings = json.dumps(page_strings())
    files = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    result = subprocess.run(
        [node, "--test", *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LLMAPP_STRINGS": strings},
    )
    assert result.returncode == 0, result.stdout + result.stderr
