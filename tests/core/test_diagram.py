"""The picture in the documentation is the table in the code."""

from __future__ import annotations

from pathlib import Path

from llmapp.core.diagram import draw
from llmapp.core.run_state import TRANSITIONS, RunStatus

ARCHITECTURE = Path(__file__).resolve().parent.parent.parent / "docs" / "architecture.md"


def test_each_status_and_each_transition_is_in_the_picture() -> None:
    picture = draw()
    assert all(status in picture for status in RunStatus)
    assert picture.count("-->") == 1 + len(TRANSITIONS) + 5


def test_the_documentation_shows_this_picture() -> None:
    """When this fails: put the output of `python -m llmapp.core.diagram` into docs/architecture.md."""
    assert f"```mermaid\n{draw()}\n```" in ARCHITECTURE.read_text()
