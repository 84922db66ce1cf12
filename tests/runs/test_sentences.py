"""What a person reads at the end of a run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import RunStatus
from llmapp.runs import sentences

#: Kind, facts, sentence: the same rows as those of the page's JavaScript.
ROWS = json.loads((Path(__file__).parent.parent / "fixtures" / "endings.json").read_text())

#: What each kind asks of the person who reads it, or of somebody whom they can ask.
NEXT_STEPS = ("Try again", "Ask ", "choose another agent", "tart a new chat", "tell an administrator")


@pytest.mark.parametrize(("kind", "facts", "sentence"), ROWS)
def test_what_is_known_is_said(kind: str, facts: dict[str, Any], sentence: str) -> None:
    """A time of another day has its date: here the day is taken away again."""
    with translation.override("en"):
        said = sentences.cause(kind, facts)
    assert said.replace("March 1, 2026, ", "") == sentence


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_cause_and_a_next_step(kind: ErrorKind) -> None:
    """A person who stopped an answer needs no advice."""
    with translation.override("en"):
        said = sentences.ending(RunStatus.FAILED, kind)
    assert said.endswith(".")
    assert kind is ErrorKind.CANCELLED or any(step in said for step in NEXT_STEPS)


@pytest.mark.parametrize("kind", ErrorKind)
def test_no_kind_is_said_like_another(kind: ErrorKind) -> None:
    with translation.override("en"):
        assert [other for other in ErrorKind if sentences.cause(other) == sentences.cause(kind)] == [kind]


def test_a_reset_of_today_is_a_time_of_day() -> None:
    now = datetime.now(UTC).replace(hour=14, minute=5)
    with translation.override("zh-hans"):
        assert sentences.cause("rate_limit", {"reset_at": now.isoformat()}).endswith("限制将于 14:05 (UTC) 重置。")


def test_an_incomplete_answer_is_said_to_be_one() -> None:
    with translation.override("en"):
        said = sentences.ending(RunStatus.INCOMPLETE, ErrorKind.OUTPUT_TRUNCATED, {"limit": 4096})
    assert said.startswith("The answer is not complete. ")
    assert said.endswith("The limit is 4,096 tokens.")
